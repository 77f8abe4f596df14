"""SFT with TRL's real trainer on a very small model: learning, records, resuming, refusals."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import TrainingArguments
from trl import GRPOConfig, SFTConfig

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.models.checkpoint import model_settings
from roboalign_policy.models.loading import load_mllm
from roboalign_training import sft
from roboalign_training.bags.errors import DatasetError, RefusedError
from roboalign_training.learning.arguments import (
    ConfigError,
    GrpoArguments,
    SftArguments,
    VlaArguments,
)
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.training_options import parse_arguments
from roboalign_training.shared.outputs import Found, OutputError
from roboalign_training.shared.run_layout import (
    EXIT_FAILED,
    EXIT_INVALID_CONFIG,
    EXIT_STOPPED,
    packaged_config,
)


@pytest.fixture
def run(demonstrations, tiny_base, tmp_path, monkeypatch):
    """Runs SFT on the synthetic demonstrations; options as on the command line."""
    monkeypatch.setattr(sft, "load_demonstrations", lambda *given: demonstrations)
    monkeypatch.setattr(sft, "dataset_hashes", lambda folder: demonstrations.hashes)

    def start(*options, folder="run"):
        given = (
            f"--dataset x --base {tiny_base} --out {tmp_path / folder} "
            "--max_steps 4 --per_device_train_batch_size 4 --logging_steps 1 --weight_scene 0 "
            "--held_out_episodes 1 --dev_frames 3 --max_answer_tokens 8"
        )
        return sft.train([*given.split(), *options])

    return start


def stopping_after(steps):
    """A stand-in for the signal: asks for a stop after this many steps."""

    @contextmanager
    def stop():
        asked = iter(range(1, 10**6))
        yield lambda: next(asked) >= steps

    return stop


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_a_run_writes_a_whole_policy_and_its_records(run, demonstrations, tiny_base, tmp_path):
    policy = run()
    assert policy == tmp_path / "run" / "policy"
    present = {p.name for p in policy.iterdir()}
    weights_and_config = {"model.safetensors", "config.json", "generation_config.json"}
    text_and_images = {"tokenizer.json", "preprocessor_config.json"}
    robot = {"fast", "stats.json", "contract.yaml", "roboalign.json"}
    assert weights_and_config | text_and_images | robot <= present
    assert not [p for p in policy.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pth")]
    meta = json.loads((policy / "roboalign.json").read_text())
    assert meta["hashes"] == demonstrations.hashes
    assert (meta["horizon"], meta["dims"], meta["kind"]) == (8, 7, "sft")
    assert meta["settings"] == model_settings(policy)
    assert {"config.json", "tokenizer.json", "preprocessor_config.json"} <= set(meta["settings"])
    config = json.loads((tmp_path / "run" / "run.json").read_text())
    assert config["arguments"]["sft"]["weight_scene"] == 0.0
    assert config["arguments"]["trainer"]["max_steps"] == 4
    assert config["samples"] == 16
    assert sum(config["mixture"].values()) == 16
    lines = RunFolder(tmp_path / "run").metrics()
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert lines[-1]["stage"] == "finished"
    assert RunFolder(tmp_path / "run").result()["policy"] == "policy"
    mllm = load_mllm(policy)
    assert "<fast_0>" in mllm.tokenizer.get_vocab()


def test_vision_encoder_is_frozen_by_parameter(run, tiny_base, tmp_path):
    base = weights(tiny_base)
    for flag, frozen in (("true", True), ("false", False)):
        trained = weights(run("--freeze_vision", flag, folder=f"vision_{flag}"))
        same = [torch.equal(base[name], trained[name]) for name in base if ".visual." in name]
        assert same
        assert all(same) if frozen else not all(same)


def test_muon_is_a_choice(tiny_base, tmp_path):
    model = load_mllm(tiny_base).model
    training = SFTConfig(
        output_dir=str(tmp_path), learning_rate=0.5, weight_decay=0.25, bf16=False
    )
    plain = SftArguments(dataset="x", muon_learning_rate=0.0)
    assert sft.make_optimizer(model, plain, training) is None
    chosen = sft.make_optimizer(model, SftArguments("x", muon_learning_rate=0.125), training)
    assert [group["lr"] for group in chosen.param_groups] == [0.125, 0.5]
    assert [group["weight_decay"] for group in chosen.param_groups] == [0.25, 0.25]
    for value in (-1.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="muon_learning_rate: found"):
            SftArguments("x", muon_learning_rate=value)


def test_without_muon_the_trainers_own_optimizer_runs(run, tmp_path):
    muon, plain = weights(run(folder="muon")), weights(run("--muon_learning_rate", "0"))
    assert any(not torch.equal(muon[name], plain[name]) for name in plain)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["arguments"]["sft"]["muon_learning_rate"] == 0.0


def test_it_learns_the_answers(run, tmp_path):
    run(
        "--max_steps",
        "60",
        "--learning_rate",
        "3e-3",
        "--weight_grasp",
        "0",
        "--per_device_train_batch_size",
        "16",
    )
    losses = [line["loss"] for line in RunFolder(tmp_path / "run").metrics() if "loss" in line]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_stopped_and_resumed_gives_the_same_weights(run, monkeypatch, tmp_path):
    whole = weights(run(folder="whole"))
    with monkeypatch.context() as patch:
        patch.setattr(sft, "stop_on_signal", stopping_after(2))
        with pytest.raises(sft.Stopped, match="after step 2"):
            run(folder="parts")
    assert not (tmp_path / "parts" / "policy").exists()
    resumed = weights(run(folder="parts"))  # the same command
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0)
    lines = RunFolder(tmp_path / "parts").metrics()
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]


def test_a_stopped_run_goes_on_with_the_cameras_that_it_saw(
    run, demonstrations, monkeypatch, tmp_path
):
    """Of a run from before the record said which, that is the first one."""
    with monkeypatch.context() as patch:
        patch.setattr(sft, "stop_on_signal", stopping_after(2))
        with pytest.raises(sft.Stopped):
            run()
    record = tmp_path / "run" / "run.json"
    values = json.loads(record.read_text())
    assert values.pop("images") == ["image.front"]
    record.write_text(json.dumps(values))
    two = load_contract(find_contract("sim_panda_wrist"))
    with monkeypatch.context() as patch:
        more = replace(demonstrations, contract=two)
        patch.setattr(sft, "load_demonstrations", lambda *given: more)
        with pytest.raises(OutputError, match='found ."image.front"., now ."image.front", "image'):
            run()
    assert json.loads((run() / "roboalign.json").read_text())["steps"] == 4


def test_unfinished_checkpoint_is_passed_over(tmp_path):
    run = RunFolder(tmp_path)
    for step, whole in ((2, True), (4, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "model.safetensors").touch()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").touch()
    run.append(step=2, elapsed_s=1.5)
    run.append(step=4, elapsed_s=3.0)
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')  # cut by a kill
    checkpoint, elapsed_s = run.begin(Found.UNFINISHED)
    assert (checkpoint.name, elapsed_s) == ("checkpoint-2", 1.5)
    assert run.metrics() == [{"step": 2, "elapsed_s": 1.5}]
    (tmp_path / "notes.txt").touch()
    assert run.begin(Found.NOTHING) == (None, 0.0)  # with --overwrite
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_policy_that_a_kill_left_between_two_places_gets_its_own(tmp_path):
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "trainer_state.json").touch()
    for name in ("policy.old", "policy.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "roboalign.json").write_text(json.dumps({"name": name}))
    RunFolder(tmp_path).begin(Found.UNFINISHED)
    assert json.loads((tmp_path / "policy" / "roboalign.json").read_text()) == {
        "name": "policy.new"
    }
    shutil.copytree(tmp_path / "policy", tmp_path / "policy.new")  # not whole: it is being written
    (tmp_path / "policy.new" / "roboalign.json").write_text("{")
    RunFolder(tmp_path).begin(Found.UNFINISHED)
    assert json.loads((tmp_path / "policy" / "roboalign.json").read_text()) == {
        "name": "policy.new"
    }


def test_time_budget_ends_the_run_and_the_schedule(run, tmp_path):
    run("--max_steps", "100000", "--max_seconds", "1.5", "--warmup_steps", "0")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["ended_by"] == "time"
    assert 0 < result["steps"] < 100000
    rates = [
        line["learning_rate"]
        for line in RunFolder(tmp_path / "run").metrics()
        if "learning_rate" in line
    ]
    assert rates[-1] < 0.2 * rates[0]  # by steps alone, the cosine would hardly have begun


def test_faults_have_their_exit_status_and_name_key_and_value(run, tmp_path, monkeypatch, capsys):
    def status(*argv):
        code = sft.main([*argv, "--out", str(tmp_path / "faults")])
        return code, capsys.readouterr().err

    code, text = status("--dataset", "x", "--max_steps", "0")
    assert code == EXIT_INVALID_CONFIG
    assert "max_steps: found 0" in text
    code, text = status()
    assert code == EXIT_INVALID_CONFIG
    assert "dataset: found ''" in text
    code, text = status("--dataset", "x", "--weight_act", "-1")
    assert code == EXIT_INVALID_CONFIG
    assert "act: found -1" in text
    broken = tmp_path / "broken.yaml"
    broken.write_text("dataset: x\nlearning_rte: 1\n")
    code, text = status("--config", str(broken))
    assert code == EXIT_INVALID_CONFIG
    assert "broken.yaml" in text
    assert "learning_rte" in text
    code, text = status("--config", str(tmp_path / "none.yaml"))
    assert code == EXIT_INVALID_CONFIG
    assert "none.yaml" in text

    for error, expected in (
        (RefusedError("out/data", "is no data set"), EXIT_INVALID_CONFIG),
        (DatasetError("out/data", "is damaged"), EXIT_FAILED),
    ):

        def faulty(*given, error=error):
            raise error

        monkeypatch.setattr(sft, "load_demonstrations", faulty)
        code, text = status("--dataset", "out/data")
        assert code == expected
        assert text == f"data fault: {error}\n"


def test_main_tells_a_stop_from_an_end(run, monkeypatch, tmp_path, demonstrations, tiny_base):
    monkeypatch.setattr(sft, "stop_on_signal", stopping_after(1))
    argv = [
        "--dataset",
        "x",
        "--base",
        str(tiny_base),
        "--output_dir",
        str(tmp_path / "stop"),
        "--max_steps",
        "3",
    ]
    argv += [
        "--weight_scene",
        "0",
        "--held_out_episodes",
        "1",
        "--per_device_train_batch_size",
        "2",
    ]
    assert sft.main(argv) == EXIT_STOPPED
    assert (tmp_path / "stop" / "checkpoint-1" / "trainer_state.json").is_file()


@pytest.mark.parametrize(
    ("kind", "ours", "theirs"),
    [
        ("sft", SftArguments, SFTConfig),
        ("grpo", GrpoArguments, GRPOConfig),
        ("vla", VlaArguments, TrainingArguments),
    ],
)
def test_packaged_yaml_agrees_with_the_dataclass(kind, ours, theirs):
    keys = yaml.safe_load(packaged_config(kind).read_text())
    arguments, training = parse_arguments(kind, (ours, theirs), ["--dataset", "x"])
    own = {item.name for item in fields(ours)}
    fresh = ours(dataset="x")
    follow_the_data = {"held_out_episodes", "weight_grasp", "samples"}
    follow_the_data |= {"keep_fast", "backbone_learning_rate"}  # follow the backbone
    if kind == "vla":
        follow_the_data.add("replan_after_steps")  # half of the horizon
    this_call = {"dataset", "bags", "contract", "max_seconds", "resume", "overwrite", "strict"}
    this_call |= {"workers", "features"}  # of this computer
    this_call |= {"width", "blocks", "heads"}  # by the size of the model
    assert own & keys.keys() == own - this_call - follow_the_data
    for name in own & keys.keys():
        assert keys[name] == getattr(fresh, name), name
    for name in keys.keys() - own:
        assert hasattr(training, name), name

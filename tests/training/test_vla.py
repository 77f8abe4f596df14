"""Stage 3 with the real trainer on a very small model: learning, records, resuming, refusals."""

import json
import shutil
from dataclasses import fields

import numpy as np
import pytest
import torch
import yaml
from head_runs import make_base, runs_of, stopping_after
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.models.checkpoint import model_settings
from roboalign_policy.models.flow_head.config import FlowHeadConfig, RobotShape
from roboalign_policy.models.loading import load_mllm
from roboalign_policy.models.open_policy import open_policy
from roboalign_policy.models.policy import model_inputs
from roboalign_training import vla
from roboalign_training.learning import features
from roboalign_training.learning.arguments import ConfigError, Diverged, VlaArguments
from roboalign_training.learning.hidden_reader import HiddenReader, own_frames
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.training_options import parse_arguments
from roboalign_training.shared.outputs import OutputError, only_writer
from roboalign_training.shared.run_layout import packaged_config


@pytest.fixture(scope="module")
def base(demonstrations, tiny_base, tmp_path_factory):
    """An SFT policy folder with random weights; not to be changed."""
    return make_base(demonstrations, tiny_base, tmp_path_factory.mktemp("base") / "policy")


@pytest.fixture
def run(demonstrations, base, tmp_path, monkeypatch):
    """Trains a head on the synthetic demonstrations; options as on the command line."""
    return runs_of(demonstrations, base, tmp_path, monkeypatch)


def weights(policy):
    return load_file(policy / "flow_head.safetensors")


def test_a_run_writes_a_policy_that_drives_by_either_decoder(run, demonstrations, base, tmp_path):
    policy = run()
    assert policy == tmp_path / "run" / "policy"
    record = json.loads((policy / "roboalign.json").read_text())
    assert (record["decoder"], record["decoders"]) == ("flow", ["flow", "fast"])
    assert (record["kind"], record["horizon"], record["dims"]) == ("vla", 8, 7)
    assert record["hashes"].keys() == demonstrations.hashes.keys() | {"head", "backbone"}
    assert (policy / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    assert not [p for p in policy.rglob("*") if p.suffix in (".bin", ".pt", ".pkl", ".pth")]
    assert record["settings"] == model_settings(policy) != {}
    result = RunFolder(tmp_path / "run").result()
    assert result["steps"] == 6 and result["samples"] == 48 and result["dev_frames"] == 6
    assert result["dev_episodes"] == 2
    dimensions = result["dev_action_error_by_dimension"]
    assert list(dimensions) == list(demonstrations.contract.action.names)
    for entry in dimensions.values():
        low, high = entry["interval"]
        assert low <= entry["mean"] <= high
    card = (policy / "README.md").read_text()
    assert "Action head" in card and "stage 3" in card and "mean action error" in card
    values = {**demonstrations.values(5), "image.front": demonstrations.images(5)[0]}
    for decoder in ("auto", "flow", "fast"):
        options = PolicyOptions(device="cpu", max_think_tokens=6, decoder=decoder)
        answer = open_policy(policy, options=options).act(values, "grasp the red cube")
        assert answer.status in (ChunkStatus.OK, ChunkStatus.OUT_OF_LIMITS), answer.detail
        assert bool(answer.tokens) == (decoder == "fast")


def test_of_the_head_alone_nothing_of_fast_is_kept(run):
    policy = run("--keep_fast", "false")
    assert not (policy / "fast").exists()
    record = json.loads((policy / "roboalign.json").read_text())
    assert record["decoders"] == ["flow"] and "tokenizer" not in record["hashes"]
    assert "Action tokens" not in (policy / "README.md").read_text()
    open_policy(policy, options=PolicyOptions(device="cpu"))


def test_it_learns_the_demonstrations(run, tmp_path):
    run("--max_steps", "1", folder="short")
    run("--max_steps", "400", "--learning_rate", "3e-3", "--ema_decay", "0.95", folder="long")
    lines = RunFolder(tmp_path / "long").metrics()
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:3])
    errors = [
        RunFolder(tmp_path / name).result()["dev_action_error"] for name in ("short", "long")
    ]
    assert errors[1] < 0.5 * errors[0]


def test_stopped_and_resumed_gives_the_same_weights(run, monkeypatch, tmp_path):
    whole = weights(run(folder="whole"))
    # Asked once before each of the features' two parts, then after every step.
    for count, text in ((1, "while hidden states are read"), (5, "after step 3")):
        with monkeypatch.context() as patch:
            patch.setattr(vla, "stop_on_signal", stopping_after(count))
            patch.setattr(features, "FRAMES_A_PART", 64)
            with pytest.raises(vla.Stopped, match=text):
                run(folder=f"parts{count}")
        assert not (tmp_path / f"parts{count}" / "policy").exists()
        resumed = weights(run(folder=f"parts{count}"))
        assert whole.keys() == resumed.keys()
        for name, value in whole.items():
            assert torch.equal(value, resumed[name]), name


def test_the_average_drives_and_not_the_last_step(run, tmp_path):
    trained = run("--save_minutes", "0.000001")
    (checkpoint,) = sorted((tmp_path / "run").glob("checkpoint-*"))
    state = load_file(checkpoint / "model.safetensors")
    exported = weights(trained)
    for name, value in exported.items():
        assert torch.equal(value, state[f"average.{name}"]), name
    changed = [n for n, v in exported.items() if not torch.equal(v, state[f"head.{n}"])]
    assert changed


def test_a_finished_run_is_found_and_another_refused(run, tmp_path, capsys):
    first = weights(run())
    run()
    assert "finished before; nothing was changed" not in capsys.readouterr().err
    assert all(torch.equal(v, first[n]) for n, v in weights(tmp_path / "run/policy").items())
    with pytest.raises(OutputError, match="layer"):
        run("--layer", "1.0")
    assert (tmp_path / "run" / "policy").is_dir()


def test_hidden_states_that_are_kept_are_read_by_other_runs(run, monkeypatch, tmp_path):
    kept = ("--features", str(tmp_path / "kept"))
    one = weights(run(*kept, folder="one"))
    assert not (tmp_path / "one" / "features").exists()
    with monkeypatch.context() as patch:
        patch.setattr(HiddenReader, "read", None)  # nothing is left to read
        same = weights(run(*kept, folder="two"))
        wider = weights(run(*kept, "--width", "48", folder="three"))
    assert all(torch.equal(value, same[name]) for name, value in one.items())
    assert wider["places"].shape[1] == 48
    for options, what in (
        (("--layer", "1.0"), "layer: found 1, now 2"),
        (("--own_thoughts", "0.9"), "own_thoughts: found 0.3, now 0.9"),
        (("--condition", "prompt"), 'condition: found "thought", now "prompt"'),
    ):
        with pytest.raises(OutputError, match=f"hidden states of something else.*{what}"):
            run(*kept, *options, folder="other")
        assert not (tmp_path / "other").exists()


def test_two_runs_do_not_write_the_same_hidden_states(run, tmp_path):
    kept = tmp_path / "kept"
    (kept / "training").mkdir(parents=True)
    with only_writer(kept / "training"):
        with pytest.raises(OutputError, match="kept/training: another process is writing there"):
            run("--features", str(kept), folder="other")
        assert list((kept / "training").iterdir()) == []
    run("--features", str(kept), folder="other")
    with only_writer(kept / "training"):  # nothing is missing: reading needs no turn
        run("--features", str(kept), folder="reader")


def test_hidden_states_of_an_interrupted_run_are_not_computed_again(run, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(vla, "stop_on_signal", stopping_after(3))  # two parts are asked for
        patch.setattr(features, "FRAMES_A_PART", 64)
        with pytest.raises(vla.Stopped, match="after step 1"):
            run()
    for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    parts = sorted((tmp_path / "run" / "features").rglob("*.safetensors"))
    before = [part.stat().st_mtime_ns for part in parts]
    assert len(parts) == 2
    run()
    assert [part.stat().st_mtime_ns for part in parts] == before


def test_overwrite_gives_up_the_hidden_states_in_the_folder_too(run, tmp_path):
    run()
    policy = run("--layer", "1.0", "--overwrite")
    assert json.loads((policy / "flow_head.json").read_text())["layer"] == 1.0
    index = json.loads((tmp_path / "run" / "features" / "training" / "features.json").read_text())
    assert index["layer"] == 2


def test_a_head_on_the_policy_of_another_head_leaves_that_as_it_was(run, tmp_path):
    first = run(folder="first")
    before = {p.name: p.read_bytes() for p in first.iterdir() if p.is_file()}
    second = run("--base", str(first), "--learning_rate", "1e-2", folder="second")
    assert {p.name: p.read_bytes() for p in first.iterdir() if p.is_file()} == before
    assert (second / "flow_head.safetensors").read_bytes() != before["flow_head.safetensors"]
    for name in before:
        shared = (first / name).samefile(second / name)
        assert shared == (name == "model.safetensors"), name


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(
    run, monkeypatch, tmp_path, capsys
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OutputError, match="hidden states of about .* are free; nothing was writ"):
        run()
    assert not (tmp_path / "run").exists()
    assert "hidden states: about" in capsys.readouterr().out


def test_what_is_read_is_what_the_policy_reads_when_it_drives(demonstrations, base):
    """The features of a frame, and those of the same frame through `open_policy`'s parts."""
    from roboalign_policy.models import flow_decoder

    mllm = load_mllm(base, device="cpu")
    reader = HiddenReader(mllm, demonstrations, "thought", 1, 6, batch=4)
    frames = [3, 17, 40]
    read = list(reader.read(frames, lambda frame: frame == 17))
    assert [found.frame for found in read] == frames
    assert read[0].thought == reader.demonstrated(3) and read[1].thought != reader.demonstrated(17)
    policy = open_policy(base, options=PolicyOptions(device="cpu"))
    for found in read:
        values = demonstrations.values(found.frame)
        state = vla_state(demonstrations, values)
        words = flow_decoder.words_of("thought", demonstrations.instruction(found.frame), state)
        images = demonstrations.images(found.frame)
        inputs = model_inputs(policy._mllm, policy._cameras, images, words)
        hidden, _ = flow_decoder.read_hidden(policy._mllm, inputs, [found.thought], "thought", 1)
        torch.testing.assert_close(found.hidden, hidden[0], atol=2e-5, rtol=1e-4)


def vla_state(data, values):
    from roboalign_policy.core.policy.prompt import state_text

    return state_text(data.contract, values)


def test_the_share_of_own_thoughts():
    frames = np.arange(100, 300)
    own = own_frames(frames, 0.25, seed=3)
    assert len(own) == 50 and own <= set(frames.tolist())
    assert own == own_frames(frames, 0.25, seed=3) != own_frames(frames, 0.25, seed=4)
    assert own_frames(frames, 0.0, 1) == set() and len(own_frames(frames, 1.0, 1)) == 200


@pytest.mark.parametrize("condition", ["thought", "language_thought", "prompt"])
def test_every_condition_trains_and_drives(run, demonstrations, condition):
    policy = run("--condition", condition, "--max_steps", "2")
    assert json.loads((policy / "flow_head.json").read_text())["condition"] == condition
    values = {**demonstrations.values(5), "image.front": demonstrations.images(5)[0]}
    options = PolicyOptions(device="cpu", max_think_tokens=6)
    answer = open_policy(policy, options=options).act(values, "grasp the red cube")
    assert bool(answer.reasoning) == (condition != "prompt")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("--condition thinking", "condition: found 'thinking', expected one of thought, language"),
        ("--layer 1.5", "layer: found 1.5, expected from 0 to 1, a fraction of the depth, or"),
        ("--layer 9", "layer: found 9, expected at most 2, the layers of the model"),
        ("--width 30", "width: found 30, expected a multiple of 4"),
        ("--samples 900", "samples: found 900, expected at most 48, all there are"),
        ("--own_thoughts 2", "own_thoughts: found 2.0, expected from 0 to 1"),
        (
            "--condition prompt --own_thoughts 0.5",
            "own_thoughts: found 0.5, expected 0.3, the",
        ),
        (
            "--condition prompt --max_think_tokens 12",
            "max_think_tokens: found 12, expected 48, the default: with condition prompt no",
        ),
        ("--width 4000000", "width, blocks: found 4000000 and 1, a head of .* fits into the"),
        ("--given_prefix 8", "given_prefix: found 8, expected at most 7, less than a chunk's 8"),
        ("--noise_draws 0", "noise_draws: found 0, expected at least 1"),
        ("--ema_decay 1", "ema_decay: found 1.0, expected from 0 to below 1"),
        ("--max_steps 0", "max_steps: found 0, expected the number of optimiser steps, above 0"),
        ("--layer nan", "layer: found nan, expected from 0 to 1, a fraction of the depth, or"),
        ("--eval_strategy steps", "eval_strategy: found 'steps', expected no: the action error"),
        (
            "--label_smoothing_factor 0.1",
            "label_smoothing_factor: found '0.1', expected 0: the loss",
        ),
        ("--neftune_noise_alpha 5", "neftune_noise_alpha: found '5', expected none: the head"),
        ("--save_only_model true", "save_only_model: found 'true', expected it to be left out"),
        (
            "--load_best_model_at_end",
            "load_best_model_at_end: found 'true', expected it to be left",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(run, tmp_path, options, text):
    with pytest.raises(ConfigError, match=text):
        run(*options.split())
    assert not (tmp_path / "run").exists()


def test_options_that_ask_for_what_is_done_anyway_are_taken(run):
    assert run(*"--eval_strategy no --label_smoothing_factor 0.0 --save_only_model false".split())


def test_hidden_states_lie_neither_in_what_is_read_nor_in_the_policy(run, base, tmp_path):
    (tmp_path / "file").touch()
    for place, text in (
        (base, "which is what is read .--base"),
        (base / "features", "which lies in what is read .--base"),
        (tmp_path / "run" / "policy", "--features: found .*, which is what is read .--out"),
        (tmp_path / "file", "--features: found the file .*, expected a folder or nothing"),
    ):
        with pytest.raises(OutputError, match=text):
            run("--features", str(place))
    assert not (tmp_path / "run").exists() and not (base / "features").exists()


@pytest.mark.parametrize("damage", ["half", "gone"])
def test_hidden_states_of_nobody_knows_what_are_refused(run, tmp_path, damage):
    kept = tmp_path / "kept"
    run("--features", str(kept), folder="first")
    index = kept / "training" / "features.json"
    index.write_text('{"mod') if damage == "half" else index.unlink()
    before = sorted(path.name for path in kept.rglob("*"))
    with pytest.raises(OutputError, match="kept/training: found hidden states without a readable"):
        run("--features", str(kept), "--layer", "0.5")
    assert sorted(path.name for path in kept.rglob("*")) == before
    assert not (tmp_path / "run").exists()


def test_a_damaged_part_is_named_and_read_anew_once_it_is_gone(run, tmp_path):
    kept = tmp_path / "kept"
    same = weights(run("--features", str(kept), folder="first"))
    part = kept / "training" / "hidden-00000.safetensors"
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(OutputError, match="hidden-00000.safetensors: found a damaged file"):
        run("--features", str(kept))
    part.unlink()
    again = weights(run("--features", str(kept)))
    assert all(again[name].equal(value) for name, value in same.items())


def change_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    save_file({n: v * 1.05 for n, v in tensors.items()}, folder / "other.safetensors")
    (folder / "other.safetensors").replace(folder / "model.safetensors")


def change_settings(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "edited": 1}))


def change_pictures(folder):
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "edited": 1}))


@pytest.mark.parametrize(
    ("change", "backbone"),
    [(change_weights, "frozen"), (change_settings, "frozen"), (change_pictures, "full")],
)
def test_a_head_is_not_put_beside_a_model_that_it_never_read(
    run, base, tmp_path, monkeypatch, change, backbone
):
    own = shutil.copytree(base, tmp_path / "base")
    scored = vla.action_error

    def change_and_score(*given):
        """Another model lies in the folder by the end of the training."""
        change(own)
        return scored(*given)

    monkeypatch.setattr(vla, "action_error", change_and_score)
    with pytest.raises(OutputError, match="--base: found another model in .*base than when the"):
        run("--base", str(own), "--backbone", backbone)
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not left & {"policy", "policy.new", "result.json"}


def test_a_head_that_diverged_is_no_policy(run, tmp_path):
    with pytest.raises(Diverged, match="mean action error nan after step 6, learning_rate 1e.30"):
        run("--learning_rate", "1e30")
    assert not (tmp_path / "run" / "policy").exists()
    assert not (tmp_path / "run" / "result.json").exists()


def test_chunks_that_would_not_be_driven_are_counted(run, tmp_path):
    run("--max_steps", "1")
    result = RunFolder(tmp_path / "run").result()
    assert set(result["dev_refused"]) <= {"out_of_limits"}
    assert 0 < sum(result["dev_refused"].values()) <= result["dev_frames"]
    text = f"; {sum(result['dev_refused'].values())} of 6 chunks would not be driven ("
    assert text in vla.result_lines(result)[1]
    del result["dev_refused"]  # of before
    assert "driven" not in vla.result_lines(result)[1]


def test_the_packaged_file_says_the_defaults():
    document = yaml.safe_load(packaged_config("vla").read_text())
    ours, _ = parse_arguments(
        "vla", (VlaArguments, TrainingArguments), ["--dataset", "x", "--out", "y"]
    )
    defaults = VlaArguments(dataset="x")
    for item in fields(VlaArguments):
        if item.name in document:
            assert getattr(ours, item.name) == getattr(defaults, item.name), item.name
    config = FlowHeadConfig((RobotShape("a", 1, 1),), 8, 128)
    for name in ("steps", "solver", "condition", "layer", "state_dropout"):
        assert getattr(config, name) == getattr(defaults, name), name

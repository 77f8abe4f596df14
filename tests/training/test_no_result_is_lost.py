"""Every command that writes: a refused or repeated call changes not one byte of a result.

Each case makes a finished result with the command itself, then gives the same command again (it
says that nothing changed and ends with 0) and commands that cannot be done (they name the option,
the value and what was expected). After each the hash of the whole folder is what it was.
"""

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_bags import write_demo

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training import cli
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset
from roboalign_training.evaluate import closed_loop, replay_cli
from roboalign_training.origins.trace import trace
from roboalign_training.shared.outputs import only_writer

WRITES_NO_RESULT = {
    "contract", "trace", "gate", "serve", "completion", "run",
    "up",  # starts nodes; what they record gets a name of its own
    "record",  # the same
}  # fmt: skip


def hash_of(folder: Path) -> str:
    """SHA-256 over the names and bytes of all that is in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b"folder"
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@dataclass
class Case:
    """A command with its finished result.

    Attributes:
        words: the command line that makes the result.
        refused: words that follow those, or a whole command line, with the text that the refusal
            has to hold.
        result: the folder whose bytes count.
        prepare: makes the result where the command needs ROS or minutes for it; else the command.
    """

    words: list
    refused: list
    result: Path
    prepare: Callable[[], None] | None = None


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_base):
    """Bags, a fitted data set and a policy of a few steps."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(3):
        write_demo(folder / "bags" / f"ep{number}", seed=number, count=16)
    build_dataset(sorted((folder / "bags").iterdir()), None, folder / "data")
    fit_dataset(folder / "data", vocab_size=128)
    shutil.copytree(tiny_base, folder / "base")
    assert cli.main(sft_words(folder, folder / "policy_run")) == 0
    return folder


def sft_words(world: Path, out: Path) -> list[str]:
    return (
        f"sft --dataset {world / 'data'} --base {world / 'base'} --out {out} --max_steps 2 "
        "--per_device_train_batch_size 2 --weight_scene 0 --dev_frames 2 --max_answer_tokens 8"
    ).split()


def sft(world, out):
    words = sft_words(world, out)
    return Case(
        words,
        [
            (["--dataset", str(world / "nowhere")], "nowhere: is no data set"),
            (["--max_steps", "3"], "has finished (arguments.trainer.max_steps: found 2, now 3), "),
            (["--max_steps", "3", "--resume", "true"], f"with --base {out / 'policy'} and an"),
            (["--max_steps", "3", "--weight_act", "0.5"], "holds the result of another configura"),
            (["--weight_act", "0.5"], "arguments.sft.weight_act: found 0.05, now 0.5"),
            (["--per_device_train_batch_size", "-4"], "per_device_train_batch_size: found -4"),
            (["--resume", "false"], "resume: found false, and there is a run"),
            (["--datset", "x"], "there is no option --datset; did you mean --dataset?"),
            (["--base", str(world / "gone")], 'arguments.sft.base: found "'),
        ],
        out,
    )


def grpo(world, out):
    words = (
        f"grpo --dataset {world / 'data'} --base {world / 'policy_run' / 'policy'} --out {out} "
        "--samples 2 --per_device_train_batch_size 10 --dev_frames 2 --max_completion_length 12"
    ).split()
    return Case(
        words,
        [
            (["--dataset", str(world / "nowhere")], "nowhere: is no data set"),
            (["--samples", "3"], "arguments.grpo.samples: found 2, now 3"),
            (["--learning_rate", "-1"], "learning_rate: found -1, expected a number above 0"),
        ],
        out,
    )


def vla(world, out):
    words = (
        f"vla --dataset {world / 'data'} --base {world / 'policy_run' / 'policy'} --out {out} "
        "--max_steps 2 --samples 6 --per_device_train_batch_size 3 --dev_frames 2 --width 16 "
        "--blocks 1 --max_think_tokens 4"
    ).split()
    return Case(
        words,
        [
            (["--dataset", str(world / "nowhere")], "nowhere: is no data set"),
            (["--samples", "5"], "arguments.vla.samples: found 6, now 5"),
            (["--layer", "2"], "arguments.vla.layer: found 0.64"),
            (["--condition", "words"], "condition: found 'words', expected one of thought"),
        ],
        out,
    )


def pretrain(world, out):
    config = world / "pretrain.yaml"
    size = {"hidden": 48, "layers": 2, "heads": 4, "vision_hidden": 32, "vision_depth": 1,
            "image_px": 32}  # fmt: skip
    config.write_text(json.dumps({"size": size}))
    words = (
        f"pretrain-tiny --config {config} --out {out} --scenes 4 --held_out_scenes 2 --steps 2 "
        "--batch 2 --short_steps 1 --row_tokens 80 --threads 1 --render_workers 1"
    ).split()

    def prepare():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("roboalign_training.pretraining.pretrain_card.QUESTIONS_PER_KIND", 2)
            assert cli.main(words) == 0

    return Case(
        words,
        [
            (["--steps", "3"], "steps: found 2, now 3"),
            (["--steps", "0"], "steps: found 0, expected at least 1"),
            (["--install"], "install: would replace the packaged roboalign-tiny"),
        ],
        out,
        prepare,
    )


def evaluate(world, out):
    policy = world / "policy_run" / "policy"

    def prepare():
        from roboalign_policy.sim import SUITES
        from roboalign_training.evaluate.closed_loop import (
            DrivingOptions,
            describe_run,
            episodes_of_suites,
        )

        out.mkdir()
        episodes = episodes_of_suites({"goal": SUITES["goal"]}, 2, 2_000_000)
        lines = [
            {"suite": e.suite, "task": e.task, "seed": e.seed, "success": True, "chunks": 1,
             "valid_chunks": 1, "steps": 8} for e in episodes
        ]  # fmt: skip
        (out / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        run = describe_run(policy, DrivingOptions())
        assert run["chunk_steps"] == {"driven": 8, "of": 8}
        (out / "run.json").write_text(json.dumps(run))
        assert cli.main(words) == 0  # all is driven already: what is left is the page

    words = ["evaluate", "closed-loop", "--policy", str(policy), "--out", str(out)]
    words += ["--suites", "goal", "--episodes", "2"]
    return Case(
        words,
        [
            (["--no-think"], "settings.think: found true, now false"),
            (["--suites", "gaol"], "suites: found ['gaol'], expected some of"),
            (["--policy", str(world / "nowhere")], "nowhere: found no such folder"),
            (["--workers", "0"], "workers: found 0, expected at least 1"),
        ],
        out,
        prepare,
    )


def replay(world, out):
    bag, policy = world / "bags" / "ep0", world / "policy_run" / "policy"
    words = ["replay", str(bag), "--policy", str(policy), "--out", str(out)]

    def prepare():
        """The live half needs ROS; the answers of the offline half stand in for it."""
        from roboalign_policy.models.open_policy import open_policy
        from roboalign_training.bags.bags import read_bag
        from roboalign_training.evaluate.replay import ReplaySettings, make_recording

        settings = ReplaySettings()
        recording = make_recording(read_bag(bag), load_contract("sim_panda"))

        def drive(folder, job):
            (folder / "job.json").write_text(json.dumps(job))
            policy_of = open_policy(policy, options=settings.policy_options())
            answers = replay_cli.answer_offline(policy_of, recording, recording.chosen(settings))
            lines = "".join(answer.to_json() + "\n" for answer in answers)
            (folder / "answers.jsonl").write_text(lines)
            return answers

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replay_cli, "drive_live", drive)
            patch.setattr(replay_cli, "check_ros", lambda: None, raising=False)
            assert cli.main(words) == 0

    return Case(
        words,
        [
            (["--every", "2"], "settings.every: found 1, now 2"),
            (["--every", "0"], "every: found 0, expected 1 or more"),
            (["--policy", str(world / "nowhere")], "nowhere: found no such folder"),
            (["--contract", "so101"], "trained for sim_panda, and contract so101 is another"),
        ],
        out,
        prepare,
    )


def inspect(world, out):
    def words_of(name):
        page = ["--html", str(out / "page.html"), "--out", str(out / "pictures")]
        return ["inspect", str(world / name), *page]

    return Case(
        words_of("data"),
        [
            (["--episode", "nine"], "no episode nine"),
            (words_of("bags/ep0"), "page.html: exists and is not what this command would write"),
            (words_of("nowhere"), "nowhere"),
        ],
        out,
    )


CASES = {
    "sft": sft,
    "grpo": grpo,
    "vla": vla,
    "pretrain-tiny": pretrain,
    "evaluate": evaluate,
    "replay": replay,
    "inspect": inspect,
}
ELSEWHERE = {
    "demo": "test_demo_stages.py: stand-ins for its stages, which take minutes",
    "experiment": "test_demo_stages.py: as demo, by the same code; test_experiment.py",
    "doctor": "test_doctor.py: needs a ROS graph",
    # Of other parts: a test of each stands beside its code.
    "convert": "test_conversion.py",
    "fit-tokenizer": "test_fit.py",
    "import": "test_lerobot_import.py",
    "export": "test_lerobot_export.py",
    "recover": "test_recover.py",
}


def test_every_command_is_listed():
    listed = CASES.keys() | ELSEWHERE.keys() | WRITES_NO_RESULT
    assert listed >= cli.COMMANDS.keys(), "a new command says here what it does to old results"


@pytest.mark.parametrize("name", list(CASES))
def test_refused_and_repeated_calls_change_nothing(name, world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case = CASES[name](world, tmp_path / "result")
    if case.prepare is None:
        assert cli.main(case.words) == 0, capsys.readouterr().err
    else:
        case.prepare()
    capsys.readouterr()
    before, data = hash_of(case.result), hash_of(world)
    assert cli.main(case.words) == 0
    said = capsys.readouterr()
    assert hash_of(case.result) == before, "the same command again"
    assert name in ("evaluate", "inspect") or "nothing was changed" in said.out + said.err
    for more, text in case.refused:
        words = more if more[0] == name else [*case.words, *more]
        assert cli.main(words) not in (0, None), words
        assert text in capsys.readouterr().err, words
        assert hash_of(case.result) == before, words
    assert hash_of(world) == data, "nor of what was read"


def test_overwrite_is_what_removes_a_run_and_only_the_run(world, tmp_path):
    out = tmp_path / "run"
    words = sft_words(world, out)
    assert cli.main(words) == 0
    (out / "notes.txt").write_text("mine")
    before = hash_of(out / "policy")
    assert cli.main([*words, "--max_steps", "1", "--overwrite"]) == 0
    assert hash_of(out / "policy") != before
    assert json.loads((out / "result.json").read_text())["steps"] == 1
    assert (out / "notes.txt").read_text() == "mine"
    assert cli.main([*words, "--dataset", str(tmp_path / "no"), "--overwrite"]) == 2
    assert (out / "policy").is_dir(), "what was refused has removed nothing"


def test_a_finished_run_is_trained_further_as_the_base_of_another(world, tmp_path, capsys):
    words = sft_words(world, tmp_path / "run")
    assert cli.main([*words, "--base", str(world / "policy_run" / "policy")]) == 0
    record = json.loads((tmp_path / "run" / "policy" / "provenance.json").read_text())
    assert record["base"]["origin"]["kind"] == "sft"


def test_other_data_is_another_run(world, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(world / "data", data)
    words = [*sft_words(world, out), "--dataset", str(data)]
    assert cli.main(words) == 0
    shutil.move(data, tmp_path / "moved")
    moved = [*words, "--dataset", str(tmp_path / "moved")]
    assert cli.main(moved) == 0, "the same data elsewhere are the same data"
    before = hash_of(out)
    write_demo(tmp_path / "new", seed=9, count=16)
    build_dataset([tmp_path / "new"], None, tmp_path / "moved")
    fit_dataset(tmp_path / "moved", vocab_size=128, overwrite=True)
    capsys.readouterr()
    assert cli.main(moved) == 2
    assert "hashes.dataset: found " in capsys.readouterr().err
    assert hash_of(out) == before


def test_overwrite_removes_nothing_that_the_run_reads(world, tmp_path, capsys):
    shutil.copytree(world / "policy_run", tmp_path / "run")
    before = hash_of(tmp_path / "run")
    words = [*sft_words(world, tmp_path / "run"), "--overwrite"]
    assert cli.main([*words, "--base", str(tmp_path / "run" / "policy")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / 'run'}, which holds what is read (--base: {tmp_path / 'run'}" in said
    (tmp_path / "link").symlink_to(tmp_path / "run" / "policy")
    assert cli.main([*words, "--base", str(tmp_path / "link")]) == 2
    assert hash_of(tmp_path / "run") == before


def test_a_base_that_is_not_there_is_refused_before_bags_change_the_data_set(
    world, tmp_path, capsys
):
    shutil.copytree(world / "data", tmp_path / "data")
    write_demo(tmp_path / "bags" / "new", seed=9, count=16)
    before = hash_of(tmp_path / "data")
    words = sft_words(world, tmp_path / "run")
    words[words.index("--dataset") + 1] = str(tmp_path / "data")
    words += ["--bags", str(tmp_path / "bags"), "--base"]
    for base in (str(tmp_path / "nowhere"), "old_run/policy"):
        assert cli.main([*words, base]) == 2
        assert f"{base}: no such folder, expected roboalign-tiny" in capsys.readouterr().err
    assert hash_of(tmp_path / "data") == before and not (tmp_path / "run").exists()


def test_bags_that_are_added_for_training_leave_the_tokenizer(world, tmp_path, capsys):
    """A policy of the tokenizer that was there can be trained further, by GRPO too."""
    shutil.copytree(world / "data", tmp_path / "data")
    write_demo(tmp_path / "bags" / "new", seed=9, count=16)
    fitted = {name: (tmp_path / "data" / name) for name in ("stats.json", "fast/tokenizer.json")}
    before = {name: path.read_bytes() for name, path in fitted.items()}
    words = grpo(world, tmp_path / "run").words
    words[words.index("--dataset") + 1] = str(tmp_path / "data")
    assert cli.main([*words, "--bags", str(tmp_path / "bags")]) == 0, capsys.readouterr().err
    said = capsys.readouterr().err
    assert "statistics and tokenizer stay those that were fitted before" in said
    assert {name: path.read_bytes() for name, path in fitted.items()} == before
    assert len(json.loads((tmp_path / "data" / "dataset.json").read_text())["episodes"]) == 4


@pytest.mark.parametrize("name", ["evaluate", "replay"])
def test_overwrite_removes_nothing_without_ros_or_while_another_process_writes(
    name, world, tmp_path, capsys, monkeypatch
):
    case = CASES[name](world, tmp_path / "result")
    case.prepare()
    before, find_spec = hash_of(case.result), importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(
            importlib.util, "find_spec", lambda n, *p: None if n == "rclpy" else find_spec(n, *p)
        )
        assert cli.main([*case.words, "--overwrite"]) == 1
    assert "rclpy: found no such package in " in capsys.readouterr().err
    assert hash_of(case.result) == before
    for module in (closed_loop, replay_cli):
        monkeypatch.setattr(module, "check_ros", lambda: None, raising=False)
    with only_writer(case.result):
        assert cli.main([*case.words, "--overwrite"]) == 2
    assert "another process is writing there" in capsys.readouterr().err
    assert hash_of(case.result) == before


def test_a_replay_that_another_process_has_made_meanwhile_stays(
    world, tmp_path, capsys, monkeypatch
):
    case = replay(world, tmp_path / "result")
    case.prepare()
    before = hash_of(case.result)
    case.result.rename(tmp_path / "other")
    monkeypatch.setattr(replay_cli, "check_ros", lambda: (tmp_path / "other").rename(case.result))
    assert cli.main(case.words) == 0
    assert "made before; nothing was changed" in capsys.readouterr().err
    assert hash_of(case.result) == before


def test_results_name_their_policy_from_where_they_lie(world, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(world)
    case = replay(Path("."), tmp_path / "result")
    case.prepare()
    monkeypatch.chdir(tmp_path)
    policy = world / "policy_run" / "policy"
    for file in (world / "policy_run" / "result.json", tmp_path / "result" / "replay.json"):
        (step,) = trace(file, verify=False).children
        assert Path(step.name) == policy
        named = json.loads(file.read_text())["policy"]
        assert (file.parent / named).resolve() == policy and not Path(named).is_absolute()
    capsys.readouterr()
    assert cli.main(replay(world, Path("result")).words) == 0
    assert "report and figures: result\n" in capsys.readouterr().out, "from where it is called"


def test_the_same_bags_and_contract_elsewhere_are_the_same_run(
    world, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world / "bags", tmp_path / "bags")
    (tmp_path / "arm.yaml").write_text(load_contract("sim_panda").to_yaml())
    write_demo(tmp_path / "others" / "ep9", seed=9, count=16)
    out = tmp_path / "run"

    def train(bags, contract="sim_panda"):
        words = sft_words(world, out)
        at = words.index("--dataset")
        words[at : at + 2] = ["--bags", str(bags), "--contract", contract]
        return cli.main(words)

    assert train("bags") == 0
    before = hash_of(out)
    assert train(tmp_path / "bags", "arm.yaml") == 0
    assert train("bags", "so101") == 2
    assert 'sft.contract: found "sim_panda", now "so101"' in capsys.readouterr().err
    (tmp_path / "bags").rename(tmp_path / "moved")
    assert train("moved", str(tmp_path / "arm.yaml")) == 0
    assert train("others") == 2
    assert 'bags: found ["bags/ep0", ' in capsys.readouterr().err
    assert hash_of(out) == before
    (out / "result.json").unlink()
    data = hash_of(out / "data")
    assert train("others") == 2, "also of a run that is not finished"
    assert hash_of(out / "data") == data
    assert train("moved") == 0
    assert hash_of(out / "data") == data

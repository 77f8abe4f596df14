"""No result where its own input lies, nor in a result of another kind; told before all else."""

from __future__ import annotations

import json

import pytest
from demo_bags import write_demo
from test_no_result_is_lost import hash_of

from roboalign_training import cli
from roboalign_training.bags.errors import DataError
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset
from roboalign_training.learning.base_policy import make_base_policy
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.shared import places
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.places import check_place, result_kind

SFT = "sft --dataset data --base base --max_steps 1 --weight_scene 0 --out"
GRPO = "grpo --dataset data --base policy --samples 2 --out"
REPLAY = "replay bags/ep0 --policy policy --out"
DRIVE = "evaluate closed-loop --policy policy --out"
SPOILS_WHAT_IT_READS = [
    f"{SFT} data", f"{SFT} data/run", f"{SFT} base", f"{SFT} base/run", f"{SFT} back/data",
    "sft --bags bags --base base --out bags/ep0", "sft --bags bags --base base --out bags/ep0/run",
    "sft --bags bags --base base --out bags",
    "sft --bags bags --dataset bags/ep0/data --base base --out run",
    f"{GRPO} policy", f"{GRPO} policy/run", f"{GRPO} .", f"{GRPO} data",
    "export data --out data", "export data --out data/theirs", "export data --out .",
    "import theirs --out theirs", "import theirs --out theirs/ours", "import theirs --out .",
    "recover bags/ep0 --out bags/ep0", "recover bags/ep0 --out bags/ep0/new",
    "recover bags/ep0 --out bags",
    "convert bags --out bags/ep0", "convert bags --out bags/ep0/set", "convert bags --out bags",
    "convert link --out bags/ep0/set", "export data --out back/data/theirs",
    f"{REPLAY} bags/ep0/replay", f"{REPLAY} policy", f"{REPLAY} .",
    f"{DRIVE} policy", f"{DRIVE} policy/driven", f"{DRIVE} .",
]  # fmt: skip
IS_ANOTHER_KIND = [
    f"{SFT} theirs", f"{SFT} bags/ep0", f"{SFT} policy", f"{SFT} pretrained", f"{SFT} driven",
    f"{SFT} grpo_run", f"{SFT} demo", f"{SFT} replayed",
    f"{GRPO} sft_run", f"{GRPO} theirs", f"{GRPO} base",
    "sft --bags bags --dataset theirs --base base --out run",
    "export data --out bags/ep0", "export data --out policy", "export data --out sft_run",
    "import theirs --out policy", "import theirs --out sft_run", "import theirs --out bags/ep0",
    "recover bags/ep0 --out data", "recover bags/ep0 --out theirs",
    "recover bags/ep0 --out policy",
    "convert bags --out theirs", "convert bags --out policy", "convert bags --out sft_run",
    f"{REPLAY} data", f"{REPLAY} sft_run", f"{DRIVE} data", f"{DRIVE} sft_run",
    "pretrain-tiny --out data", "pretrain-tiny --out sft_run",
]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_base):
    """One of every kind of result, some of them by what tells them alone."""
    folder = tmp_path_factory.mktemp("world")
    write_demo(folder / "bags/ep0", count=16)
    build_dataset([folder / "bags/ep0"], None, folder / "data")
    fit_dataset(folder / "data", vocab_size=128)
    export_dataset(folder / "data", folder / "theirs", images="png")
    make_base_policy(str(tiny_base), folder / "data", folder / "policy")
    (folder / "base").symlink_to(tiny_base)
    (folder / "link").symlink_to(folder / "bags")
    (folder / "back").symlink_to(folder)
    for name, file, record in (
        ("sft_run", "run.json", {"kind": "sft"}),
        ("grpo_run", "run.json", {"kind": "grpo"}),
        ("driven", "run.json", {"policy_hash": "1"}),
        ("pretrained", "run.json", {"held_out_scenes": 2}),
        ("replayed", "replay.json", {}),
        ("demo", "stages.json", {}),
    ):
        (folder / name).mkdir()
        (folder / name / file).write_text(json.dumps(record))
    return folder


def test_kinds_are_told_apart(world):
    found = {path.name: result_kind(path) for path in world.iterdir()}
    assert found == {
        "bags": None,
        "data": places.DATASET,
        "theirs": places.LEROBOT,
        "policy": places.CHECKPOINT,
        "base": places.MODEL,
        "link": None,
        "back": None,
        "sft_run": places.SFT,
        "grpo_run": places.GRPO,
        "driven": places.DRIVEN,
        "pretrained": places.PRETRAINING,
        "replayed": places.REPLAY,
        "demo": places.DEMO,
    }
    assert result_kind(world / "bags/ep0") == places.RECORDING
    assert result_kind(world / "nowhere") is None


@pytest.mark.parametrize("more", ["", " --overwrite"])
@pytest.mark.parametrize("line", SPOILS_WHAT_IT_READS)
def test_no_result_where_its_input_lies(world, line, more, monkeypatch, capsys):
    monkeypatch.chdir(world)
    before = hash_of(world)
    more = "" if line.startswith("convert ") else more  # it has no such option
    assert cli.main((line + more).split()) == 2
    said = capsys.readouterr().err
    assert " what is read (" in said and "expected a place apart from it" in said, said
    assert len(said.splitlines()) == 1
    assert hash_of(world) == before


@pytest.mark.parametrize("more", ["", " --overwrite"])
@pytest.mark.parametrize("line", IS_ANOTHER_KIND)
def test_no_result_in_one_of_another_kind(world, line, more, monkeypatch, capsys):
    monkeypatch.chdir(world)
    before = hash_of(world)
    more = "" if line.startswith("convert ") else more  # it has no such option
    assert cli.main((line + more).split()) == 2
    said = capsys.readouterr().err
    assert ": found " in said and "expected a new folder or " in said, said
    assert len(said.splitlines()) == 1
    assert hash_of(world) == before


def test_beside_and_below_are_fine(world, tmp_path):
    reads = [("data set", world / "data")]
    for out in (world / "data2", world / "dat", world / "new/data", tmp_path, world / "theirs"):
        check_place("--out", out, places.LEROBOT, reads)
    with pytest.raises(OutputError, match=r"--out: found .*, which is a data set, expected"):
        check_place("--out", world / "data", places.LEROBOT)


def test_the_data_set_of_a_runs_own_bags_lies_in_the_run(world, tmp_path, monkeypatch, capsys):
    """With --bags and no --dataset; and the same named."""

    def seen(*given):
        raise DataError("the data set", "was looked at")

    monkeypatch.chdir(world)
    monkeypatch.setattr("roboalign_training.sft.load_demonstrations", seen)
    run = tmp_path / "run"
    for more in (f"--bags bags --out {run}", f"--dataset {run}/data --out {run}"):
        words = f"sft --base base --max_steps 1 --weight_scene 0 {more}"
        assert cli.main(words.split()) == 1
        assert "data fault: the data set: was looked at" in capsys.readouterr().err


def test_bags_are_looked_for_around_the_data_set(world, tmp_path, monkeypatch):
    """A folder to look for bags in is no bag: `roboalign convert . --out data` is fine."""
    write_demo(tmp_path / "ep", count=16)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["convert", ".", "--out", "set"]) == 0
    assert cli.main(["convert", ".", "--out", "set"]) == 0

"""`--overwrite` of import and export: only what came out takes a place, and nothing else goes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from lerobot_sets import ACTION, SHAPE, edit_rows, make_dataset, make_v21, so101_contract
from test_lerobot_nothing_lost import tree

from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.build import open_index
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import DatasetIndex, load_index
from roboalign_training.lerobot import export_cli, import_cli
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.lerobot.replacing import Replacements

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)
GAINS = {"gripper": (0.5, 0.0)}


@pytest.fixture
def made(tmp_path):
    """A set of two episodes and its import to `ours`."""
    made = make_v21(tmp_path / "cubes", lengths=(12, 15))
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    return made


def again(tmp_path, **options):
    """The import with another gain and --overwrite."""
    options = {"gains": GAINS, **options}
    return import_dataset(
        tmp_path / "cubes", tmp_path / "ours", CONTRACT, overwrite=True, **options
    )


def agrees(folder):
    """Files and `dataset.json` say the same; gives the index."""
    index = load_index(folder)
    files = sorted(f"data/{p.name}" for p in (folder / "data").iterdir())
    assert files == sorted(e["file"] for e in index.episodes.values())
    assert load_frames(folder).actions.shape[0] == index.frames
    assert not {e["id"] for e in index.skipped} & set(index.episodes)
    return index


def test_an_error_leaves_every_byte(tmp_path, made, capsys):
    before = tree(tmp_path / "ours")
    (tmp_path / "arm.yaml").write_text(CONTRACT.to_yaml())
    command = [str(tmp_path / "cubes"), "--out", str(tmp_path / "ours"), "--contract"]
    command += [str(tmp_path / "arm.yaml"), "--gain", "gripper=1000", "--overwrite"]
    assert import_cli.main(command) == 1
    assert "no episode to put in it: unsafe" in capsys.readouterr().err
    assert tree(tmp_path / "ours") == before
    agrees(tmp_path / "ours")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_stop_leaves_every_byte(tmp_path, made, error):
    before, calls = tree(tmp_path / "ours"), []

    def stop():
        calls.append(1)
        if len(calls) == 20:
            raise error

    with pytest.raises(error):
        again(tmp_path, on_frame=stop)
    assert tree(tmp_path / "ours") == before


def test_a_full_disk_at_the_end_leaves_every_byte(tmp_path, made, monkeypatch):
    before = tree(tmp_path / "ours")

    def full(self):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(DatasetIndex, "save", full)
        again(tmp_path)
    assert tree(tmp_path / "ours") == before


def test_what_comes_out_replaces_and_what_is_left_out_goes_and_is_said(tmp_path, made, capsys):
    actions = made[0]["actions"].copy()
    actions[7, 1] = 40.0
    edit_rows(made[0]["data"], **{ACTION: list(actions)})
    (tmp_path / "arm.yaml").write_text(CONTRACT.to_yaml())
    command = [str(tmp_path / "cubes"), "--out", str(tmp_path / "ours"), "--contract"]
    command += [str(tmp_path / "arm.yaml"), "--gain", "gripper=0.5", "--overwrite"]
    assert import_cli.main(command) == 0
    printed = capsys.readouterr()
    assert "cubes-000000: what was imported before is removed" in printed.err
    assert "left out: cubes-000000: unsafe: action shoulder_lift of frame 7" in printed.err
    assert "1 episodes, 15 frames (1 new episodes, 0 known before)" in printed.out
    assert printed.out.rstrip().endswith("left out: 1 episode (unsafe)")
    index = agrees(tmp_path / "ours")
    assert sorted(index.episodes) == ["cubes-000001"]
    assert [e["id"] for e in index.skipped] == ["cubes-000000"]
    found = load_frames(tmp_path / "ours").actions[:, 5]
    np.testing.assert_allclose(found, made[1]["actions"][:, 5] * 0.5, rtol=1e-6)


def test_what_is_left_out_again_for_another_reason_is_said_again(tmp_path):
    made = make_v21(tmp_path / "cubes", lengths=(12, 2))
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    edit_rows(made[1]["data"], frame_index=[0, 5])
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert [e["reason"][:11] for e in done.skipped] == ["frame_index"]
    assert sum(done.left_out.to_dict()["episode"].values()) == 1


def test_replaced_there_and_back(tmp_path, made):
    first = agrees(tmp_path / "ours").hashes
    again(tmp_path)
    assert agrees(tmp_path / "ours").hashes != first
    again(tmp_path, gains=None)
    assert agrees(tmp_path / "ours").hashes == first
    done = again(tmp_path, gains=None)
    assert (done.known, done.added) == (2, [])


def test_one_that_cannot_be_read_stays(tmp_path, made):
    made[0]["video"].write_bytes(made[0]["video"].read_bytes()[:900])
    done = again(tmp_path)
    assert "cubes-000000, as it was imported before, stays" in done.failed[0]
    assert done.left_out.to_dict()["episode"] == {"of which an older version stays": 1}
    index = agrees(tmp_path / "ours")
    assert (sorted(index.episodes), index.skipped) == (["cubes-000000", "cubes-000001"], [])


@pytest.mark.parametrize("saved", [False, True])
def test_killed_while_it_puts_them_in_place(tmp_path, made, monkeypatch, saved):
    """Before `dataset.json` is replaced, and after, when the older files are still there."""
    edit_rows(made[0]["data"], timestamp=np.arange(12, dtype=np.float32))
    real = DatasetIndex.save

    def killed(self):
        if saved:
            real(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DatasetIndex, "save", killed)
        patch.setattr(Replacements, "give_up", lambda self: None)
        again(tmp_path)
    index = load_index(tmp_path / "ours")
    assert len(index.episodes) == (1 if saved else 2)
    assert len(load_frames(tmp_path / "ours")) == index.frames
    opened = open_index(tmp_path / "ours", CONTRACT, (), None)  # as a conversion does
    assert sorted(opened.episodes) == sorted(index.episodes)
    again(tmp_path)
    assert sorted(agrees(tmp_path / "ours").episodes) == ["cubes-000001"]


# Half a character


def test_a_task_with_half_a_character_is_left_out(tmp_path, capsys):
    make_v21(tmp_path / "cubes", lengths=(12, 15))
    tasks = [{"task_index": 0, "task": "pick\ud800up"}, {"task_index": 1, "task": "close"}]
    path = tmp_path / "cubes/meta/tasks.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tasks))
    (tmp_path / "arm.yaml").write_text(CONTRACT.to_yaml())
    command = [str(tmp_path / "cubes"), "--out", str(tmp_path / "ours"), "--contract"]
    command += [str(tmp_path / "arm.yaml")]
    for _ in range(2):
        assert import_cli.main(command) == 0
        printed = capsys.readouterr()
        assert r"its task is no text: found '\ud800' in 'pick\ud800up'" in printed.err
        assert printed.out.endswith("left out: 1 episode (whose task has half a character)\n")
    assert sorted(load_index(tmp_path / "ours").episodes) == ["cubes-000001"]
    assert import_cli.main([*command, "--instruction", "go\udcff"]) == 2
    assert r"--instruction: found '\udcff'" in capsys.readouterr().err


# Export


@pytest.fixture
def exported(tmp_path):
    """The command of an export with videos that is done."""
    make_dataset(tmp_path / "kitchen", episodes=2, frames=6)
    command = [str(tmp_path / "kitchen"), "--out", str(tmp_path / "theirs")]
    assert export_cli.main(command) == 0
    return command


@pytest.mark.parametrize(
    "name", ["NOTES.md", ".cache/note", "data/mine.csv", "data/chunk-000/file-001.parquet"]
)
def test_what_is_not_of_the_export_is_named_and_nothing_changed(tmp_path, exported, capsys, name):
    path = tmp_path / "theirs" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    before = tree(tmp_path)
    assert export_cli.main([*exported, "--crf", "40", "--overwrite"]) == 2
    assert f"holds {name} beside the export" in capsys.readouterr().err
    assert tree(tmp_path) == before
    assert export_cli.main(exported) == 0, "the same export is left alone, whatever is with it"


@pytest.mark.parametrize("leads_to", ["empty", "nowhere", "theirs"])
def test_a_link_is_refused_before_anything_is_made(tmp_path, exported, capsys, leads_to):
    (tmp_path / "empty").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / leads_to)
    before = tree(tmp_path)
    command = [exported[0], "--out", str(link)]
    for more in ([], ["--overwrite"]):
        assert export_cli.main([*command, "--crf", "40", *more]) == 2
        said = capsys.readouterr().err
        assert f"found a link to {tmp_path / leads_to}, expected" in said or not more, said
        assert tree(tmp_path) == before and not list(tmp_path.glob(".*"))
    if leads_to == "theirs":
        assert export_cli.main(command) == 0, "the same export is there"


def test_what_comes_in_meanwhile_is_not_lost(tmp_path, exported):
    notes = tmp_path / "theirs/NOTES.md"
    with pytest.raises(DatasetError, match=r"holds NOTES.md"):
        export_dataset(
            tmp_path / "kitchen", tmp_path / "theirs", crf=40, overwrite=True,
            on_frame=lambda count: notes.write_text("mine"),
        )  # fmt: skip
    assert notes.read_text() == "mine"
    notes.unlink()
    assert export_cli.main([*exported, "--crf", "40", "--overwrite"]) == 0


@pytest.mark.parametrize("older", [False, True], ids=["listed", "of an older release"])
def test_an_export_that_lacks_files_is_made_anew_with_overwrite(tmp_path, exported, capsys, older):
    whole = tree(tmp_path / "theirs")
    passport = tmp_path / "theirs/meta/roboalign.json"
    if older:
        found = json.loads(passport.read_text())
        del found["files"]
        passport.write_text(json.dumps(found))
    assert export_cli.main(exported) == 0
    shutil.rmtree(tmp_path / "theirs/data")
    shutil.rmtree(tmp_path / "theirs/videos/observation.images.wrist")
    before = tree(tmp_path)
    capsys.readouterr()
    assert export_cli.main(exported) == 2
    printed = capsys.readouterr().err
    assert "2 of its " in printed
    assert "data/chunk-000/file-000.parquet is missing (and 1 more)" in printed
    assert "--overwrite makes it anew" in printed
    assert tree(tmp_path) == before
    assert export_cli.main([*exported, "--overwrite"]) == 0
    assert tree(tmp_path / "theirs") == whole


def test_a_file_of_another_size_is_told(tmp_path, exported, capsys):
    path = tmp_path / "theirs/data/chunk-000/file-000.parquet"
    size = path.stat().st_size
    path.write_bytes(b"PAR1")
    assert export_cli.main(exported) == 2
    assert f"file-000.parquet has 4 bytes, expected {size}" in capsys.readouterr().err


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_another_contract_or_other_rules_are_refused_by_what_differs(tmp_path, capsys, overwrite):
    make_v21(tmp_path / "cubes")
    for name in ("arm", "my_arm"):
        (tmp_path / f"{name}.yaml").write_text(replace(CONTRACT, name=name).to_yaml())
    command = [str(tmp_path / "cubes"), "--out", str(tmp_path / "ours"), "--contract"]
    assert import_cli.main([*command, str(tmp_path / "arm.yaml")]) == 0
    before = tree(tmp_path / "ours")
    capsys.readouterr()
    for contract, more, differing in (
        ("my_arm", [], 'contract: found "arm '),
        ("arm", ["--min-frames", "13"], "rules: min_frames: found null, now 13; nothing was"),
        ("arm", ["--instruction", "go"], 'rules: instruction: found null, now "go"; nothing was'),
    ):
        words = [*command, str(tmp_path / f"{contract}.yaml"), *more, *overwrite]
        assert import_cli.main(words) == 2
        said = capsys.readouterr().err
        assert f"{tmp_path / 'ours'}: was made with another contract or other rules: " in said
        assert differing in said and len(said.splitlines()) == 1
        assert said.endswith("nothing was changed: give those, or choose another folder\n")
    assert tree(tmp_path / "ours") == before


@pytest.mark.parametrize("gain", ["x", "0", "nan", "1:x", "inf"])
def test_a_gain_that_is_no_number_is_refused(tmp_path, capsys, gain):
    words = [str(tmp_path), "--out", str(tmp_path / "ours"), "--gain", f"gripper={gain}"]
    assert import_cli.main(words) == 2
    assert f"--gain gripper: found {gain!r}, expected GAIN" in capsys.readouterr().err

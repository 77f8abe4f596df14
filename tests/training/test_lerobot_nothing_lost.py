"""A refused or repeated import or export changes not one byte of what is there."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from lerobot_sets import (
    ACTION,
    SHAPE,
    STATE,
    edit_info,
    edit_rows,
    make_dataset,
    make_v21,
    so101_contract,
)
from lerobot_v30 import make_v30

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.lerobot import export_cli, import_cli
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.identity import Identity
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.shared.outputs import OutputError

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)


def tree(folder):
    """Path -> bytes of all that is there, but of the lock, which holds none."""
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in sorted(folder.rglob("*"))
        if p.name != ".lock"
    }


@pytest.fixture
def imported(tmp_path):
    """A finished import of a set with an episode that is not fit."""
    made = make_v21(tmp_path / "cubes", lengths=(12, 15, 2))
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    return made


def refuse_contract(tmp_path):
    return {"contract": so101_contract("image.top", (480, 640, 3), rate_hz=10.0)}


def refuse_map(tmp_path):
    return {"maps": {"observation.images.none": "image.top"}}


def refuse_gain(tmp_path):
    return {"gains": {"gripper": (0.5, 0.0)}}


def refuse_names(tmp_path):
    twisted = {"names": [f"j{n}" for n in range(6)]}
    edit_info(tmp_path / "cubes", lambda info: info["features"][STATE].update(twisted))
    return {}


def refuse_source(tmp_path):
    shutil.rmtree(tmp_path / "cubes/meta")
    return {}


@pytest.mark.parametrize(
    "prepare", [refuse_contract, refuse_map, refuse_gain, refuse_names, refuse_source]
)
def test_a_refused_import_changes_nothing(imported, tmp_path, prepare):
    before = tree(tmp_path / "ours")
    options = {"contract": CONTRACT, **prepare(tmp_path)}
    with pytest.raises(DatasetError):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", **options)
    assert tree(tmp_path / "ours") == before


def test_a_repeated_import_changes_nothing(imported, tmp_path):
    before = tree(tmp_path / "ours")
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (done.added, done.known) == ([], 3)
    assert tree(tmp_path / "ours") == before


@pytest.mark.parametrize("prepare", [refuse_contract, refuse_map, refuse_names, refuse_source])
def test_a_refused_import_leaves_no_folder(tmp_path, prepare):
    make_v21(tmp_path / "cubes")
    options = {"contract": CONTRACT, **prepare(tmp_path)}
    with pytest.raises(DatasetError):
        import_dataset(tmp_path / "cubes", tmp_path / "new/deep/ours", **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cubes"]


def test_an_import_of_which_nothing_comes_leaves_no_folder(tmp_path):
    make_v21(tmp_path / "cubes", lengths=(2, 2))
    (tmp_path / "there").mkdir()
    for out in ("new/ours", "there"):
        with pytest.raises(DatasetError, match="no episode to put in it: too short"):
            import_dataset(tmp_path / "cubes", tmp_path / out, CONTRACT)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cubes", "there"]
    assert not list((tmp_path / "there").iterdir())


@pytest.mark.parametrize("name", ["notes.txt", "data/mine.csv", "meta"])
def test_a_folder_of_something_else_is_left_alone(tmp_path, name):
    make_v21(tmp_path / "cubes")
    path = tmp_path / "ours" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    before = tree(tmp_path / "ours")
    with pytest.raises(DatasetError, match="and is no data set"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert tree(tmp_path / "ours") == before


def test_a_source_is_no_place_for_its_own_import(tmp_path):
    make_v30(tmp_path / "cubes")
    before = tree(tmp_path / "cubes")
    for out, how in (("cubes", "is"), ("cubes/ours", "lies in"), (".", "holds")):
        with pytest.raises(OutputError, match=f"--out: found .*, which {how} what is read"):
            import_dataset(tmp_path / "cubes", tmp_path / out, CONTRACT, overwrite=True)
    assert tree(tmp_path / "cubes") == before
    make_v30(tmp_path / "other")
    before = tree(tmp_path / "other")
    with pytest.raises(OutputError, match="which is a LeRobot data set, expected a new folder or"):
        import_dataset(tmp_path / "cubes", tmp_path / "other", CONTRACT)
    assert tree(tmp_path / "other") == before


def test_other_options_replace_only_with_overwrite(imported, tmp_path):
    before = tree(tmp_path / "ours")
    gains = {"gripper": (0.5, 0.0)}
    with pytest.raises(DatasetError) as error:
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT, gains=gains)
    said = str(error.value)
    differing = "gains.{} 5: found nothing, now [0.5, 0.0]; "
    assert f"options: {differing.format('action')}{differing.format('state.joints')}no" in said
    assert "replace what is there with --overwrite" in str(error.value)
    assert tree(tmp_path / "ours") == before
    done = import_dataset(
        tmp_path / "cubes", tmp_path / "ours", CONTRACT, gains=gains, overwrite=True
    )
    assert done.added == ["cubes-000000", "cubes-000001"]
    found = load_frames(tmp_path / "ours").actions[:12, 5]
    np.testing.assert_allclose(found, imported[0]["actions"][:, 5] * 0.5, rtol=1e-6)


def test_changed_files_replace_only_with_overwrite(imported, tmp_path):
    before = tree(tmp_path / "ours")
    actions = imported[1]["actions"].copy()
    actions[3, 0] += 0.01
    edit_rows(imported[1]["data"], **{ACTION: list(actions)})
    nothing = np.full_like(imported[0]["states"], np.nan)
    edit_rows(imported[0]["data"], **{STATE: list(nothing)})
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (done.added, done.known, len(done.failed)) == ([], 1, 2)
    assert (
        "was imported as cubes-000000 before, and is not fit any more (no frame"
        in (done.failed[0])
    )
    assert "was imported as cubes-000001 before, and has another content now" in done.failed[1]
    assert done.left_out.to_dict()["episode"]["of which an older version stays"] == 2
    assert tree(tmp_path / "ours") == before
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT, overwrite=True)
    assert done.added == ["cubes-000001"]
    assert [e["id"] for e in done.skipped] == ["cubes-000000"]
    np.testing.assert_array_equal(load_frames(tmp_path / "ours").actions, actions)


def test_a_set_that_has_grown_is_read_on(tmp_path):
    """In v3.0 all episodes share a file, whose hash is another one then."""
    made = make_v30(tmp_path / "cubes", (12, 15))
    import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    shutil.rmtree(tmp_path / "cubes")
    grown = make_v30(tmp_path / "cubes", (12, 15, 9))
    np.testing.assert_array_equal(grown[1]["actions"], made[1]["actions"])
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert "cubes-000002" in done.added and not done.failed
    assert len(done.index.episodes) == 3
    again = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (again.known, again.added) == (3, [])


# Two sets are two sets, whatever they are called


@pytest.mark.parametrize(
    ("one", "other"),
    [("数据甲", "数据乙"), ("détache", "dètache"), ("a/cubes", "b/cubes"), ("x" * 245, "y" * 245)],
    ids=["script", "accent", "name", "long"],
)
def test_two_sets_are_two(tmp_path, one, other):
    made = [
        make_v21(tmp_path / folder, lengths=lengths)
        for folder, lengths in ((one, (12, 15)), (other, (13, 14)))
    ]
    for folder in (one, other):
        done = import_dataset(tmp_path / folder, tmp_path / "ours", CONTRACT)
        assert len(done.added) == 2 and not done.skipped and not done.failed
    data = load_frames(tmp_path / "ours")
    assert sorted(e.stop - e.start for e in data.episodes) == [12, 13, 14, 15]
    for episode in data.episodes:
        actions = data.actions[episode.start : episode.stop]
        assert any(
            len(e["actions"]) == len(actions) and (e["actions"] == actions).all()
            for found in made
            for e in found.values()
        )
    before = tree(tmp_path / "ours")
    for folder in (one, other):
        done = import_dataset(tmp_path / folder, tmp_path / "ours", CONTRACT)
        assert (done.known, done.added) == (2, [])
    assert tree(tmp_path / "ours") == before


def test_sets_of_one_name_on_the_hub_are_two(tmp_path):
    for lab, lengths in (("one", (12, 15)), ("two", (13, 14))):
        folder = tmp_path / f"hub/datasets--{lab}--cubes/snapshots/0123abc"
        make_v21(folder, lengths=lengths)
        done = import_dataset(folder, tmp_path / "ours", CONTRACT)
        assert len(done.added) == 2
    assert len(load_index(tmp_path / "ours").episodes) == 4


def test_an_id_of_an_earlier_release_stays(tmp_path, monkeypatch):
    """It had "_" for what is no letter of ASCII; a set that has grown keeps it."""
    make_v30(tmp_path / "my set", (12, 15))
    with monkeypatch.context() as earlier:
        earlier.setattr(Identity, "episode_id", lambda self, e: f"my_set-{e.number:06d}")
        import_dataset(tmp_path / "my set", tmp_path / "ours", CONTRACT)
    shutil.rmtree(tmp_path / "my set")
    make_v30(tmp_path / "my set", (12, 15, 9))
    done = import_dataset(tmp_path / "my set", tmp_path / "ours", CONTRACT)
    assert sorted(done.index.episodes) == ["my set-000002", "my_set-000000", "my_set-000001"]


def test_a_set_that_was_moved_is_known(imported, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "cubes", tmp_path / "elsewhere/cubes")
    before = tree(tmp_path / "ours")
    done = import_dataset(tmp_path / "elsewhere/cubes", tmp_path / "ours", CONTRACT)
    assert (done.known, done.added) == (3, [])
    assert tree(tmp_path / "ours") == before


# Export


def test_an_export_replaces_another_only_with_overwrite(tmp_path, capsys):
    make_dataset(tmp_path / "kitchen")
    command = [str(tmp_path / "kitchen"), "--out", str(tmp_path / "theirs")]
    assert export_cli.main([*command, "--images", "png"]) == 0
    before = tree(tmp_path / "theirs")
    assert export_cli.main([*command, "--images", "png"]) == 0
    assert export_cli.main(command) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "exists and is another export: crf: found nothing, now 23; storage: found" in printed
    assert "choose another folder, or replace it with --overwrite" in printed
    assert export_cli.main([*command, "--crf", "99", "--overwrite"]) == 2
    assert tree(tmp_path / "theirs") == before
    assert export_cli.main([*command, "--overwrite"]) == 0
    assert tree(tmp_path / "theirs") != before
    export_dataset(tmp_path / "kitchen", tmp_path / "fresh")
    assert tree(tmp_path / "theirs") == tree(tmp_path / "fresh")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fresh", "kitchen", "theirs"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_export_is_never_replaced(tmp_path, overwrite):
    make_dataset(tmp_path / "kitchen")
    make_v21(tmp_path / "cubes")
    before = tree(tmp_path)
    with pytest.raises(DatasetError, match="is no export of a RoboAlign data set"):
        export_dataset(tmp_path / "kitchen", tmp_path / "cubes", overwrite=overwrite)
    for out, how in (("kitchen", "is"), ("kitchen/data/theirs", "lies in"), (".", "holds")):
        with pytest.raises(OutputError, match=f"--out: found .*, which {how} what is read"):
            export_dataset(tmp_path / "kitchen", tmp_path / out, overwrite=overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("command", [import_cli, export_cli])
def test_a_full_disk_is_one_line_with_a_path(tmp_path, monkeypatch, capsys, command):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    name = "import_dataset" if command is import_cli else "export_dataset"
    monkeypatch.setattr(command, name, full)
    make_v21(tmp_path / "cubes")
    make_dataset(tmp_path / "kitchen", episodes=1)
    (tmp_path / "arm.yaml").write_text(CONTRACT.to_yaml())
    source, options = (
        ("cubes", ["--contract", str(tmp_path / "arm.yaml")])
        if command is import_cli
        else ("kitchen", [])
    )
    out = str(tmp_path / "out")
    assert command.main([str(tmp_path / source), "--out", out, *options]) == 1
    printed = "".join(capsys.readouterr().err.split("\n"))
    assert f"error: {out}: No space left on device" in printed

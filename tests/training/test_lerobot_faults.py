"""LeRobot episodes that are not fit or not readable, interrupted imports, changed exports."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_sets import (
    ACTION,
    SHAPE,
    STATE,
    TOP,
    arm_contract,
    edit_info,
    edit_rows,
    make_dataset,
    make_v21,
    psnr,
    so101_contract,
    write_lines,
    write_mp4,
)
from lerobot_v30 import make_v30

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)


@pytest.fixture
def v21(tmp_path):
    """Folder of a LeRobot data set v2.1."""
    make_v21(tmp_path / "cubes")
    return tmp_path / "cubes"


def test_faults_of_episodes_leave_the_others_alone(tmp_path):
    made = make_v21(tmp_path / "cubes", lengths=(12, 12, 12, 12, 12, 12))
    edit_rows(made[0]["data"], task_index=[0] * 6 + [1] * 6)
    states = made[1]["states"].copy()
    states[4, 2] = np.nan
    edit_rows(made[1]["data"], **{STATE: list(states)})
    actions = made[2]["actions"].copy()
    actions[7, 1] = 40.0
    edit_rows(made[2]["data"], **{ACTION: list(actions)})
    edit_rows(made[3]["data"], timestamp=np.arange(12, dtype=np.float32))
    made[4]["video"].write_bytes(made[4]["video"].read_bytes()[:900])
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000001", "cubes-000005"]
    reasons = {entry["id"]: entry["reason"] for entry in done.skipped}
    assert "its task changes ('pick up the cube'; 'close the drawer')" in reasons["cubes-000000"]
    assert "unsafe: action shoulder_lift of frame 7 is 40" in reasons["cubes-000002"]
    assert "timestamp of frame 11: found 11.0000 s, expected 1.1000 s" in reasons["cubes-000003"]
    assert len(done.failed) == 1
    assert "episode_000004.mp4: cannot be decoded" in done.failed[0]
    entry = done.index.episodes["cubes-000001"]
    assert (entry["frames"], entry["dropped"]) == (11, {"state.joints: non-finite": 1})
    data = load_frames(tmp_path / "ours")
    assert data.frame_indices[:6].tolist() == [0, 1, 2, 3, 5, 6]
    assert psnr(data.image(4), made[1]["images"][5]) > 35


def test_what_could_not_be_read_is_tried_again(tmp_path):
    made = make_v21(tmp_path / "cubes")
    whole = made[1]["video"].read_bytes()
    made[1]["video"].write_bytes(whole[:900])
    first = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert [e["id"] for e in load_index(tmp_path / "ours").skipped] == ["episode 1"]
    made[1]["video"].write_bytes(whole)
    second = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (first.added, second.added) == (["cubes-000000", "cubes-000002"], ["cubes-000001"])
    assert (second.known, load_index(tmp_path / "ours").skipped) == (2, [])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda m: write_mp4(m["video"], m["images"][:9], 10), "has 9 images, expected 15 up to"),
        (
            lambda m: write_mp4(m["video"], m["images"], 7),
            "has 7 images a second, expected 10",
        ),
        (
            lambda m: write_mp4(m["video"], m["images"][:, :32], 10),
            r"image.top of frame 0: found \(32, 64, 3\), expected \(48, 64, 3\)",
        ),
        (lambda m: m["video"].unlink(), "cannot be read"),
        (lambda m: m["data"].write_bytes(b"PAR1"), "cannot be read"),
        (
            lambda m: edit_rows(m["data"], episode_index=[0] * 15),
            "found 0 frames, expected the 15",
        ),
        (lambda m: edit_rows(m["data"], task_index=[9] * 15), "task_index: found 9"),
        (lambda m: edit_rows(m["data"], frame_index=[0, *range(14)]), "frame_index of frame 1"),
    ],
)
def test_files_that_are_not_what_the_metadata_says(tmp_path, damage, text):
    made = make_v21(tmp_path / "cubes")
    damage(made[1])
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000000", "cubes-000002"]
    said = [*done.failed, *(entry["reason"] for entry in done.skipped)]
    assert len(said) == 1
    with pytest.raises(AssertionError, match=text):
        raise AssertionError(said[0])
    assert not list((tmp_path / "ours/data").glob(".*"))


def test_an_episode_without_frames_costs_no_other_one(tmp_path):
    """Listed behind the others of a shared video: it has no images, and takes none from them."""
    make_v30(tmp_path / "cubes", (12, 15))
    path = tmp_path / "cubes/meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    ends = rows[1][f"videos/{TOP}/to_timestamp"]
    none = {"episode_index": 2, "length": 0, f"videos/{TOP}/from_timestamp": ends}
    pq.write_table(pa.Table.from_pylist([*rows, {**rows[1], **none}], table.schema), path)
    edit_info(tmp_path / "cubes", lambda info: info.update(total_episodes=3))
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000000", "cubes-000001"]
    assert len(done.failed) == 1 and "episode 2: its frames" in done.failed[0]


def test_an_interrupted_import_is_picked_up(v21, tmp_path):
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(v21, tmp_path / "ours", CONTRACT, on_frame=stop)
    assert not (tmp_path / "ours/dataset.json").exists()
    done = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert (done.known, done.added) == (1, ["cubes-000001", "cubes-000002"])
    again = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert (again.known, again.added) == (3, [])
    assert len(load_frames(tmp_path / "ours").episodes) == 3


def test_the_instruction_may_be_given(v21, tmp_path):
    lines = [{"task_index": 0, "task": " "}, {"task_index": 1, "task": "close it"}]
    write_lines(v21 / "meta/tasks.jsonl", lines)
    done = import_dataset(v21, tmp_path / "ours", CONTRACT)
    assert {e["reason"] for e in done.skipped} == {"its task is empty: give the instruction"}
    recipe = Recipe(instruction="do it")
    done = import_dataset(v21, tmp_path / "other", CONTRACT, recipe=recipe)
    assert {e["instruction"] for e in done.index.episodes.values()} == {"do it"}


def test_no_episode_is_an_error_with_the_reasons(v21, tmp_path):
    with pytest.raises(DatasetError, match="no episode to put in it: too short: 12 frames"):
        import_dataset(v21, tmp_path / "ours", CONTRACT, recipe=Recipe(min_frames=99))


def test_repository_and_revision_are_known_from_the_folder(v21, tmp_path):
    place = tmp_path / "hub/datasets--lab--cubes--2/snapshots/0123abc"
    shutil.copytree(v21, place)
    done = import_dataset(place, tmp_path / "ours", CONTRACT)
    origin = done.index.episodes["cubes--2-000000"]["origin"]
    assert (origin["repo"], origin["revision"]) == ("lab/cubes--2", "0123abc")
    note = v21 / ".cache/huggingface/download/meta/info.json.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("feed01\nanother hash\n17.0\n")
    done = import_dataset(v21, tmp_path / "other", CONTRACT)
    assert done.index.episodes["cubes-000000"]["origin"]["revision"] == "feed01"


# Exports of ours that were changed


@pytest.fixture
def exported(tmp_path):
    """An export with its images in the data files."""
    make_dataset(tmp_path / "kitchen")
    export_dataset(tmp_path / "kitchen", tmp_path / "theirs", images="png")
    return tmp_path / "theirs"


def test_a_changed_export_is_refused(exported, tmp_path):
    path = exported / "data/chunk-000/file-000.parquet"
    table = pq.ParquetFile(path).read()
    actions = np.array(table[ACTION].to_pylist(), np.float32)
    actions[3, 0] *= 0.5
    edit_rows(path, action=list(actions))
    done = import_dataset(exported, tmp_path / "ours")
    assert done.added == ["2025-1", "2025-2"]
    assert "values_sha256 of episode 0" in done.failed[0]


def test_changed_pictures_of_an_export_are_refused(exported, tmp_path):
    path = exported / "data/chunk-000/file-000.parquet"
    table = pq.ParquetFile(path).read()
    cells = table["observation.images.front"].to_pylist()
    cells[0], cells[1] = cells[1], cells[0]
    edit_rows(path, **{"observation.images.front": cells})
    done = import_dataset(exported, tmp_path / "ours")
    assert done.added == ["2025-1", "2025-2"]
    assert "content_sha256 of episode 0" in done.failed[0]


def test_an_export_with_another_contract_or_episode_count_is_refused(exported, tmp_path):
    passport = json.loads((exported / "meta/roboalign.json").read_text())
    passport["episodes"].pop()
    (exported / "meta/roboalign.json").write_text(json.dumps(passport))
    with pytest.raises(DatasetError, match="has 3 episodes, but 2 were exported: changed since"):
        import_dataset(exported, tmp_path / "ours")
    text = (exported / "meta/contract.yaml").read_text()
    (exported / "meta/contract.yaml").write_text(text.replace("rate_hz: 10.0", "rate_hz: 20.0"))
    with pytest.raises(DatasetError, match=r"contract.yaml: hash: found"):
        import_dataset(exported, tmp_path / "ours")


def test_without_its_passport_an_export_is_as_any_other(exported, tmp_path):
    (exported / "meta/roboalign.json").unlink()
    done = import_dataset(exported, tmp_path / "ours", arm_contract())
    data, truth = load_frames(tmp_path / "ours"), load_frames(tmp_path / "kitchen")
    assert done.added == [f"theirs-{n:06d}" for n in range(3)]
    np.testing.assert_array_equal(data.actions, truth.actions)
    for key in truth.states:
        np.testing.assert_array_equal(data.states[key], truth.states[key])
    np.testing.assert_array_equal(data.image(20, "image.wrist"), truth.image(20, "image.wrist"))


def test_nothing_of_an_export_is_mapped(exported, tmp_path):
    with pytest.raises(DatasetError, match="there is nothing to map or convert"):
        import_dataset(exported, tmp_path / "ours", gains={"dx": (2.0, 0.0)})


def test_an_episode_that_is_there_already_is_known(exported, tmp_path):
    before = {p: p.read_bytes() for p in (tmp_path / "kitchen").rglob("*") if p.is_file()}
    done = import_dataset(exported, tmp_path / "kitchen")
    assert (done.added, done.known, done.skipped, done.failed) == ([], 3, [], [])
    after = {p: p.read_bytes() for p in (tmp_path / "kitchen").rglob("*") if p.is_file()}
    assert {p: d for p, d in after.items() if p.name != ".lock"} == before

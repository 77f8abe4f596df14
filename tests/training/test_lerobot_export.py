"""Data sets out to LeRobot v3.0 and back: the files, the values, what is refused."""

from __future__ import annotations

import json

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lerobot_sets import START_NS, arm_contract, make_dataset, psnr

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.frame_dataset import load_frames
from roboalign_training.data.index import load_index
from roboalign_training.lerobot import assembly, export_cli
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.importing import import_dataset

LEAST_PSNR_DB = 35.0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A data set of three episodes and two cameras, with a hole in the last episode."""
    folder = tmp_path_factory.mktemp("ours") / "kitchen"
    make_dataset(folder, holes=(5, 6))
    return folder


@pytest.fixture(scope="module")
def exported(dataset, tmp_path_factory):
    """`dataset` with its images in the data files."""
    out = tmp_path_factory.mktemp("theirs") / "kitchen"
    export_dataset(dataset, out, images="png")
    return out


def same_values(one, other):
    assert [e.id for e in one.episodes] == [e.id for e in other.episodes]
    assert [e.instruction for e in one.episodes] == [e.instruction for e in other.episodes]
    assert [e.outcome for e in one.episodes] == [e.outcome for e in other.episodes]
    for key in one.states:
        np.testing.assert_array_equal(one.states[key], other.states[key])
        assert one.states[key].dtype == other.states[key].dtype == np.float32
    np.testing.assert_array_equal(one.actions, other.actions)
    np.testing.assert_array_equal(one.stamps_ns, other.stamps_ns)
    np.testing.assert_array_equal(one.frame_indices, other.frame_indices)


def test_files_and_columns_are_those_of_lerobot(dataset, exported):
    files = sorted(str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "meta/contract.yaml",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/roboalign.json",
        "meta/roboalign_frames.parquet",
        "meta/stats.json",
        "meta/tasks.parquet",
    ]
    info = json.loads((exported / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 10, "sim_panda")
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 45, 2)
    assert (info["chunks_size"], info["data_files_size_in_mb"]) == (1000, 100)
    assert info["video_files_size_in_mb"] == 200
    features = info["features"]
    assert list(features) == [
        "observation.images.front",
        "observation.images.wrist",
        "observation.state",
        "action",
        "timestamp",
        "frame_index",
        "episode_index",
        "index",
        "task_index",
    ]
    assert features["observation.images.front"]["shape"] == [48, 64, 3]
    state = features["observation.state"]
    assert (state["shape"], state["names"][0]) == ([15], "joints.joint1")
    assert state["names"][-2:] == ["ee.qw", "gripper.width"]
    assert features["action"]["names"] == list(arm_contract().action.names)
    tasks = pd.read_parquet(exported / "meta/tasks.parquet")
    assert tasks.index.name == "task"
    assert tasks["task_index"].to_dict() == {
        "put the red cube on the blue plate": 0,
        "open the drawer": 1,
    }
    rows = pq.read_table(exported / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [r["length"] for r in rows] == [14, 15, 16]
    assert [(r["dataset_from_index"], r["dataset_to_index"]) for r in rows] == [
        (0, 14),
        (14, 29),
        (29, 45),
    ]
    assert rows[1]["tasks"] == ["open the drawer"]
    assert np.shape(rows[0]["stats/observation.images.front/mean"]) == (3, 1, 1)
    stats = json.loads((exported / "meta/stats.json").read_text())
    assert set(stats) == set(features)
    assert set(stats["action"]) == set("min max mean std count q01 q10 q50 q90 q99".split())
    ours = load_frames(dataset)
    np.testing.assert_allclose(stats["action"]["mean"], ours.actions.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(stats["action"]["std"], ours.actions.std(axis=0), atol=1e-6)


def test_rows_are_ours(dataset, exported):
    data = datasets.load_dataset(
        "parquet", data_files=str(exported / "data/*/*.parquet"), split="train",
        cache_dir=str(exported.parent / "cache"),
    )  # fmt: skip
    ours = load_frames(dataset)
    assert data.features["observation.state"].length == 15
    state = np.concatenate([ours.states[s.key] for s in ours.contract.states], axis=1)
    rows = data.select_columns(
        ["observation.state", "action", "timestamp", "frame_index", "index"]
    )[:]
    np.testing.assert_array_equal(np.array(rows["observation.state"], np.float32), state)
    np.testing.assert_array_equal(np.array(rows["action"], np.float32), ours.actions)
    assert rows["index"] == list(range(45))
    assert rows["frame_index"][28:31] == [14, 0, 1]
    np.testing.assert_array_equal(
        np.array(rows["timestamp"][29:], np.float32), (np.arange(16) / 10).astype(np.float32)
    )
    for at in (0, 17, 44):
        np.testing.assert_array_equal(
            np.asarray(data[at]["observation.images.wrist"]), ours.image(at, "image.wrist")
        )


def test_images_come_back_bit_for_bit(dataset, exported, tmp_path):
    done = import_dataset(exported, tmp_path / "back")
    before, after = load_index(dataset), load_index(tmp_path / "back")
    assert done.added == ["2025-0", "2025-1", "2025-2"]
    assert after.hashes == before.hashes
    assert after.contract == before.contract
    assert after.recipe == before.recipe
    one, other = load_frames(dataset), load_frames(tmp_path / "back")
    same_values(one, other)
    for at in range(len(one)):
        for key in one.image_keys:
            np.testing.assert_array_equal(one.image(at, key), other.image(at, key))
    origin = after.episodes["2025-2"]["origin"]
    assert origin["format"] == "LeRobot v3.0"
    assert origin["episode_index"] == 2
    assert origin["exported"]["source"] == "../bags/2025-2"
    assert origin["exported"]["bag_sha256"] == f"{2:064d}"
    assert after.episodes["2025-2"]["dropped"] == {"ee_pose: stale": 2}


@pytest.mark.parametrize("codec", ["h264", "av1"])
def test_videos_come_back_alike_and_the_rest_bit_for_bit(dataset, tmp_path, codec):
    out = tmp_path / "theirs"
    done = export_dataset(dataset, out, images=codec)
    assert len(done.notes) == 1
    assert "2025-2: 2 frames are missing inside it" in done.notes[0]
    info = json.loads((out / "meta/info.json").read_text())
    assert info["features"]["observation.images.front"]["info"]["video.codec"] == codec
    assert (out / "videos/observation.images.wrist/chunk-000/file-000.mp4").is_file()
    row = pq.read_table(out / "meta/episodes/chunk-000/file-000.parquet").to_pylist()[1]
    assert row["videos/observation.images.front/from_timestamp"] == 1.4
    assert row["videos/observation.images.front/to_timestamp"] == 2.9
    import_dataset(out, tmp_path / "back")
    one, other = load_frames(dataset), load_frames(tmp_path / "back")
    same_values(one, other)
    assert other.contract.hash == one.contract.hash
    for at in range(len(one)):
        for key in one.image_keys:
            likeness = [
                psnr(one.image(n, key), other.image(at, key)) for n in (at, max(at - 1, 0))
            ]
            assert likeness[0] > LEAST_PSNR_DB
            assert at == 0 or likeness[0] > likeness[1] + 5, "a frame of another time"


def test_crf_is_the_quality(dataset, tmp_path):
    sizes = []
    for crf in (10, 40):
        export_dataset(dataset, tmp_path / str(crf), images="h264", crf=crf)
        sizes.append(sum(p.stat().st_size for p in (tmp_path / str(crf)).rglob("*.mp4")))
    assert sizes[0] > 1.5 * sizes[1]


def test_files_end_at_their_limits(dataset, tmp_path, monkeypatch):
    """Every episode in files of its own; and three in one chunk."""
    monkeypatch.setattr(assembly, "DATA_FILE_MB", 0.001)
    monkeypatch.setattr(assembly, "VIDEO_FILE_MB", 0.001)
    monkeypatch.setattr("roboalign_training.lerobot.files.FILES_PER_CHUNK", 2)
    export_dataset(dataset, tmp_path / "theirs")
    for folder, ending in (("data", "parquet"), ("videos/observation.images.front", "mp4")):
        found = (tmp_path / "theirs" / folder).rglob(f"*.{ending}")
        assert sorted(f"{p.parent.name}/{p.stem}" for p in found) == [
            "chunk-000/file-000",
            "chunk-000/file-001",
            "chunk-001/file-000",
        ]
    import_dataset(tmp_path / "theirs", tmp_path / "back")
    same_values(load_frames(dataset), load_frames(tmp_path / "back"))


def test_the_same_export_is_left_alone_and_another_refused(dataset, exported, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in exported.rglob("*")}
    assert export_dataset(dataset, exported, images="png").existed
    assert {p: p.stat().st_mtime_ns for p in exported.rglob("*")} == before
    with pytest.raises(
        DatasetError, match=r'another export: crf: .*; storage: found "png", now "h264"; nothing'
    ):
        export_dataset(dataset, exported, images="h264")
    make_dataset(tmp_path / "other", episodes=1)
    with pytest.raises(DatasetError, match="is another export"):
        export_dataset(tmp_path / "other", exported, images="png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is no export of a RoboAlign data set"):
        export_dataset(dataset, tmp_path / "mine")
    assert (tmp_path / "mine/notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("contract", "options", "text"),
    [
        ({"rate_hz": 12.5}, {}, "rate_hz: found 12.5, expected a whole number"),
        ({"shape": (47, 64, 3)}, {}, r"image.front: \(47, 64\) pixels, but videos take even"),
        ({}, {"images": "gif"}, "images: found 'gif', expected one of png, h264, av1"),
        ({}, {"images": "png", "crf": 20}, "crf: found 20"),
        ({}, {"crf": 99}, "crf: found 99, expected 0 .. 51"),
    ],
)
def test_what_lerobot_has_no_words_for_is_refused(tmp_path, contract, options, text):
    make_dataset(tmp_path / "ours", arm_contract(**contract), episodes=1, frames=4)
    with pytest.raises(ValueError, match=text):
        export_dataset(tmp_path / "ours", tmp_path / "theirs", **options)
    assert not (tmp_path / "theirs").exists()


def test_odd_images_go_out_as_pictures(tmp_path):
    make_dataset(tmp_path / "ours", arm_contract((47, 63, 3)), episodes=1, frames=4)
    export_dataset(tmp_path / "ours", tmp_path / "theirs", images="png")
    import_dataset(tmp_path / "theirs", tmp_path / "back")
    assert load_index(tmp_path / "back").hashes == load_index(tmp_path / "ours").hashes


@pytest.mark.parametrize("images", ["png", "h264"])
def test_statistics_of_images_are_of_a_sample_of_the_frames(tmp_path, images):
    index = make_dataset(tmp_path / "ours", arm_contract((8, 8, 3)), episodes=1, frames=150)
    export_dataset(tmp_path / "ours", tmp_path / "theirs", images=images)
    stats = json.loads((tmp_path / "theirs/meta/stats.json").read_text())
    assert stats["observation.images.front"]["count"] == [100]
    assert stats["action"]["count"] == [150]
    import_dataset(tmp_path / "theirs", tmp_path / "back")
    assert len(load_frames(tmp_path / "back")) == index.frames == 150


def test_times_are_of_the_clock_of_the_recording(exported):
    table = pq.read_table(exported / "meta/roboalign_frames.parquet")
    assert table["stamp_ns"][0].as_py() == START_NS
    assert table["frame_index"].to_pylist()[-16:] == [0, 1, 2, 3, 4, *range(7, 18)]


def test_command_line(dataset, tmp_path, capsys):
    out = tmp_path / "theirs"
    assert export_cli.main([str(dataset), "--out", str(out), "--images", "png"]) == 0
    printed = capsys.readouterr()
    assert "3 episodes, 45 frames" in printed.out
    assert "2 frames are missing" in printed.err
    assert export_cli.main([str(dataset), "--out", str(out), "--images", "png"]) == 0
    assert "the same export was there" in capsys.readouterr().out
    assert export_cli.main([str(dataset), "--out", str(out), "--crf", "20"]) == 2
    assert "is another export" in capsys.readouterr().err
    assert export_cli.main([str(tmp_path / "none"), "--out", str(out)]) == 2
    assert "is no data set" in capsys.readouterr().err

"""Random access to a data set: frames, chunks and their padding, splits, damage."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from demo_bags import sim_contract, write_demo, write_recordings

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.data.chunks import make_chunks, safe_action, unbroken
from roboalign_training.data.frame_dataset import load_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data set of the five recordings."""
    bags = write_recordings(tmp_path_factory.mktemp("recordings"))
    out = tmp_path_factory.mktemp("set") / "data"
    build_dataset(find_bags([bags]), None, out)
    return out


def test_random_access(folder, tmp_path):
    data = load_frames(folder)
    demo = write_demo(tmp_path / "again", seed=1, count=21)
    assert [(e.id, e.start, e.stop) for e in data.episodes] == [
        ("ep0", 0, 20),
        ("ep1", 20, 41),
        ("ep2", 41, 63),
        ("ep4", 63, 82),
    ]
    assert len(data) == 82
    sample = data[25]
    assert (sample.episode_id, sample.frame_index, sample.stamp_ns) == (
        "ep1",
        5,
        demo.stamps_ns[5],
    )
    assert list(sample.images) == ["image.front"]
    np.testing.assert_array_equal(sample.images["image.front"], demo.images[5])
    np.testing.assert_array_equal(sample.states["state.ee"], demo.ee[5].astype(np.float32))
    assert sample.action_chunk.dtype == np.float32
    np.testing.assert_allclose(sample.action_chunk, demo.actions[5:13], atol=1e-6)
    future = data.future(25)
    np.testing.assert_allclose(future.actions, demo.actions[5:], atol=1e-6)
    assert len(future.states["state.gripper"]) == 16
    with pytest.raises(IndexError, match="frame 82"):
        data[82]


def test_chunks_are_padded_with_the_last_action_made_safe(folder):
    data = load_frames(folder)
    chunk = data.chunk(40)  # the last frame of ep1
    np.testing.assert_array_equal(chunk[0], data.actions[40])
    assert (chunk[0, :3] != 0).any()
    np.testing.assert_array_equal(chunk[1:], np.tile([0, 0, 0, 0, 0, 0, 1], (7, 1)))
    np.testing.assert_array_equal(data.chunks()[40], chunk)
    np.testing.assert_array_equal(data.chunks()[15], data.chunk(15))


def test_joint_positions_are_padded_with_the_last_position():
    data = sim_contract().to_dict()
    data["action"]["control_mode"] = "joint_position"
    for i, dim in enumerate(data["action"]["dims"]):
        dim.update(name=f"joint{i + 1}", unit="rad", limits=[-3, 3], max_rate=1.0, saturate=0.0)
    fields = [c["fields"] for c in data["action"]["commands"]]
    for group in fields:
        for old in list(group):
            number = ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper").index(old)
            group[f"joint{number + 1}"] = group.pop(old)
    last = np.arange(7, dtype=np.float32)
    np.testing.assert_array_equal(safe_action(contract_from_dict(data), last), last)
    assert safe_action(sim_contract(), last).tolist() == [0, 0, 0, 0, 0, 0, 6]


def test_chunks_across_a_missing_frame_are_not_usable(folder):
    data = load_frames(folder)
    episode = data.episodes[3]
    usable = data.usable[episode.start : episode.stop]
    # Frame 10 is missing: the chunks of eight that start at 3 .. 9 cross it.
    assert np.flatnonzero(~usable).tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert data.usable[: episode.start].all()


def test_make_chunks_and_unbroken_by_hand():
    actions = np.array([[1.0], [2.0], [3.0]])
    chunks = make_chunks(actions, 2, np.array([9.0]))
    assert chunks[..., 0].tolist() == [[1, 2], [2, 3], [3, 9]]
    assert unbroken(np.array([0, 1, 3, 4]), 2).tolist() == [True, False, True, True]


def test_damaged_data_sets_are_refused(folder, tmp_path):
    with pytest.raises(DatasetError, match="is no data set"):
        load_frames(tmp_path)
    out = tmp_path / "set"
    shutil.copytree(folder, out)
    document = json.loads((out / "dataset.json").read_text())
    document["episodes"][0]["content_sha256"] = "0" * 64
    (out / "dataset.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match=r"hashes\.dataset"):
        load_frames(out)
    shutil.rmtree(out)
    shutil.copytree(folder, out)
    (out / "data" / "episode-ep1.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DatasetError, match=r"episode-ep1\.parquet: cannot be read"):
        load_frames(out)


def test_splits_are_stable_and_by_episode(tmp_path):
    for i in range(12):
        write_demo(tmp_path / f"ep{i}", seed=i, count=9)
    out = tmp_path / "set"
    build_dataset([tmp_path / f"ep{i}" for i in range(8)], None, out)

    def names(split, seed=0):
        return {e.id for e in load_frames(out, split=split, held_out=0.4, seed=seed).episodes}

    train, held = names("train"), names("held_out")
    assert held
    assert train
    assert not train & held
    assert train | held == names("all") == {f"ep{i}" for i in range(8)}
    build_dataset([tmp_path / f"ep{i}" for i in range(8, 12)], None, out)
    assert train <= names("train")
    assert held <= names("held_out")
    assert names("held_out", seed=1) != names("held_out", seed=0)
    with pytest.raises(ValueError, match="split: found 'test'"):
        load_frames(out, split="test")

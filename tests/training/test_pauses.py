"""A pause of a recording is no gap: the episode is taken, and no chunk crosses it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from demo_bags import sim_contract, write_demo

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.build import build_dataset, load_frames
from roboalign_training.data.index import load_index
from roboalign_training.episodes.framing import frames_from_bag
from roboalign_training.episodes.pauses import find_pauses, paused_ns
from roboalign_training.look.inspect import inspect_bag

SECOND = 1_000_000_000


def test_pauses_of_markers():
    def marked(*events):
        return [(time, SimpleNamespace(event=event)) for time, event in events]

    assert find_pauses(marked((1, 0), (5, 2), (8, 3), (9, 1)), 10) == ((5, 8),)
    assert find_pauses(marked((1, 0), (5, 2), (6, 2), (8, 3), (8, 3), (9, 2)), 10) == (
        (5, 8),
        (9, 10),
    )
    assert find_pauses([], 10) == ()


def test_how_much_of_an_interval_was_a_pause():
    pauses = ((10, 20), (30, 40))
    found = paused_ns(pauses, [0, 5, 12, 15, 0, 21], [5, 15, 18, 35, 50, 29])
    assert found.tolist() == [0, 5, 6, 10, 20, 0]
    assert paused_ns((), [1], [2]).tolist() == [0]


@pytest.mark.parametrize("custom", [True, False])
def test_a_paused_demonstration_is_taken(tmp_path, custom):
    markers = () if custom else ((0, 29, "ep1", "stack it", "success"),)
    demo = write_demo(
        tmp_path / "bag",
        count=30,
        custom=custom,
        markers=markers,
        stamp_jump=(15, 4 * SECOND),
        pauses=(14,),
    )
    build_dataset([demo.folder], sim_contract(), tmp_path / "data")
    frames = load_frames(tmp_path / "data")
    assert len(frames) == 30
    steps = np.diff(frames.frame_indices)
    assert steps.max() == 41 and steps.argmax() == 14
    horizon = sim_contract().action.horizon
    assert not frames.usable[15 - horizon + 1 : 15].any() and frames.usable[15]
    report = inspect_bag(read_bag(demo.folder), sim_contract())
    assert [e.fault for e in report.episodes] == [None]
    assert not [fault for topic in report.topics for fault in topic.faults]
    (joints,) = (topic for topic in report.topics if topic.name == "/joint_states")
    assert joints.rate_hz == pytest.approx(10, rel=0.05) and joints.max_gap_s < 0.2


@pytest.mark.parametrize("custom", [True, False])
def test_what_was_recorded_within_a_pause_is_left_out(tmp_path, custom):
    """As by `ros2 bag record`, which knows no pause, beside a recorder that marks one."""
    markers = () if custom else ((0, 29, "ep1", "stack it", "success"),)
    demo = write_demo(
        tmp_path / "bag", count=30, custom=custom, markers=markers, pauses=((14, 20),)
    )
    build_dataset([demo.folder], sim_contract(), tmp_path / "data", segment_bytes=200_000)
    frames = load_frames(tmp_path / "data")
    kept = [*range(15), *range(20, 30)]
    assert frames.frame_indices.tolist() == kept
    (sheet,) = load_index(tmp_path / "data").balance.values()
    for topic in sheet["topics"].values():
        assert (topic["promised"], topic["read"], topic["paused"]) == (30, 30, 5)
    bag = read_bag(demo.folder)
    made = frames_from_bag(bag, sim_contract())
    assert made.indices.tolist() == kept
    assert np.array_equal(made.values["image.front"], demo.images[kept])
    report = inspect_bag(bag, sim_contract())
    (episode,) = report.episodes
    assert episode.fault is None and episode.frames.indices.tolist() == kept
    (joints,) = (topic for topic in report.topics if topic.name == "/joint_states")
    assert joints.rate_hz == pytest.approx(10, rel=0.05) and joints.max_gap_s < 0.2


def test_what_comes_after_the_end_marker_is_left_out(tmp_path):
    """As by `ros2 bag record`, which is told to end a moment later."""
    demo = write_demo(tmp_path / "bag", count=30, markers=((0, 24, "bag", "stack it", "success"),))
    build_dataset([demo.folder], sim_contract(), tmp_path / "data")
    assert load_frames(tmp_path / "data").frame_indices.tolist() == list(range(25))


def test_a_gap_beside_a_pause_still_counts(tmp_path):
    demo = write_demo(tmp_path / "bag", count=30, stamp_jump=(15, 4 * SECOND), pauses=(20,))
    with pytest.raises(DatasetError, match="gap of 4.10 s after frame 14"):
        build_dataset([demo.folder], sim_contract(), tmp_path / "data")
    report = inspect_bag(read_bag(demo.folder), sim_contract())
    assert any("gap of 4.10 s after message 15" in f for t in report.topics for f in t.faults)

"""Frames decided from columns are those of the robot, whatever a recording looks like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conversion_bags import SHAPE, Trouble, two_cameras, write_bag
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_reference import live_frames

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.conversion.kinds import CAMERA_MISSING, kind_of
from roboalign_training.conversion.parts import read_part
from roboalign_training.conversion.scanning import ScanJob, joined_scan
from roboalign_training.conversion.segments import BagPlace, close_last, cut
from roboalign_training.episodes.episodes import find_spans
from roboalign_training.episodes.frame_plan import plan_frames
from roboalign_training.episodes.scan import scan_messages
from roboalign_training.episodes.topics import map_topics

share = st.sampled_from([0.0, 0.0, 0.02, 0.2])


def reference(bag, contract):
    """Frames as the robot makes them, or the error."""
    try:
        return live_frames(bag, contract)
    except EpisodeError as error:
        return str(error)


def planned(bag, contract, scan=None):
    try:
        scan = scan or scan_messages(bag, contract, map_topics(bag, contract))
        return plan_frames(scan, contract, bag.path)
    except EpisodeError as error:
        return str(error)


def images(bag, contract, key):
    """All messages of an image stream, decoded."""
    topics = map_topics(bag, contract)
    name = next(n for n, keys in topics.observations.items() if key in keys)
    return [message for _, _, message in bag.messages([name])]


def assert_same(plan, frames, bag, contract):
    if isinstance(frames, str):
        assert plan == frames
        return
    assert not isinstance(plan, str), plan
    np.testing.assert_array_equal(plan.indices, frames.indices)
    np.testing.assert_array_equal(plan.stamps_ns, frames.stamps_ns)
    np.testing.assert_array_equal(plan.actions, frames.actions)
    assert plan.actions.dtype == frames.actions.dtype
    assert (plan.dropped, plan.trimmed) == (frames.dropped, frames.trimmed)
    for stream in contract.states:
        np.testing.assert_array_equal(plan.values[stream.key], frames.values[stream.key])
    from roboalign_policy.core.messages.images import image_from_msg

    for stream in contract.images:
        messages = images(bag, contract, stream.key)
        for row, place in enumerate(plan.pictures[stream.key]):
            shown = image_from_msg(messages[place], stream.shape)
            np.testing.assert_array_equal(shown, frames.values[stream.key][row])
    assert plan.frame_times == len(plan) + plan.lost_inside + plan.lost_outside


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**31),
    jitter_s=st.sampled_from([0.0, 0.004, 0.06, 0.3]),
    lost=st.sampled_from([0.0, 0.1, 0.6]),
    late=share,
    bad_heads=share,
    nan=share,
    silent=st.sampled_from([(0.0, 0.0), (0.7, 1.4)]),
    method=st.sampled_from(["hold", "asof", "drop"]),
    clock=st.sampled_from(["header", "receive"]),
)
def test_frames_are_those_of_the_reference(tmp_path_factory, method, clock, seed, **trouble):
    folder = tmp_path_factory.mktemp("bag")
    path = write_bag(folder / "a.mcap", 2.0, seed=seed, trouble=Trouble(**trouble))
    data = two_cameras().to_dict()
    for stream in data["observations"]:
        stream["align"] |= {"method": method, "clock": clock}
    from roboalign_policy.core.contract.contract import contract_from_dict

    contract = contract_from_dict(data)
    bag = read_bag(path)
    assert_same(planned(bag, contract), reference(bag, contract), bag, contract)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**31), target=st.sampled_from([20_000, 60_000, 10**9]), lost=share)
def test_a_scan_by_segments_is_the_whole_scan(tmp_path_factory, seed, target, lost):
    folder = tmp_path_factory.mktemp("bag")
    trouble = Trouble(lost=lost, jitter_s=0.05, bad_heads=0.05)
    bag = read_bag(write_bag(folder / "a.mcap", 2.0, seed=seed, trouble=trouble))
    contract = two_cameras()
    topics = map_topics(bag, contract)
    pauses = ((bag.start_ns + 400_000_000, bag.start_ns + 900_000_000),)
    whole = scan_messages(bag, contract, topics, pauses=pauses)
    parts = []
    segments = cut(bag.weights, find_spans(bag, topics)[0], target)
    assert (len(segments) > 3) == (target < 10**9)
    for segment in segments:
        path = folder / f"{segment.number}"
        place = BagPlace.of(bag, 10**8)
        job = ScanJob(place, contract, topics, segment, pauses, path, {})
        job.run()
        parts.append(read_part(job.path, {}, check=True))
    close_last()
    joined = joined_scan(parts, contract, folder)
    assert joined.counts == whole.counts
    assert joined.paused == whole.paused and min(whole.paused.values()) > 0
    for one, other in zip(
        [*joined.observed.values(), *joined.commands],
        [*whole.observed.values(), *whole.commands],
        strict=True,
    ):
        for name in ("receive_ns", "header_ns", "readable", "values"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.fault == other.fault


def test_unreadable_images_are_known_by_their_heads(tmp_path):
    trouble = Trouble(bad_heads=0.3)
    bag = read_bag(write_bag(tmp_path / "a.mcap", 3.0, trouble=trouble))
    contract = two_cameras()
    scan = scan_messages(bag, contract, map_topics(bag, contract))
    assert scan.observed["image.front"].unreadable > 10
    assert "step 191" in scan.observed["image.front"].fault
    assert "no readable JPEG or PNG" in scan.observed["image.wrist"].fault
    frames = planned(bag, contract, scan)
    assert frames.dropped["image.front: unreadable"] > 2
    assert_same(frames, reference(bag, contract), bag, contract)


def test_a_stream_without_any_readable_message_is_named(tmp_path):
    bag = read_bag(write_bag(tmp_path / "a.mcap", 1.0, trouble=Trouble(bad_heads=1.0)))
    contract = two_cameras()
    plan = planned(bag, contract)
    assert plan == reference(bag, contract)
    assert "no readable message of image.front, image.wrist" in plan


def test_a_camera_without_a_message_is_missing_whatever_another_sends(tmp_path):
    bag = read_bag(write_bag(tmp_path / "a.mcap", 1.0, trouble=Trouble(bad_heads=0.3)))
    contract = two_cameras()
    scan = scan_messages(bag, contract, map_topics(bag, contract))
    front, wrist = scan.observed["image.front"], scan.observed["image.wrist"]
    assert wrist.fault and wrist.readable.any()
    none = {n: getattr(front, n)[:0] for n in ("receive_ns", "header_ns", "readable")}
    silent = replace(front, **none, fault="")
    scan = replace(scan, observed={**scan.observed, "image.front": silent})
    with pytest.raises(EpisodeError) as error:
        plan_frames(scan, contract, bag.path)
    assert error.value.cause == "no message of image.front."
    assert kind_of(error.value.cause) == CAMERA_MISSING


def test_size_other_than_the_contract_says(tmp_path):
    bag = read_bag(write_bag(tmp_path / "a.mcap", 1.0))
    contract = two_cameras((24, 64, 3))
    plan = planned(bag, contract)
    assert plan == reference(bag, contract)
    assert str(SHAPE) in plan


@pytest.mark.parametrize("target", [10_000, 100_000])
def test_cuts_follow_each_other(tmp_path, target):
    bag = read_bag(write_bag(tmp_path / "a.mcap", 2.0))
    contract = two_cameras()
    span = find_spans(bag, map_topics(bag, contract))[0]
    segments = cut(bag.weights, span, target)
    assert segments[0].start_ns == span.start_ns
    assert segments[-1].end_ns == span.end_ns
    for before, after in zip(segments, segments[1:], strict=False):
        assert after.start_ns == before.end_ns + 1
        assert before.size >= target
    assert sum(s.size for s in segments) == bag.weights.sizes.sum()


def stamped_anew(bag, path, wanted, second):
    """The bag with another header stamp in the images of one camera that `wanted` names."""
    from conversion_bags import RAW, write_rows
    from demo_bags import STORE

    rows, number = [], 0
    for topic, ns, msg in bag.messages():
        if topic == RAW:
            if wanted(number):
                msg.header.stamp = STORE.types["builtin_interfaces/msg/Time"](second, 0)
            number += 1
        rows.append((ns, topic, msg))
    write_rows(path, rows)
    return read_bag(path)


def test_stamps_of_another_age_are_refused_before_they_fill_memory(tmp_path):
    bag = read_bag(write_bag(tmp_path / "a.mcap", 1.0))
    bag = stamped_anew(bag, tmp_path / "b.mcap", lambda n: n >= 20, 2_000_000_000)
    contract = two_cameras()
    plan = planned(bag, contract)
    assert "its stamps reach over 300000000 s, " in plan
    assert "is a stamp of another clock among them?" in plan


@pytest.mark.parametrize("second", [0, 1_700_000_037, 2_000_000_000, 1312])
@pytest.mark.parametrize("places", [{31}, {0}, {59}, {20, 40}])
def test_one_stamp_of_another_time_costs_its_frames(tmp_path, second, places):
    if second == 1312 and places != {31}:
        pytest.skip("at an end it may be an old latched message, or a clock that was reset")
    bag = read_bag(write_bag(tmp_path / "a.mcap", 2.0))
    contract = two_cameras()
    whole = planned(bag, contract)
    bag = stamped_anew(bag, tmp_path / "b.mcap", lambda n: n in places, second)
    plan = planned(bag, contract)
    assert_same(plan, reference(bag, contract), bag, contract)
    lost = sum(count for why, count in plan.causes.items() if "stamp of another time" in why)
    assert lost == sum(plan.causes.values()) <= len(places)
    assert len(whole) - len(plan) <= 1 + len(places)  # a first image more or less moves the grid
    if places != {0}:
        assert plan.off_clock == {"image.front": len(places)}

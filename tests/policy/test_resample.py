"""Asynchronous streams to frames: freshness, order, clocks, bad values."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from resample_streams import MS, T, contract, frame_of, reason, sample, stream

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.frames.frames import Frame, Sample
from roboalign_policy.core.frames.resample import Resampler

# ---------------------------------------------------------------- which sample, how old


def test_newest_at_or_before_the_time():
    frame = frame_of([stream()], [sample(900), sample(1000), sample(1001)], 1000)
    assert isinstance(frame, Frame) and frame.stamp_ns == T
    assert frame.values["state.a"].tolist() == [1000.0] and frame.ages_s == {"state.a": 0.0}
    assert frame.values["state.a"].dtype == np.float32


@pytest.mark.parametrize(("age_ms", "fresh"), [(0, True), (300, True), (300.000001, False)])
def test_hold_reaches_back_max_age(age_ms, fresh):
    result = frame_of([stream(max_age_s=0.3)], [sample(1000 - age_ms)], 1000)
    assert isinstance(result, Frame) is fresh


def test_stale_says_how_stale():
    result = frame_of([stream(max_age_s=0.3)], [sample(580)], 1000)
    assert reason(result) == "stale: 0.42 s > 0.3 s"
    assert result.stamp_ns == T and not result.left_out


@pytest.mark.parametrize("method", ["asof", "drop"])
@pytest.mark.parametrize(("age_ms", "fresh"), [(0, True), (50, True), (51, False)])
def test_asof_and_drop_reach_back_their_tolerance(method, age_ms, fresh):
    result = frame_of([stream(method=method, tolerance_s=0.05)], [sample(1000 - age_ms)], 1000)
    assert isinstance(result, Frame) is fresh
    if not fresh:
        assert reason(result) == "stale: 0.051 s > 0.05 s tolerance"
        assert result.left_out is (method == "drop")


def test_a_frame_is_left_out_only_if_all_that_misses_is_of_drop():
    streams = [stream("state.a", "drop"), stream("state.b", "hold")]
    result = frame_of(streams, [], 1000)
    assert set(result.reasons) == {"state.a", "state.b"} and not result.left_out
    result = frame_of(streams, [sample(1000, key="state.b")], 1000)
    assert set(result.reasons) == {"state.a"} and result.left_out


def test_max_age_bounds_the_tolerance():
    result = frame_of([stream(method="asof", tolerance_s=2, max_age_s=0.1)], [sample(800)], 1000)
    assert reason(result) == "stale: 0.2 s > 0.1 s"


def test_never_received_and_only_later():
    assert reason(frame_of([stream()], [], 1000)) == "never received"
    assert reason(frame_of([stream()], [sample(1250)], 1000)) == (
        "not yet: the oldest sample kept is 0.25 s later"
    )


def test_receive_clock_uses_the_time_of_receipt():
    samples = [sample(0, value=1, receive_ms=990), sample(5000, value=2, receive_ms=1010)]
    frame = frame_of([stream(clock="receive")], samples, 1000)
    assert frame.values["state.a"].tolist() == [1.0]
    assert frame.ages_s["state.a"] == pytest.approx(0.01)


def test_live_freshness_counts_from_now_for_stamp_and_receipt():
    streams = [stream(max_age_s=0.3)]
    assert isinstance(frame_of(streams, [sample(950, receive_ms=980)], 1000, 1240), Frame)
    assert reason(frame_of(streams, [sample(950, receive_ms=980)], 1000, 1260)) == (
        "stale: stamped 0.31 s ago > 0.3 s"
    )
    # A clock that runs ahead stamps into the future: only the receipt shows the age.
    assert reason(frame_of(streams, [sample(990, receive_ms=600)], 1000, 1000)) == (
        "stale: received 0.4 s ago > 0.3 s"
    )


def test_what_was_not_received_by_now_is_not_seen():
    samples = [sample(900, receive_ms=910), sample(1000, receive_ms=1030)]
    assert frame_of([stream()], samples, 1000, 1020).values["state.a"].tolist() == [900.0]
    assert frame_of([stream()], samples, 1000, 1030).values["state.a"].tolist() == [1000.0]
    assert reason(frame_of([stream()], samples[1:], 1000, 1020)) == (
        "not received yet: due in 0.01 s"
    )


# ---------------------------------------------------------------- bad values


def test_non_finite_names_the_dimensions_and_takes_no_older_sample():
    streams = [stream(dims=3)]
    good, bad = sample(990, [1, 2, 3]), sample(1000, [1, np.nan, -np.inf])
    resampler = Resampler(contract(*streams))
    resampler.push(good)
    resampler.push(bad)
    assert reason(resampler.frame(T)) == "non-finite: f1, f2"
    assert isinstance(resampler.frame(T - 5 * MS), Frame)
    resampler.push(sample(1010, [4, 5, 6]))
    assert isinstance(resampler.frame(T + 10 * MS), Frame)
    assert resampler.counts["state.a"].non_finite == 1


def test_what_float32_cannot_hold_is_non_finite():
    assert reason(frame_of([stream()], [sample(1000, 1e39)], 1000)) == "non-finite: f0"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("state.a", np.zeros(2), r"state\.a: found a value of shape \(2,\), expected \(1,\)"),
        ("state.a", np.zeros((1, 1)), r"shape \(1, 1\), expected \(1,\)"),
        ("state.a", np.array(["x"]), "found values of <U1, expected numbers"),
        ("state.a", np.array([True]), "found values of bool, expected numbers"),
        (
            "image.b",
            np.zeros((2, 3, 3), np.uint8),
            r"image\.b: .*\(2, 3, 3\), expected \(2, 2, 3\)",
        ),
        ("image.b", np.zeros((2, 2, 3)), "found an image of float64, expected uint8"),
        ("state.c", np.zeros(1), r"'state\.c': not in the contract, expected one of state\.a"),
    ],
)
def test_values_that_do_not_fit_are_refused(key, value, words):
    resampler = Resampler(contract(stream(), stream("image.b")))
    with pytest.raises(ValueError, match=words):
        resampler.push(Sample(key, T, T, value))
    assert all(c.received == 0 for c in resampler.counts.values())


def test_header_clock_without_header_is_refused():
    resampler = Resampler(contract(stream(), stream("state.b", clock="receive")))
    with pytest.raises(ValueError, match=r"state\.a: a sample without header"):
        resampler.push(Sample("state.a", None, T, np.zeros(1)))
    resampler.push(Sample("state.b", None, T, np.zeros(1)))


def test_images_are_not_copied_and_no_value_can_be_written():
    pixels = np.full((2, 2, 3), 7, np.uint8)
    numbers = np.ones(1)
    frame = frame_of(
        [stream("image.b"), stream()],
        [Sample("image.b", T, T, pixels), Sample("state.a", T, T, numbers)],
        1000,
    )
    assert np.shares_memory(frame.values["image.b"], pixels)
    for value in frame.values.values():
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0
    pixels[...] = 8  # the caller's own array stays writable
    numbers[...] = 5
    assert frame.values["state.a"].tolist() == [1.0]


# ---------------------------------------------------------------- order and clocks


def test_late_samples_are_sorted_in_and_counted():
    resampler = Resampler(contract())
    for header_ms, receive_ms in ((900, 900), (1000, 1000), (950, 1005)):
        resampler.push(sample(header_ms, receive_ms=receive_ms))
    assert resampler.frame(960 * MS).values["state.a"].tolist() == [950.0]
    assert resampler.frame(T).values["state.a"].tolist() == [1000.0]
    assert dataclasses.asdict(resampler.counts["state.a"]) == {
        "received": 3,
        "out_of_order": 1,
        "duplicates": 0,
        "resets": 0,
        "non_finite": 0,
    }


def test_of_equal_stamps_the_first_stays():
    resampler = Resampler(contract())
    resampler.push(sample(1000, value=1))
    resampler.push(sample(1000, value=2, receive_ms=1001))
    resampler.push(sample(1010, value=3))
    resampler.push(sample(1000, value=4, receive_ms=1011))
    assert resampler.frame(T).values["state.a"].tolist() == [1.0]
    assert resampler.counts["state.a"].duplicates == 2


def test_a_driver_that_never_stamps_goes_stale():
    resampler = Resampler(contract())
    for receive_ms in range(1000, 2000, 100):
        resampler.push(sample(0, value=receive_ms, receive_ms=receive_ms))
    assert reason(resampler.frame(2 * T)).startswith("stale")


@pytest.mark.parametrize("back_ms", [100, 100_000])
def test_a_clock_that_goes_back_starts_the_stream_anew(back_ms):
    """Both clocks jump, as when a simulator is reset: by little or by much."""
    resampler = Resampler(contract(stream(), stream("state.b")))
    start = 200_000
    for t in range(start, start + 500, 50):
        resampler.push(sample(t))
        resampler.push(sample(t, key="state.b"))
    again = start + 450 - back_ms
    resampler.push(sample(again, value=-1))
    assert resampler.counts["state.a"].resets == 1 and resampler.counts["state.b"].resets == 0
    result = resampler.frame((start + 450) * MS)
    if back_ms == 100:  # samples of the old time do not come up again
        assert result.values["state.a"].tolist() == [-1.0]
    else:
        assert reason(result).startswith("stale")


def test_stamps_alone_that_go_far_back_start_the_stream_anew():
    resampler = Resampler(contract(stream(max_age_s=0.3)))
    resampler.push(sample(10_000))
    resampler.push(sample(10_000 - 801, receive_ms=10_001))  # further back than 0.3 s + 0.5 s
    assert resampler.counts["state.a"].resets == 1
    resampler = Resampler(contract(stream(max_age_s=0.3)))
    resampler.push(sample(10_000))
    resampler.push(sample(10_000 - 800, receive_ms=10_001))
    assert resampler.counts["state.a"].resets == 0


def test_one_stamp_far_in_the_future_does_not_block_the_stream():
    resampler = Resampler(contract())
    for t in (1000, 1010):
        resampler.push(sample(t))
    resampler.push(sample(9_000_000, receive_ms=1020))
    resampler.push(sample(1030))
    assert resampler.frame(1030 * MS).values["state.a"].tolist() == [1030.0]


def test_memory_is_bounded_in_time():
    resampler = Resampler(contract(stream(max_age_s=0.3)), slack_s=0.2)
    for t in range(0, 60_000, 10):
        resampler.push(sample(t))
    buffer = resampler._buffers["state.a"]
    assert len(buffer) == 51  # 0.5 s at 100 Hz, both ends
    assert reason(resampler.frame(59_000 * MS)).startswith("not yet: the oldest sample kept")


@pytest.mark.parametrize("slack_s", [-0.1, float("nan"), float("inf")])
def test_slack_must_be_finite(slack_s):
    with pytest.raises(ValueError, match="slack_s"):
        Resampler(contract(), slack_s)


def test_a_whole_contract():
    sim = load_contract("sim_panda")
    resampler = Resampler(sim)
    assert set(resampler.frame(T).reasons) == {s.key for s in sim.observations}
    for s in sim.observations:
        value = np.zeros(s.value_shape, np.uint8 if s.is_image else np.float64)
        resampler.push(Sample(s.key, T, T, value))
    frame = resampler.frame(T)
    assert {k: v.shape for k, v in frame.values.items()} == {
        "image.front": (128, 128, 3),
        "state.joints": (7,),
        "state.ee": (7,),
        "state.gripper": (1,),
    }

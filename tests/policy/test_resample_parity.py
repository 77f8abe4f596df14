"""The same samples give the same frames, live and recorded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resample_streams import MS, contract, recorded, sample, stream

from roboalign_policy.core.frames.frames import Frame, Missing
from roboalign_policy.core.frames.resample import Resampler


def same(one, other):
    assert type(one) is type(other)
    assert one.stamp_ns == other.stamp_ns
    assert one.ages_s == other.ages_s and one.values.keys() == other.values.keys()
    for key, value in one.values.items():
        np.testing.assert_array_equal(value, other.values[key])


STREAMS = st.lists(
    st.builds(
        stream,
        st.just("state.a"),
        st.sampled_from(["hold", "asof", "drop"]),
        st.sampled_from(["header", "receive"]),
        st.sampled_from([0.0, 0.02, 0.2]),
        st.sampled_from([0.05, 0.3]),
    ),
    min_size=1,
    max_size=3,
).map(lambda parts: [dataclasses.replace(s, key=f"state.{i}") for i, s in enumerate(parts)])

# (gap to the sample before, delay of the stamp, which stream): late, early, equal and wild stamps
ARRIVALS = st.lists(
    st.tuples(
        st.integers(0, 120),
        st.integers(-30, 90) | st.sampled_from([5000, -5000]),
        st.integers(0, 2),
        st.sampled_from([0.0, 1.0, np.nan]),
    ),
    max_size=60,
)
# gap to the frame before
FRAMES = st.lists(st.integers(0, 200), min_size=1, max_size=20)


@settings(max_examples=300)
@given(STREAMS, ARRIVALS, FRAMES)
def test_parity_of_live_and_recorded_when_all_has_arrived(streams, arrivals, frames):
    """The bulk call equals live once all stamped by t has arrived."""
    samples, receive_ms = [], 1000
    for number, (gap, delay, which, value) in enumerate(arrivals):
        receive_ms += gap
        samples.append(
            sample(
                receive_ms - max(0, min(delay, 90)),
                number + value,
                receive_ms,
                key=streams[which % len(streams)].key,
            )
        )
    times = (1000 + np.cumsum(frames)) * MS
    resampler, waiting, asked = Resampler(contract(*streams)), list(samples), []
    for time_ns in times.tolist():
        while waiting and waiting[0].receive_ns <= time_ns + 90 * MS:  # the greatest delay
            resampler.push(waiting.pop(0))
        asked.append(resampler.frame(time_ns))
    shuffled = sorted(samples, key=lambda s: s.key)  # only the order within a stream counts
    found = recorded(contract(*streams), shuffled, times)
    made = 0
    for one, other in zip(asked, found, strict=True):
        if isinstance(one, Frame):
            same(one, other)
            made += 1
        else:
            assert isinstance(other, Missing) and set(one.reasons) == set(other.reasons)
            assert one.left_out == other.left_out
    assert made <= len(asked)


def test_bulk_gives_frames_where_live_does():
    """The parity tests would also pass on resamplers that never make a frame."""
    samples = [sample(t) for t in range(1000, 3000, 33)]
    times = np.arange(1050, 3000, 100) * MS
    frames = recorded(contract(), samples, times)
    assert all(isinstance(frame, Frame) for frame in frames) and len(frames) == 20
    assert max(frame.ages_s["state.a"] for frame in frames) < 0.033


def test_bulk_takes_a_stream_whose_messages_are_much_delayed():
    streams = [stream("state.a"), stream("state.b", max_age_s=0.05)]
    slow = [sample(t, receive_ms=t + 5000) for t in range(1000, 3000, 50)]
    fast = [sample(t, key="state.b") for t in range(1000, 3000, 50)]
    merged = sorted(slow + fast, key=lambda s: s.receive_ns)
    frames = recorded(contract(*streams), merged, np.arange(1000, 3000, 100) * MS)
    assert all(isinstance(frame, Frame) for frame in frames)


def test_bulk_waits_for_what_arrives_out_of_order():
    samples = [sample(1000), sample(1200, receive_ms=1200), sample(1050, receive_ms=1210)]
    (frame,) = recorded(contract(), samples, [1100 * MS])
    assert frame.values["state.a"].tolist() == [1050.0]


def test_bulk_refuses_times_that_fall():
    with pytest.raises(ValueError, match="times_ns: expected 2 rising times"):
        recorded(contract(), [], [2, 1])

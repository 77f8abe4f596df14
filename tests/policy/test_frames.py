"""Samples, frames and their times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboalign_policy.core.frames.frames import Missing, Sample, frame_times


def test_sample_time():
    sample = Sample("state.ee", 5, 9, np.zeros(3))
    assert (sample.time_ns("header"), sample.time_ns("receive")) == (5, 9)
    bare = Sample("state.ee", None, 9, np.zeros(3))
    assert bare.time_ns("receive") == 9
    with pytest.raises(ValueError, match=r"state\.ee.*without header.*expected receive"):
        bare.time_ns("header")


def test_missing_reads_as_a_sentence():
    missing = Missing(1, {"state.ee": "never received", "image.front": "stale: 0.4 s > 0.3 s"})
    assert str(missing) == "state.ee: never received; image.front: stale: 0.4 s > 0.3 s"


def test_frame_times_include_both_ends():
    times = frame_times(1000, 300_001_000, 10.0)
    assert times.tolist() == [1000, 100_001_000, 200_001_000, 300_001_000]
    assert times.dtype == np.int64
    assert frame_times(5, 4, 10.0).shape == (0,)
    assert frame_times(5, 5, 10.0).tolist() == [5]


@given(st.integers(0, 2**61), st.floats(0, 600), st.floats(0.1, 1000, allow_nan=False))
def test_frame_times_do_not_drift(start_ns, length_s, rate_hz):
    end_ns = start_ns + int(length_s * 1e9)
    times = frame_times(start_ns, end_ns, rate_hz)
    assert times[0] == start_ns and times[-1] <= end_ns
    exact = np.arange(len(times)) * (1e9 / rate_hz)
    assert np.abs((times - start_ns) - exact).max() <= 0.5
    assert start_ns + len(times) * (1e9 / rate_hz) > end_ns - 1


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, float("nan"), float("inf")])
def test_frame_times_refuse_a_rate(rate_hz):
    with pytest.raises(ValueError, match="rate_hz"):
        frame_times(0, 1, rate_hz)

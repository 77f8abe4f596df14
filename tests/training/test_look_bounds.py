"""What a look keeps stays small, and loses no extreme and no gap on the way."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from roboalign_training.look.arrivals import MOST_GAPS, Arrivals
from roboalign_training.look.series import Envelope
from roboalign_training.look.strip import SIDE, Strip


def enveloped(times, rows, buckets):
    envelope = Envelope(rows.shape[1], buckets)
    for time, row in zip(times.tolist(), rows, strict=True):
        envelope.add(time, row)
    return envelope.curves()


def test_few_samples_are_drawn_as_they_are():
    rng = np.random.default_rng(0)
    times = np.arange(90) * 10
    rows = rng.normal(size=(90, 3)).astype(np.float32)
    for d, curve in enumerate(enveloped(times, rows, 50)):
        np.testing.assert_array_equal(curve.times_ns, times)
        np.testing.assert_array_equal(curve.values, rows[:, d])
        assert (curve.per_bucket, curve.samples, curve.not_finite) == (1, 90, 0)


@pytest.mark.parametrize("count", [101, 1024, 5000, 40_001])
def test_extremes_outlive_thinning(count):
    rng = np.random.default_rng(count)
    times = np.cumsum(rng.integers(1, 9, count))
    rows = rng.normal(size=(count, 2)).astype(np.float32)
    spike = count // 3
    rows[spike, 0], rows[spike + 1, 0], rows[-1, 1] = 99, -99, 77
    curves = enveloped(times, rows, 50)
    for d, curve in enumerate(curves):
        assert len(curve.values) <= 4 * 50 + 2
        assert curve.per_bucket * 50 < count <= curve.per_bucket * 101
        assert (np.diff(curve.times_ns) >= 0).all()
        assert (curve.low, curve.high) == (rows[:, d].min(), rows[:, d].max())
        where = np.searchsorted(times, curve.times_ns)
        np.testing.assert_array_equal(times[where], curve.times_ns)
        np.testing.assert_array_equal(rows[where, d], curve.values)
    assert {99.0, -99.0} <= set(curves[0].values.tolist())
    assert 77.0 in curves[1].values


def test_what_is_not_finite_is_counted_and_never_an_extreme():
    rows = np.arange(3000, dtype=np.float64)[:, None].repeat(2, 1)
    rows[10:20, 0], rows[500, 0] = np.nan, np.inf
    rows[:, 1] = np.nan
    first, second = enveloped(np.arange(3000), rows, 25)
    assert (first.not_finite, second.not_finite) == (11, 3000)
    assert (first.low, first.high) == (0.0, 2999.0)
    assert np.isfinite(first.values).all()
    assert np.isnan(second.values).all()
    assert np.isnan(second.low)
    assert enveloped(np.zeros(0), np.zeros((0, 1)), 5)[0].samples == 0


def test_arrivals_in_blocks_are_those_of_all_at_once():
    rng = np.random.default_rng(1)
    steps = rng.integers(9_000_000, 11_000_000, 50_000)
    steps[[7, 16_384, 33_000]] = [400_000_000, 700_000_000, 600_000_000]
    times = 10**9 + np.cumsum(steps)
    arrivals = Arrivals(int(times[0]), int(times[-1]), bins=100)
    for time in times.tolist():
        arrivals.add(time)
    arrivals.flush()
    gaps = np.diff(times)
    assert arrivals.count == 50_000
    assert arrivals.rate_hz == pytest.approx(1e9 / gaps.mean())
    assert arrivals.longest_s == pytest.approx(0.7)
    assert arrivals.longest_after == int(gaps.argmax()) + 1
    assert arrivals.density.sum() == 50_000
    assert arrivals.usual_gap_s == pytest.approx(3 * np.median(gaps) / 1e9, rel=0.05)
    found = arrivals.gaps(arrivals.usual_gap_s)
    assert [round(gap.length_s, 3) for gap in found] == [0.4, 0.7, 0.6]
    assert [gap.start_ns for gap in found] == [int(times[i - 1]) for i in (7, 16_384, 33_000)]
    assert len(arrivals.gaps(0.0)) == MOST_GAPS


def test_arrivals_without_a_usual_interval():
    one = Arrivals(0, 10**9)
    one.add(5)
    one.flush()
    assert (one.count, one.gaps(0.0)) == (1, [])
    assert np.isnan([one.rate_hz, one.longest_s, one.usual_gap_s]).all()
    wild = Arrivals(0, 10**12)
    for time in np.cumsum(2.0 ** np.random.default_rng(0).uniform(10, 30, 500)).astype(int):
        wild.add(int(time))
    wild.flush()
    assert np.isnan(wild.usual_gap_s)


def test_strip_keeps_every_nth_image_within_count_and_bytes():
    asked = []

    def image(i):
        asked.append(i)
        return np.full((400, 800, 3), i % 256, np.uint8)

    strip = Strip(most=10, most_bytes=10**9)
    for i in range(1000):
        strip.add(i * 7, lambda i=i: image(i))
    assert strip.step == 128
    assert [p.time_ns for p in strip.pictures] == [i * 7 for i in range(0, 1000, 128)]
    assert len(asked) < 100  # what is not kept is not decoded either
    assert (strip.total, strip.size, strip.shown_size) == (1000, (800, 400), (SIDE, SIDE // 2))
    with Image.open(io.BytesIO(strip.pictures[2].jpeg)) as shown:
        assert shown.size == (SIDE, SIDE // 2)
        assert abs(int(np.asarray(shown)[5, 5, 0]) - 0) < 3  # number 256
    size = len(strip.pictures[0].jpeg)
    tight = Strip(most=100, most_bytes=5 * size)
    for i in range(50):
        tight.add(i, lambda: np.zeros((400, 800, 3), np.uint8))
    assert sum(len(p.jpeg) for p in tight.pictures) <= 5 * size
    assert len(tight.pictures) > 2
    one = Strip(most=1, most_bytes=1)
    for i in range(5):
        one.add(i, lambda: np.zeros((4, 4, 3), np.uint8))
    assert [p.time_ns for p in one.pictures] == [0]

"""Percentiles and rates over a window."""

import math

import numpy as np
import pytest

from roboalign_policy.core.latency import LatencyWindow, RateWindow


def test_percentiles_interpolate():
    window = LatencyWindow()
    for value in (0.1, 0.2, 0.3, 0.4):
        window.add(value)
    assert window.percentile(50) == pytest.approx(0.25)
    assert window.percentile(95) == pytest.approx(0.385)
    assert window.percentile(100) == pytest.approx(0.4)


def test_empty_is_nan_not_zero():
    assert math.isnan(LatencyWindow().percentile(50))


def test_only_the_last_count():
    window = LatencyWindow(size=10)
    values = np.linspace(0.0, 1.0, 100)
    for value in values:
        window.add(value)
    assert len(window) == 10
    assert window.percentile(0) == pytest.approx(values[-10])


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_impossible_durations_are_refused(value):
    with pytest.raises(ValueError, match="duration_s"):
        LatencyWindow().add(value)


@pytest.mark.parametrize("make", [lambda: LatencyWindow(0), lambda: RateWindow(0.0)])
def test_impossible_windows_are_refused(make):
    with pytest.raises(ValueError, match="found 0"):
        make()


def test_rate_of_a_steady_stream_from_the_first_second_on():
    rate = RateWindow(window_s=5.0)
    assert rate.rate_hz(0.0) == 0.0
    for step in range(101):
        rate.add(step / 10)
        if step == 10:
            assert rate.rate_hz(1.0) == pytest.approx(10.0)
    assert rate.rate_hz(10.0) == pytest.approx(10.0, rel=0.03)


def test_rate_falls_to_zero_when_the_stream_stops():
    rate = RateWindow(window_s=2.0)
    for step in range(20):
        rate.add(step / 10)
    assert rate.rate_hz(2.9) == pytest.approx(5.0, abs=0.6)
    assert rate.rate_hz(10.0) == 0.0


def test_several_percentiles_at_once_are_the_single_ones() -> None:
    window = LatencyWindow(size=50)
    for value in np.random.default_rng(3).uniform(0, 1, 120):
        window.add(float(value))
        assert window.percentiles(5, 50, 95) == tuple(window.percentile(p) for p in (5, 50, 95))


def test_a_new_duration_changes_the_percentiles_that_were_asked_before() -> None:
    window = LatencyWindow()
    window.add(0.1)
    assert window.percentiles(50, 99) == (pytest.approx(0.1),) * 2
    window.add(0.3)
    assert window.percentiles(50) == (pytest.approx(0.2),)

"""Medians of repeated measurements with their 95 % interval, for the benchmarks here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Median, and its 95 % interval by the bootstrap."""
    array = np.array(values)
    rng = np.random.default_rng(seed)
    draws = np.median(rng.choice(array, (2000, len(array))), axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.median(array)), float(low), float(high)


def shown(values: Sequence[float], digits: int = 1) -> str:
    """A median and its interval as text."""
    middle, low, high = interval(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

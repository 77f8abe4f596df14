"""Latency percentiles and rates over a sliding window."""

from __future__ import annotations

import math
from collections import deque

import numpy as np


class LatencyWindow:
    """Percentiles of the last ``size`` durations."""

    def __init__(self, size: int = 100) -> None:
        """Start empty; raises ValueError when ``size`` is below 1."""
        if size < 1:
            raise ValueError(f"size: found {size}, expected at least 1")
        self._values = np.empty(size)
        self._added = 0
        self._known: dict[tuple[float, ...], tuple[float, ...]] = {}

    def __len__(self) -> int:
        """Return the number of durations held."""
        return min(self._added, len(self._values))

    def add(self, duration_s: float) -> None:
        """Add one duration (s).

        Raises:
            ValueError: when it is negative or not finite.
        """
        if not (math.isfinite(duration_s) and duration_s >= 0.0):
            raise ValueError(f"duration_s: found {duration_s}, expected a finite number >= 0")
        self._values[self._added % len(self._values)] = duration_s
        self._added += 1
        self._known.clear()

    def percentile(self, percent: float) -> float:
        """Return the ``percent``-th percentile in s, linearly interpolated; NaN while empty."""
        return self.percentiles(percent)[0]

    def percentiles(self, *percents: float) -> tuple[float, ...]:
        """Return several percentiles; asked again before the next `add` they cost nothing."""
        if not self._added:
            return (math.nan,) * len(percents)
        if percents not in self._known:
            found = np.percentile(self._values[: len(self)], percents)
            self._known[percents] = tuple(found.tolist())
        return self._known[percents]


class RateWindow:
    """Events per second over the last ``window_s`` seconds of a steady clock."""

    def __init__(self, window_s: float = 5.0) -> None:
        """Start empty; raises ValueError when ``window_s`` is not positive."""
        if not window_s > 0:
            raise ValueError(f"window_s: found {window_s}, expected a positive number")
        self._window_s = window_s
        self._first_s: float | None = None
        self._times_s: deque[float] = deque()

    def add(self, steady_s: float) -> None:
        """Count one event at ``steady_s`` (s, steady clock)."""
        if self._first_s is None:
            self._first_s = steady_s
        self._times_s.append(steady_s)
        self._forget(steady_s)

    def rate_hz(self, steady_s: float) -> float:
        """Return the rate in Hz at ``steady_s``, over what has passed of the window."""
        self._forget(steady_s)
        if self._first_s is None or not self._times_s:
            return 0.0
        span_s = min(self._window_s, steady_s - self._first_s)
        # The first event opens the span, it does not count in it, unless the window has moved past
        # it.
        count = len(self._times_s) - (1 if self._times_s[0] == self._first_s else 0)
        return count / span_s if span_s > 0 else 0.0

    def _forget(self, steady_s: float) -> None:
        while self._times_s and self._times_s[0] <= steady_s - self._window_s:
            self._times_s.popleft()

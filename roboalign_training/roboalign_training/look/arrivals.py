"""When the messages of a topic arrived: rate, gaps and density, in memory that does not grow."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from roboalign_training.episodes.pauses import Pauses, paused_ns

BLOCK = 1 << 14
MOST_GAPS = 256
"""Longest intervals of a topic that are kept by place."""
_PER_OCTAVE = 16  # bins of the histogram of intervals: a median within 2.2 %
_HISTOGRAM = 64 * _PER_OCTAVE


@dataclass(frozen=True)
class Gap:
    """An interval between two messages: when it began, ns, how long it was, s."""

    start_ns: int
    length_s: float


@dataclass
class Arrivals:
    """Arrival times of one topic, told one by one in rising order.

    Attributes:
        start_ns, end_ns: Range that `density` covers.
        bins: Number of its bins.
        count: Messages so far; exact, like rate, longest gap and density.
        pauses: Of the recording: their time counts neither for the rate nor for gaps.
    """

    start_ns: int
    end_ns: int
    bins: int = 400
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    pauses: Pauses = ()
    _pending: array = field(default_factory=lambda: array("q"))
    _density: np.ndarray = field(init=False)
    _histogram: np.ndarray = field(init=False)
    # (length ns, start ns, number of the message before)
    _gaps: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._density = np.zeros(self.bins, np.int64)
        self._histogram = np.zeros(_HISTOGRAM, np.int64)

    def add(self, time_ns: int) -> None:
        """Takes the next message's time."""
        self._pending.append(time_ns)
        if len(self._pending) >= BLOCK:
            self.flush()

    def flush(self) -> None:
        """Counts pending arrivals; call it before reading the attributes below."""
        times = np.array(self._pending, np.int64)
        del self._pending[:]
        if not len(times):
            return
        span = max(self.end_ns - self.start_ns, 1)
        place = (times - self.start_ns).astype(np.float64) / span * self.bins
        place = np.clip(place, 0, self.bins - 1).astype(np.int64)
        self._density += np.bincount(place, minlength=self.bins)
        before = self.count
        if not before:
            self.first_ns = int(times[0])
        else:
            times = np.concatenate([[self.last_ns], times])
        self._intervals(times, before)
        self.count = before + len(times) - bool(before)
        self.last_ns = int(times[-1])

    def _intervals(self, times: np.ndarray, before: int) -> None:
        """Counts the intervals between times (N,) ns, the first of which is message `before`."""
        steps = np.diff(times)
        if not len(steps):
            return
        bins = np.log2(np.maximum(steps, 1)) * _PER_OCTAVE
        self._histogram += np.bincount(bins.astype(np.int64), minlength=_HISTOGRAM)
        longest = np.argsort(-steps, kind="stable")[:MOST_GAPS]
        first = max(before, 1)
        self._gaps += [(int(steps[i]), int(times[i]), first + int(i)) for i in longest]
        self._gaps = sorted(self._gaps, key=lambda gap: (-gap[0], gap[1]))[:MOST_GAPS]

    @property
    def rate_hz(self) -> float:
        """Hz over the time between first and last message; NaN for fewer than two."""
        (paused,) = paused_ns(self.pauses, [self.first_ns], [self.last_ns])
        span_s = (self.last_ns - self.first_ns - int(paused)) / 1e9
        return (self.count - 1) / span_s if self.count > 1 and span_s > 0 else float("nan")

    @property
    def density(self) -> np.ndarray:
        """(bins,) int64, messages in each part of the range."""
        return self._density

    @property
    def usual_gap_s(self) -> float:
        """Length from which an interval is unusual: three times the median one, s.

        NaN where intervals have no usual length: fewer than eight, or a tenth of them further
        than a factor of two from the median.
        """
        total = int(self._histogram.sum())
        if total < 8:
            return float("nan")
        passed = np.cumsum(self._histogram)
        low, middle, high = (int(np.searchsorted(passed, q * total)) for q in (0.05, 0.5, 0.95))
        if high - middle > _PER_OCTAVE or middle - low > _PER_OCTAVE:
            return float("nan")
        return 3 * 2 ** ((middle + 0.5) / _PER_OCTAVE) / 1e9

    def gaps(self, longer_than_s: float) -> list[Gap]:
        """The gaps longer than so much, by time; of more than `MOST_GAPS` the longest."""
        found = [Gap(start, ns / 1e9) for ns, start, _ in self._unpaused()]
        found = [gap for gap in found if gap.length_s > longer_than_s]
        return sorted(found, key=lambda gap: gap.start_ns)

    @property
    def longest_s(self) -> float:
        """s; the longest gap; NaN for fewer than two messages."""
        return max((ns for ns, _, _ in self._unpaused()), default=float("nan")) / 1e9

    @property
    def longest_after(self) -> int:
        """Number of the message before the longest gap, from 1; 0 for fewer than two."""
        return max(self._unpaused(), key=lambda gap: (gap[0], -gap[1]), default=(0, 0, 0))[2]

    def _unpaused(self) -> list[tuple[int, int, int]]:
        """The longest gaps, each without the pauses in it."""
        if not self.pauses:
            return self._gaps
        starts = [start for _, start, _ in self._gaps]
        ends = [start + length for length, start, _ in self._gaps]
        paused = paused_ns(self.pauses, starts, ends).tolist()
        return [
            (length - less, start, after)
            for (length, start, after), less in zip(self._gaps, paused, strict=True)
        ]

"""Curves of any length in bounded memory: what is too dense to draw keeps its extremes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK = 1024


@dataclass(frozen=True)
class Curve:
    """What is drawn of one number of a channel.

    Attributes:
        times_ns: (P,) int64, rising as the samples' times are.
        values: (P,) float32; NaN where no sample was finite.
        samples: Samples it was made of.
        per_bucket: Samples that a pair of points stands for, at most; 1 where each is a point.
        not_finite: How many samples are not finite.
        low, high: Least and greatest finite value of all samples; NaN without one.
    """

    times_ns: np.ndarray
    values: np.ndarray
    samples: int
    per_bucket: int
    not_finite: int
    low: float
    high: float


@dataclass(frozen=True)
class _Buckets:
    """Extremes of runs of samples, and when they were; each (B, D), values NaN without any."""

    low: np.ndarray
    high: np.ndarray
    low_ns: np.ndarray
    high_ns: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def followed_by(self, other: _Buckets) -> _Buckets:
        """These buckets and then the others."""
        return _Buckets(*(
            np.concatenate([mine, theirs])
            for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)
        ))  # fmt: skip

    def merged(self) -> _Buckets:
        """Neighbours joined two by two; a last one without neighbour stays."""
        paired = len(self) // 2 * 2
        first, second = self.part(slice(0, paired, 2)), self.part(slice(1, paired, 2))
        lower = (second.low < first.low) | np.isnan(first.low)
        higher = (second.high > first.high) | np.isnan(first.high)
        joined = _Buckets(
            np.where(lower, second.low, first.low),
            np.where(higher, second.high, first.high),
            np.where(lower, second.low_ns, first.low_ns),
            np.where(higher, second.high_ns, first.high_ns),
        )
        return joined.followed_by(self.part(slice(paired, None)))

    def part(self, which: slice) -> _Buckets:
        """Some of the buckets."""
        return _Buckets(self.low[which], self.high[which], self.low_ns[which], self.high_ns[which])


def _buckets(times: np.ndarray, rows: np.ndarray, size: int) -> _Buckets:
    """Makes buckets of `size` samples, with times (N,) int64 and rows (N, D); size divides N."""
    rows = rows.reshape(-1, size, rows.shape[1])
    spread = np.broadcast_to(times.reshape(-1, size, 1), rows.shape)
    finite = np.isfinite(rows)
    clean = np.where(finite, rows, np.float32(np.nan))
    lowest = np.where(finite, rows, np.inf).argmin(axis=1)[:, None]
    highest = np.where(finite, rows, -np.inf).argmax(axis=1)[:, None]
    return _Buckets(*(
        np.take_along_axis(array, at, axis=1)[:, 0]
        for array, at in ((clean, lowest), (clean, highest), (spread, lowest), (spread, highest))
    ))  # fmt: skip


class Envelope:
    """Takes vectors one by one and keeps least and greatest value of each run of samples.

    There are never more than 2 * `buckets` runs: where there would be, neighbours are joined and
    runs become twice as long.
    """

    def __init__(self, dims: int, buckets: int) -> None:
        """An empty envelope of (dims,) vectors."""
        self.dims = dims
        self.per_bucket = 1
        self.samples = 0
        self._most = 2 * buckets
        self._not_finite = np.zeros(dims, np.int64)
        self._times: list[int] = []
        self._rows: list[np.ndarray] = []
        self._done = _buckets(np.zeros(0, np.int64), np.zeros((0, dims), np.float32), 1)

    def add(self, time_ns: int, values: np.ndarray) -> None:
        """Takes a sample (dims,)."""
        self._times.append(time_ns)
        self._rows.append(values)
        self.samples += 1
        if len(self._times) >= max(BLOCK, self.per_bucket):
            self._fill()

    def curves(self) -> list[Curve]:
        """The curve of each dimension, in order; more samples may follow."""
        self._fill()
        done, not_finite = self._done, self._not_finite
        if self._rows:  # the last run is not full
            times, rows = self._pending(len(self._rows))
            done = done.followed_by(_buckets(times, rows, len(rows)))
            not_finite = not_finite + (~np.isfinite(rows)).sum(axis=0)
        return [self._curve(done, not_finite, d) for d in range(self.dims)]

    def _pending(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The first pending samples: times (count,) int64, rows (count, D) float32."""
        with np.errstate(over="ignore"):
            rows = np.array(self._rows[:count]).astype(np.float32)
        return np.array(self._times[:count], np.int64), rows.reshape(count, self.dims)

    def _fill(self) -> None:
        """Makes runs of what is pending."""
        taken = len(self._rows) // self.per_bucket * self.per_bucket
        if not taken:
            return
        times, rows = self._pending(taken)
        del self._rows[:taken], self._times[:taken]
        self._not_finite += (~np.isfinite(rows)).sum(axis=0)
        self._done = self._done.followed_by(_buckets(times, rows, self.per_bucket))
        while len(self._done) > self._most:
            self._done = self._done.merged()
            self.per_bucket *= 2

    def _curve(self, done: _Buckets, not_finite: np.ndarray, d: int) -> Curve:
        """The curve of dimension d: of every run its extremes, the earlier one first."""
        low, high = done.low[:, d], done.high[:, d]
        times = np.stack([done.low_ns[:, d], done.high_ns[:, d]], axis=1)
        values = np.stack([low, high], axis=1)
        turned = times[:, 0] > times[:, 1]
        times[turned], values[turned] = times[turned, ::-1], values[turned, ::-1]
        keep = np.ones(times.shape, bool)
        keep[:, 1] = times[:, 0] != times[:, 1]  # one sample is one point
        seen = len(low) and not np.isnan(low).all()
        return Curve(
            times[keep], values[keep], self.samples, self.per_bucket, int(not_finite[d]),
            float(np.nanmin(low)) if seen else float("nan"),
            float(np.nanmax(high)) if seen else float("nan"),
        )  # fmt: skip

"""Asynchronous streams to frames at given times: the same object live and on recorded data.

Each stream of the contract has a buffer of the samples of its last seconds. A frame takes from
each buffer the newest sample at or before the frame's time, and says for every stream that has
none fresh enough why. Nothing is interpolated: a policy sees what a sensor measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.contract.parts import Align
from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.recorded import Track, rising
from roboalign_policy.core.frames.stream_buffer import SLACK_S, StreamBuffer, StreamCounts

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

__all__ = [
    "Resampler",
    "StreamCounts",
    "Track",
    "actions_at",
    "commands_at",
    "resample",
    "resample_tracks",
]


class Resampler:
    """Turns samples into frames by the contract; live, sample by sample, or on recorded data.

    Not thread-safe: push and ask from one thread, or under one lock.
    """

    def __init__(self, contract: Contract, slack_s: float = SLACK_S):
        """Start with empty buffers.

        Args:
            contract: its `observations` are the streams.
            slack_s: how far behind a stream's newest sample a frame may be, s. Each buffer keeps
                the stream's max_age_s and this much: the bound of the memory.
        """
        if not (math.isfinite(slack_s) and slack_s >= 0):
            raise ValueError(f"slack_s: found {slack_s}, expected a finite time >= 0, in s")
        self._buffers = {s.key: StreamBuffer(s, slack_s) for s in contract.observations}

    @property
    def counts(self) -> dict[str, StreamCounts]:
        """By stream key, what it has seen so far; live objects, do not write to them."""
        return {key: buffer.counts for key, buffer in self._buffers.items()}

    def push(self, sample: Sample) -> None:
        """Take a sample, in the order of arrival. State values are copied, images are not.

        Raises:
            ValueError: the stream is not in the contract, or shape, dtype or stamp do not fit.
        """
        buffer = self._buffers.get(sample.key)
        if buffer is None:
            raise ValueError(
                f"stream {sample.key!r}: not in the contract, expected one of "
                f"{', '.join(self._buffers)}"
            )
        buffer.push(sample)

    def frame(self, t_ns: int, now_ns: int | None = None) -> Frame | Missing:
        """Make the frame of a time.

        Args:
            t_ns: time of the frame, in the clock of the data.
            now_ns: the present, in the clock of the samples' `receive_ns`. When given, samples
                must also have been stamped and received within max_age_s before it, and those
                received after it are not seen. None: only the frame's time counts.

        Returns:
            The frame, or for every stream without a usable sample why.
        """
        values: dict[str, np.ndarray] = {}
        ages_s: dict[str, float] = {}
        reasons: dict[str, str] = {}
        for key, buffer in self._buffers.items():
            value, age_s, reason = buffer.at(t_ns, now_ns)
            if value is None:
                reasons[key] = reason
            else:
                values[key], ages_s[key] = value, age_s
        if not reasons:
            return Frame(t_ns, values, ages_s)
        left_out = all(self._buffers[key].stream.align.method == "drop" for key in reasons)
        return Missing(t_ns, reasons, left_out)


def resample(
    contract: Contract,
    samples: Iterable[Sample],
    times_ns: Sequence[int],
    now_ns: Sequence[int] | None = None,
    slack_s: float = SLACK_S,
) -> Iterator[Frame | Missing]:
    """Make the frames of recorded samples: what a live resampler gives for the same ones.

    Args:
        contract: as for `Resampler`.
        samples: all samples; within each stream in the order of arrival.
        times_ns: (N,) times of the frames, rising.
        now_ns: (N,) rising; when each frame was asked for, to see exactly what was there then.
            None: every sample stamped at or before a frame's time has arrived. A recording whose
            clock jumps back has to be split there first: a stamp far back would otherwise count
            as arrived before all that came earlier.
        slack_s: as for `Resampler`.

    Yields:
        A frame, or what is missing, for each of `times_ns`.

    Raises:
        ValueError: times that do not rise, or a sample that does not fit (see `Resampler.push`).
    """
    queues: dict[str, list[Sample]] = {stream.key: [] for stream in contract.observations}
    for sample in samples:
        queues.setdefault(sample.key, []).append(sample)
    clocks = _clocks(contract, now_ns)
    if unknown := queues.keys() - clocks.keys():
        Resampler(contract).push(queues[min(unknown)][0])  # says what is wrong
    feeds = [
        _Feed(np.array([s.time_ns(clocks[key]) for s in queue], np.int64), queue.__getitem__)
        for key, queue in queues.items()
    ]
    return _run(contract, feeds, times_ns, now_ns, slack_s)


def resample_tracks(
    contract: Contract,
    tracks: Sequence[Track],
    times_ns: Sequence[int] | np.ndarray,
    slack_s: float = SLACK_S,
) -> Iterator[Frame | Missing]:
    """Make the frames of recorded samples that are kept as columns, as `resample` makes them.

    Samples become objects when their frame's turn comes. Where the stamps of a track rise, only
    the newest one before each frame is made and pushed: the others would be passed over anyway.

    Args:
        contract: as for `Resampler`.
        tracks: one for each stream of the contract.
        times_ns: (N,) times of the frames, rising.
        slack_s: as for `Resampler`.

    Yields:
        A frame, or what is missing, for each of `times_ns`.

    Raises:
        ValueError: as `resample`.
    """
    clocks = _clocks(contract, None)
    feeds = []
    for track in tracks:
        stamps = track.times_ns(clocks[track.key])
        newest = rising(stamps, strictly=True) and rising(track.receive_ns)
        feeds.append(_Feed(stamps, track.sample, newest))
    return _run(contract, feeds, times_ns, None, slack_s)


@dataclass(frozen=True)
class _Feed:
    """The recorded samples of one stream.

    Attributes:
        stamps: (N,) int64, ns; when each is there: stamped, or received.
        sample: gives the sample of an index.
        newest_only: the stamps rise, so that only the newest sample before a frame counts.
    """

    stamps: np.ndarray
    sample: Callable[[int], Sample]
    newest_only: bool = False


def _clocks(contract: Contract, now_ns: Sequence[int] | None) -> dict[str, str]:
    """By stream key, the clock by which samples are pushed."""
    return {
        stream.key: stream.align.clock if now_ns is None else "receive"
        for stream in contract.observations
    }


def _run(
    contract: Contract,
    feeds: Sequence[_Feed],
    times_ns: Sequence[int] | np.ndarray,
    now_ns: Sequence[int] | None,
    slack_s: float,
) -> Iterator[Frame | Missing]:
    """Push what is due before each frame, and ask for the frame."""
    times = np.asarray(times_ns, np.int64)
    nows = None if now_ns is None else np.asarray(now_ns, np.int64)
    for name, array in (("times_ns", times), ("now_ns", nows)):
        if array is not None and (array.shape != times.shape or np.any(np.diff(array) < 0)):
            raise ValueError(f"{name}: expected {times.shape[0]} rising times")
    resampler = Resampler(contract, slack_s)
    due = []
    for feed in feeds:
        # The earliest stamp still to come: once it is beyond the frame, nothing is left to push.
        ahead = feed.stamps
        if not feed.newest_only:
            ahead = np.minimum.accumulate(feed.stamps[::-1])[::-1]
        due.append(np.searchsorted(ahead, times if nows is None else nows, side="right"))
    done = [0] * len(feeds)
    for index, t_ns in enumerate(times.tolist()):
        for number, feed in enumerate(feeds):
            upto = int(due[number][index])
            first = max(done[number], upto - 1) if feed.newest_only else done[number]
            for place in range(first, upto):
                resampler.push(feed.sample(place))
            done[number] = max(done[number], upto)
        yield resampler.frame(t_ns, None if nows is None else int(nows[index]))


def actions_at(
    samples: Sequence[Sample],
    times_ns: Sequence[int] | np.ndarray,
    align: Align,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the command that answers each frame.

    The step of a frame at t is the first command in [t, t + tolerance]: the command that answers
    observation t carries the observation's stamp. With `hold`, where there is none, the newest
    command before t is still in force (right for positions, wrong for speeds).

    Args:
        samples: samples of one command topic, value (K,), in any order.
        times_ns: (N,) times of the frames, ns.
        align: the command's alignment; of equal stamps the first in `samples` counts.

    Returns:
        (N, K) float32, NaN where there is none, and (N,) bool: which steps were found, finite.

    Raises:
        ValueError: samples of differing shape, or without a stamp on the clock of `align`.
    """
    if not samples:
        times = np.asarray(times_ns, np.int64)
        return np.full((len(times), 0), np.nan, np.float32), np.zeros(len(times), bool)
    stamps = np.array([sample.time_ns(align.clock) for sample in samples], np.int64)
    shapes = {np.shape(sample.value) for sample in samples}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(
            f"stream {samples[0].key}: found values of shapes {sorted(shapes)}, "
            "expected one shape (K,)"
        )
    values = np.array([sample.value for sample in samples], np.float64)
    return commands_at(stamps, values, times_ns, align)


def commands_at(
    stamps_ns: np.ndarray,
    values: np.ndarray,
    times_ns: Sequence[int] | np.ndarray,
    align: Align,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the command that answers each frame, as `actions_at`, among commands as columns.

    Args:
        stamps_ns: (M,) int64, ns; at least one, in any order.
        values: (M, K) float.
        times_ns: (N,) times of the frames, ns.
        align: the command's alignment; of equal stamps the first counts.

    Returns:
        As `actions_at`.
    """
    times = np.asarray(times_ns, np.int64)
    stamps, order = stamps_ns, None
    if not rising(stamps_ns):
        order = np.argsort(stamps_ns, kind="stable")
        stamps = stamps_ns[order]
    index = np.searchsorted(stamps, times, side="left")
    inside = np.minimum(index, len(stamps) - 1)
    found = (index < len(stamps)) & (stamps[inside] - times <= align.tolerance_ns)
    if align.method == "hold":
        inside = np.where(found, inside, index - 1)
        found |= index > 0
    chosen = values[inside if order is None else order[inside]]
    with np.errstate(over="ignore"):
        actions = np.where(found[:, None], chosen, np.nan).astype(np.float32)
    found &= np.isfinite(actions).all(axis=1)
    actions[~found] = np.nan
    return actions, found

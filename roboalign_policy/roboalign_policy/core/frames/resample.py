"""Asynchronous streams to frames at given times: the same object live and on recorded data.

Each stream of the contract has a buffer of the samples of its last seconds. A frame takes from
each buffer the newest sample at or before the frame's time, and says for every stream that has
none fresh enough why. Nothing is interpolated: a policy sees what a sensor measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.contract.parts import Align
from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.recorded import Track, rising
from roboalign_policy.core.frames.stream_buffer import SLACK_S, StreamBuffer, StreamCounts

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract


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


def resample_tracks(
    contract: Contract, tracks: Sequence[Track], times_ns: Sequence[int] | np.ndarray
) -> Iterator[Frame | Missing]:
    """Make the frames of recorded samples: what a live resampler gives for the same ones.

    Every sample stamped at or before a frame's time has arrived. A recording whose clock jumps
    back has to be split there first: a stamp far back would otherwise count as arrived before all
    that came earlier. Samples become objects when their frame's turn comes; where the stamps of a
    track rise, only the newest one before each frame: the others would be passed over anyway.

    Args:
        contract: as for `Resampler`.
        tracks: one for each stream of the contract.
        times_ns: (N,) times of the frames, rising.

    Yields:
        A frame, or what is missing, for each of `times_ns`.

    Raises:
        ValueError: times that do not rise, or a sample that does not fit (see `Resampler.push`).
    """
    times = np.asarray(times_ns, np.int64)
    if np.any(np.diff(times) < 0):
        raise ValueError(f"times_ns: expected {len(times)} rising times")
    resampler = Resampler(contract)
    clocks = {stream.key: stream.align.clock for stream in contract.observations}
    feeds = []
    for track in tracks:
        ahead = stamps = track.times_ns(clocks[track.key])
        newest_only = rising(stamps, strictly=True) and rising(track.receive_ns)
        if not newest_only:
            # The earliest stamp still to come: once it is beyond the frame, nothing is to push.
            ahead = np.minimum.accumulate(stamps[::-1])[::-1]
        feeds.append((track, newest_only, np.searchsorted(ahead, times, side="right")))
    done = [0] * len(feeds)
    for index, t_ns in enumerate(times.tolist()):
        for number, (track, newest_only, due) in enumerate(feeds):
            upto = int(due[index])
            first = max(done[number], upto - 1) if newest_only else done[number]
            for place in range(first, upto):
                resampler.push(track.sample(place))
            done[number] = max(done[number], upto)
        yield resampler.frame(t_ns)


def commands_at(
    stamps_ns: np.ndarray,
    values: np.ndarray,
    times_ns: Sequence[int] | np.ndarray,
    align: Align,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the command that answers each frame.

    The step of a frame at t is the first command in [t, t + tolerance]: the command that answers
    observation t carries the observation's stamp. With `hold`, where there is none, the newest
    command before t is still in force (right for positions, wrong for speeds).

    Args:
        stamps_ns: (M,) int64, ns; at least one, in any order.
        values: (M, K) float.
        times_ns: (N,) times of the frames, ns.
        align: the command's alignment; of equal stamps the first counts.

    Returns:
        (N, K) float32, NaN where there is none, and (N,) bool: which steps were found, finite.
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

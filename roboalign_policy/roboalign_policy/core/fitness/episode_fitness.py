"""Whether frames for training can be made of an episode, as far as times tell.

The recorder says it of what it wrote, `roboalign convert` and `inspect` of what they read: by the
same rules, so that one never calls fit what another leaves out.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.fitness.clock_check import (
    JUMP_NS,
    StreamTimes,
    clock_fault,
    mis_stamped,
    stamps_known,
)
from roboalign_policy.core.fitness.receipt_age import late_fault
from roboalign_policy.core.frames.frames import frame_times
from roboalign_policy.core.frames.resample import commands_at
from roboalign_policy.core.frames.stream_buffer import StreamBuffer

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

MAX_GAP_S = 0.5
"""Longest time between two frames, pauses not counted."""
MOST_FRAMES = 20_000_000
"""Frames of an episode, 23 days at 10 Hz: more come from a wrong stamp, and fill the memory."""


@dataclass
class TopicTimes:
    """Stamps and times of receipt of one topic's messages, ns, as they come."""

    header_ns: array = field(default_factory=lambda: array("q"))
    receive_ns: array = field(default_factory=lambda: array("q"))
    stamped: bool = True

    def add(self, header_ns: int | None, receive_ns: int) -> None:
        """Take one message; `header_ns` is None for a type without a stamp."""
        self.stamped = self.stamped and header_ns is not None
        self.header_ns.append(header_ns or 0)
        self.receive_ns.append(receive_ns)

    def columns(self) -> tuple[np.ndarray | None, np.ndarray]:
        """(N,) int64 stamps, or None, and (N,) int64 times of receipt."""
        header = np.array(self.header_ns, np.int64) if self.stamped else None
        return header, np.array(self.receive_ns, np.int64)


def paused_ns(pauses: Sequence[tuple[int, int]], starts: object, ends: object) -> np.ndarray:
    """How much of each interval was a pause.

    Args:
        pauses: (begin, end) of each, ns.
        starts: (N,) int, ns.
        ends: (N,) int, ns.

    Returns:
        (N,) int64, ns.
    """
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    total = np.zeros(len(starts), np.int64)
    for begin, end in pauses:
        total += np.clip(np.minimum(ends, end) - np.maximum(starts, begin), 0, None)
    return total


def least_frames(contract: Contract) -> int:
    """Frames that an episode needs: half a chunk, so that what is trained on is not padding."""
    return -(-contract.action.horizon // 2)


def frames_missing(
    stamps_ns: np.ndarray,
    indices: np.ndarray,
    contract: Contract,
    lost: Mapping[str, int],
    *,
    least: int | None = None,
    max_gap_s: float = MAX_GAP_S,
    pauses: Sequence[tuple[int, int]] = (),
) -> str:
    """Say why the frames that there are do not suffice; empty where they do.

    Args:
        stamps_ns: (N,) int64, times of the frames.
        indices: (N,) int64, their places on the grid of frame times.
        contract: the robot.
        lost: reason -> frame times left out for it.
        least: frames; None for `least_frames`.
        max_gap_s: s; longest time between two frames.
        pauses: (begin, end), ns: no gap.
    """
    causes = ", ".join(f"{why} ({count})" for why, count in sorted(lost.items()))
    if not len(indices):
        return f"no frame has every stream and a command: {causes or 'no frame times'}"
    least = least or least_frames(contract)
    if len(indices) < least:
        return f"too short: {len(indices)} frames, expected at least {least}" + (
            f"; left out: {causes}" if causes else ""
        )
    gaps = np.diff(indices) / contract.rate_hz
    if pauses:
        gaps = gaps - paused_ns(pauses, stamps_ns[:-1], stamps_ns[1:]) / 1e9
    if gaps.size and (gap := gaps.max()) > max_gap_s:
        at = int(gaps.argmax())
        return (
            f"gap of {gap:.2f} s after frame {indices[at]}, expected at most "
            f"{max_gap_s:g} s; left out: {causes}"
        )
    return ""


def times_fault(
    contract: Contract,
    times: Mapping[str, TopicTimes],
    pauses: Sequence[tuple[int, int]] = (),
) -> str:
    """Say why no frames can be made of what was recorded; empty where they can.

    Args:
        contract: the robot.
        times: by topic as the contract names it; all observations and commands.
        pauses: (begin, end), ns, of the recording.
    """
    streams = [
        *((s.key, s.topic, s.align.clock, s.max_age_s) for s in contract.observations),
        *((c.topic, c.topic, c.align.clock, 0.0) for c in contract.action.commands),
    ]
    found = []
    for name, topic, clock, age_s in streams:
        column = StreamTimes(name, clock, *times[topic].columns(), age_s)
        if column.stamps is None:
            return f"{topic}: no header stamp, but the contract says align.clock: header"
        wrong = mis_stamped(column)
        stamps = stamps_known(column, wrong) if wrong.any() else column.stamps
        if len(stamps) > 1 and np.diff(stamps).min() < -JUMP_NS:
            return f"{topic}: the clock goes back by {-np.diff(stamps).min() / 1e9:.3f} s"
        header = None if column.header_ns is None else column.header_ns[~wrong]
        good = StreamTimes(name, clock, header, column.receive_ns[~wrong], age_s)
        found.append((good, stamps, wrong))
    goods = [good for good, _, _ in found]
    if fault := clock_fault(goods, contract.rate_hz) or late_fault(goods):
        return fault
    count = len(contract.observations)
    seen = [stamps[~wrong] for _, stamps, wrong in found[:count]]
    if not all(map(len, seen)):
        return ""  # the verdict on the streams has said so
    start, end = max(int(s.min()) for s in seen), max(int(s.max()) for s in seen)
    if (end - start) / 1e9 * contract.rate_hz > MOST_FRAMES:
        return f"its stamps reach over {(end - start) / 1e9:.0f} s"
    grid = frame_times(start, end, contract.rate_hz)
    kept, lost = np.ones(len(grid), bool), {}
    for stream, (_, stamps, wrong) in zip(contract.observations, found, strict=False):
        fresh = _fresh(stamps, wrong, grid, StreamBuffer(stream, 0.0).reach_ns)
        kept &= fresh
        if not fresh.all():
            lost[f"{stream.key}: stale"] = int(np.count_nonzero(~fresh))
    for command, (good, stamps, wrong) in zip(
        contract.action.commands, found[count:], strict=True
    ):
        stamps, answered = stamps[~wrong], np.zeros(len(grid), bool)
        if len(stamps):
            _, answered = commands_at(stamps, np.zeros((len(stamps), 1)), grid, command.align)
        kept &= answered
        if not answered.all():
            lost[f"{good.name}: no command"] = int(np.count_nonzero(~answered))
    indices = np.flatnonzero(kept)
    return frames_missing(grid[indices], indices, contract, lost, pauses=pauses)


def _fresh(stamps: np.ndarray, wrong: np.ndarray, grid: np.ndarray, reach_ns: int) -> np.ndarray:
    """(N,) bool: whether the newest message up to each time is neither too old nor at fault."""
    order = np.argsort(stamps, kind="stable")
    newest = np.searchsorted(stamps[order], grid, side="right") - 1
    place = np.maximum(newest, 0)
    age_ns = grid - stamps[order][place]
    return (newest >= 0) & (age_ns <= reach_ns) & ~wrong[order][place]

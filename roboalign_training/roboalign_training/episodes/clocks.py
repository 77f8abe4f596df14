"""The clocks of one episode: which stamps count, and whether the streams' clocks meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.fitness.clock_check import (
    JUMP_NS,
    StreamTimes,
    clock_fault,
    mis_stamped,
    stamps_known,
)
from roboalign_policy.core.fitness.receipt_age import late_fault, late_notes
from roboalign_policy.core.frames.recorded import rising
from roboalign_training.bags.errors import EpisodeError

OFF_CLOCK = "stamp of another time"
"""Reason of a frame whose newest message has a stamp that cannot be believed."""


def stream_times(
    contract: Contract, columns: Sequence[tuple[np.ndarray | None, np.ndarray]]
) -> list[StreamTimes]:
    """What a contract's observations and commands say of time, from (header, receive) of each."""
    streams = [
        *((s.key, s.align.clock, s.max_age_s) for s in contract.observations),
        *((c.topic, c.align.clock, 0.0) for c in contract.action.commands),
    ]
    return [
        StreamTimes(name, clock, header, receive, age)
        for (name, clock, age), (header, receive) in zip(streams, columns, strict=True)
    ]


def settled(
    streams: Sequence[StreamTimes], contract: Contract, source: Path
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Finds the stamps that cannot be believed, and refuses clocks that cannot be used.

    Args:
        streams: From `stream_times`, observations first.
        contract: The robot.
        source: What to name in errors.

    Returns:
        By stream: (N,) bool, messages with a stamp of another time, and (N,) int64, ns, all
        stamps, those estimated.

    Raises:
        EpisodeError: When a clock goes back, as when a simulator is reset, two do not meet, or a
            stream was older than its `max_age_s` in most messages when they were received; also
            where the contract wants the header's time and the type has none.
    """
    topics = [s.topic for s in (*contract.observations, *contract.action.commands)]
    found, bare, back = [], [], []
    for times, topic in zip(streams, topics, strict=True):
        if times.stamps is None and len(times.receive_ns):
            cause = (
                f"stream {times.name}: a sample without header stamp, but the contract says "
                "align.clock: header (expected receive)"
            )
            bare.append((int(times.receive_ns[0]), cause))
            continue
        wrong = mis_stamped(times)
        stamps = stamps_known(times, wrong) if wrong.any() else times.stamps
        if stamps is None:
            stamps = np.zeros(0, np.int64)
        found.append((wrong, stamps))
        jumps = () if rising(stamps) else np.flatnonzero(stamps[1:] < stamps[:-1] - JUMP_NS)
        if len(jumps):
            at = int(jumps[0])
            cause = (
                f"{topic}: the clock goes back by "
                f"{(int(stamps[at]) - int(stamps[at + 1])) / 1e9:.3f} s after message "
                f"{at + 1}, as when a simulator is reset: record one episode a bag"
            )
            back.append((int(times.receive_ns[at + 1]), cause))
    if bare or back:
        raise EpisodeError(source, min(bare or back)[1])
    good = _believed(streams, found)
    if fault := clock_fault(good, contract.rate_hz) or late_fault(good):
        raise EpisodeError(source, fault)
    return found


def age_notes(
    streams: Sequence[StreamTimes], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[str, ...]:
    """Which streams were often too old when received, though not mostly; as `settled` gave it."""
    return tuple(late_notes(_believed(streams, found)))


def _believed(
    streams: Sequence[StreamTimes], found: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[StreamTimes]:
    """The streams without the messages whose stamps are of another time."""
    return [
        replace(
            times,
            header_ns=None if times.header_ns is None else times.header_ns[~wrong],
            receive_ns=times.receive_ns[~wrong],
        )
        if wrong.any()
        else times
        for times, (wrong, _) in zip(streams, found, strict=True)
    ]

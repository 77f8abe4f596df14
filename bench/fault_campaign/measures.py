"""What the controllers' record says about one fault. Pure: no ROS, no processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fault_campaign.contracts import JOINT_TRAJECTORY, TWIST
from fault_campaign.patience import patience

#: A joint target this close to the held one is the held one, rad.
_SAME_RAD = 1e-9
#: The gate repeats the safe action; a single message may be the last motion as well.
_SAFE_REPEATS = 2
MOVING_WITHIN_S = 0.2


@dataclass(frozen=True)
class Ending:
    """How motion ended after a fault; times in ms from its injection, None: there was none.

    Attributes:
        last_motion_ms: last command that moves the arm; negative: before the injection.
        safe_ms: first safe action (zero twist, joint target that is held) after that.
        safe_is_last: nothing but the safe action was received after it.
        hold_offset: greatest distance of the held joint target from the last moving one, rad; None
            for a twist.
        commands_after: commands on any topic after the injection.
    """

    last_motion_ms: float | None
    safe_ms: float | None
    safe_is_last: bool
    hold_offset: float | None
    commands_after: int

    @property
    def end_ms(self) -> float:
        """When the arm was told to move no more: a command is in force until the next one."""
        last_ms = -math.inf if self.last_motion_ms is None else self.last_motion_ms
        return last_ms if self.safe_ms is None else max(last_ms, self.safe_ms)


def arm_commands(heard: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the recorded messages that are for the arm, not for a gripper or a dry run."""
    return [m for m in heard if m["topic"] in (TWIST, JOINT_TRAJECTORY)]


def moves(heard: Sequence[dict[str, Any]]) -> list[bool]:
    """For each arm command whether it moves the arm.

    A twist does where any component is not zero. A joint target does where it is not the one that
    is held at the end of the record, or where nothing is held.
    """
    if not heard:
        return []
    if heard[0]["topic"] == TWIST:
        return [any(value != 0.0 for value in m["values"]) for m in heard]
    same = [_same(m["values"], heard[-1]["values"]) for m in heard]
    held = next((i for i, s in enumerate(reversed(same)) if not s), len(same))
    if held < _SAFE_REPEATS:
        return [True] * len(heard)
    # The first of the repeated targets may be the last motion; later ones move nothing.
    return [not s for s in same]


def moving_at(heard: Sequence[dict[str, Any]], t_ns: int) -> bool:
    """Whether a command that moves the arm came shortly before ``t_ns``."""
    before = [m for m in arm_commands(heard) if m["t_ns"] <= t_ns]
    if len(before) < 2 or t_ns - before[-1]["t_ns"] > MOVING_WITHIN_S * patience() * 1e9:
        return False
    if before[-1]["topic"] == TWIST:
        return any(value != 0.0 for value in before[-1]["values"])
    return not _same(before[-1]["values"], before[-2]["values"])


def ending(heard: Sequence[dict[str, Any]], t0_ns: int) -> Ending:
    """Judge a record.

    Args:
        heard: messages as the controller keeps them (t_ns, topic, values), in order, from before
            the injection until the end of the watch.
        t0_ns: of the injection, monotonic clock.
    """
    commands = arm_commands(heard)
    moving = moves(commands)
    last = max((i for i, m in enumerate(moving) if m), default=None)
    last_ms = None if last is None else (commands[last]["t_ns"] - t0_ns) / 1e6
    rest = commands if last is None else commands[last + 1 :]
    rest = [m for m in rest if m["t_ns"] >= t0_ns]
    offset = None
    if last is not None and rest and rest[0]["topic"] == JOINT_TRAJECTORY:
        offset = _distance(rest[-1]["values"], commands[last]["values"])
    return Ending(
        last_ms,
        (rest[0]["t_ns"] - t0_ns) / 1e6 if rest else None,
        bool(rest),
        offset,
        sum(m["t_ns"] > t0_ns and not m["topic"].startswith("dry_run/") for m in heard),
    )


def longest_gap_ms(heard: Sequence[dict[str, Any]], from_ns: int, to_ns: int) -> float:
    """Longest time in a span in which no command moved the arm, ms."""
    commands = arm_commands(heard)
    times = [
        m["t_ns"]
        for m, moving in zip(commands, moves(commands), strict=True)
        if moving and from_ns <= m["t_ns"] <= to_ns
    ]
    return float(np.max(np.diff([from_ns, *times, to_ns]))) / 1e6


def percentile(values: Sequence[float], share: float) -> float | None:
    """Percentile, rounded up to a value (of 20 the 99th is the greatest); None of none."""
    if not len(values):
        return None
    return float(np.percentile(np.asarray(values, float), share, method="higher"))


def _same(one: Sequence[float], other: Sequence[float]) -> bool:
    return len(one) == len(other) and _distance(one, other) <= _SAME_RAD


def _distance(one: Sequence[float], other: Sequence[float]) -> float:
    if len(one) != len(other):
        return math.inf
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)

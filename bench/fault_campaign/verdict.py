"""What must hold of one repeat of one kind, and whether it did. Pure: no ROS, no processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fault_campaign.measures import arm_commands, ending, longest_gap_ms, moves

STOP, SILENCE, NEVER, GOES_ON, RELEASE = "stop", "silence", "never", "goes_on", "release"
LATCHED = ("STOPPED", "ESTOP")
#: A hold target further than this from the last moving one is a jump, rad.
_HOLD_RAD = 0.1


@dataclass
class Watch:
    """What was seen of one repeat; times in ns of the monotonic clock.

    Attributes:
        t0_ns: of the injection.
        recorded_ns: end of the record: the fault is still there.
        healed_ns: the fault has gone, and what was killed runs again.
        heard: by the controller from before the injection until ``recorded_ns``.
        heard_healed: by the controller in the half second after ``healed_ns``.
        gate: (time, state, reason, detail) of the gate's statuses since the injection.
        policy: (time, reason) of the policy's statuses since the injection.
        enabled_without_reset: what the gate said to ~/enable without ~/reset; None: not asked.
    """

    t0_ns: int
    recorded_ns: int = 0
    healed_ns: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)
    heard_healed: list[dict[str, Any]] = field(default_factory=list)
    gate: list[tuple[int, str, str, str]] = field(default_factory=list)
    policy: list[tuple[int, str]] = field(default_factory=list)
    enabled_without_reset: bool | None = None


def judge(
    watch: Watch,
    check: str,
    bound_s: float,
    reasons: tuple[str, ...],
    detail: str = "",
    policy_says: str = "",
) -> dict[str, Any]:
    """Figures of one repeat, and in ``failed`` what did not hold.

    Args:
        watch: of the repeat.
        check: STOP, SILENCE, NEVER, GOES_ON or RELEASE, see `kind.Kind`.
        bound_s: s; from the injection to the end of motion.
        reasons: names of GateStatus.REASON_*, one of which the gate must latch; empty: none.
        detail: what the gate must name beside the reason; empty: nothing.
        policy_says: what a status of the policy must begin with; empty: nothing.

    Returns:
        JSON-able; times in ms from the injection, None where something did not happen.
    """
    end = ending(watch.heard, watch.t0_ns)
    latched = next((s for s in watch.gate if s[1] in LATCHED), None)
    noticed = next((t for t, reason in watch.policy if reason.startswith(policy_says)), None)
    resumed = any(moves(arm_commands(watch.heard_healed)))
    result: dict[str, Any] = {
        "t0_ns": watch.t0_ns,
        "last_motion_ms": end.last_motion_ms,
        "safe_ms": end.safe_ms,
        "hold_offset_rad": end.hold_offset,
        "commands_after": end.commands_after,
        "state": latched[1] if latched else (watch.gate[-1][1] if watch.gate else ""),
        "reason": latched[2] if latched else "",
        "detail": latched[3] if latched else "",
        "latched_ms": (latched[0] - watch.t0_ns) / 1e6 if latched else None,
        "policy_noticed_ms": ((noticed - watch.t0_ns) / 1e6 if policy_says and noticed else None),
        "resumed_by_healing": resumed,
        "enabled_without_reset": watch.enabled_without_reset,
    }
    bound_ms = bound_s * 1e3
    failed = []
    if check == STOP:
        # A command is in force until the next one: motion ends with the safe action.
        result["end_ms"] = end.end_ms if end.safe_is_last else float("inf")
        failed += ["motion after the bound"] if result["end_ms"] > bound_ms else []
        failed += [] if end.safe_is_last else ["no safe action at the end"]
        failed += ["hold target far"] if (end.hold_offset or 0.0) > _HOLD_RAD else []
    elif check == SILENCE:
        times_ms = [(m["t_ns"] - watch.t0_ns) / 1e6 for m in watch.heard]
        result["end_ms"] = max((t for t in times_ms if t > 0), default=0.0)
        failed += ["motion after the bound"] if result["end_ms"] > bound_ms else []
    elif check == NEVER:
        result["end_ms"] = 0.0
        if end.last_motion_ms is not None and end.last_motion_ms > 0:
            result["end_ms"] = end.last_motion_ms
            failed.append("motion after the bound")
    elif check == GOES_ON:
        gap_ms = longest_gap_ms(watch.heard, watch.t0_ns, watch.recorded_ns)
        result.update(end_ms=None, gap_ms=gap_ms, last_motion_ms=None, safe_ms=None)
        failed += ["motion was disturbed"] if gap_ms > bound_ms or latched else []
    elif check == RELEASE:
        result.update(_release(watch))
        failed += ["motion after the bound"] if result["end_ms"] > bound_ms else []
    if check in (STOP, SILENCE, NEVER):
        failed += ["moved without reset"] if resumed else []
    if reasons and (result["reason"] not in reasons or detail not in result["detail"]):
        failed.append("another reason" if latched else "did not latch")
    if watch.enabled_without_reset:
        failed.append("enabled without reset")
    if policy_says and noticed is None:
        failed.append("the policy did not notice")
    result["failed"] = failed
    return result


def _release(watch: Watch) -> dict[str, Any]:
    """A person let go: the safe action came first, what moves after it is the policy's, anew."""
    commands = [m for m in arm_commands(watch.heard) if m["t_ns"] > watch.t0_ns]
    moving = moves(commands)
    safe = next((i for i, m in enumerate(moving) if not m), None)
    if safe is None:
        return {"end_ms": float("inf"), "safe_ms": None, "last_motion_ms": None}
    before = [m["t_ns"] for m in commands[:safe]]
    return {
        "end_ms": (commands[safe]["t_ns"] - watch.t0_ns) / 1e6,
        "safe_ms": (commands[safe]["t_ns"] - watch.t0_ns) / 1e6,
        "last_motion_ms": (before[-1] - watch.t0_ns) / 1e6 if before else 0.0,
        "resumed_by_healing": "by design",
    }

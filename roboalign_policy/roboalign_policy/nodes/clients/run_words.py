"""Why a task cannot be sent to policy_node, or does not go on, in words."""

from __future__ import annotations

from collections.abc import Sequence

from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import GateStatus, PolicyStatus

REASONS = {
    getattr(RunPolicy.Result, name): name.removeprefix("REASON_").lower()
    for name in dir(RunPolicy.Result)
    if name.startswith("REASON_")
}
CLOSED = {
    GateStatus.STATE_DISABLED: "is not enabled",
    GateStatus.STATE_STOPPED: "has stopped",
    GateStatus.STATE_ESTOP: "holds an emergency stop",
}


class RunError(RuntimeError):
    """The task cannot be sent, or nobody answers; says what to do about it."""


def inactive_text(status: PolicyStatus, name: str) -> str:
    """Why a policy_node of this name takes no task, and what to do; empty when it takes one."""
    if status.state == PolicyStatus.STATE_INACTIVE:
        return (
            f"policy_node is not active ({status.reason}): `ros2 lifecycle set {name} activate`, "
            "or start it with autostart:=true as `roboalign up` does"
        )
    if status.state == PolicyStatus.STATE_FAULT:
        return f"inference of policy_node failed ({status.reason}): start it again"
    return ""


def closed_text(gate: GateStatus, namespace: str) -> str:
    """Why nothing passes a gate, and the commands that open it; empty when it is open."""
    if gate.state not in CLOSED:
        return ""
    where = f" --namespace {namespace.strip('/')}" if namespace.strip("/") else ""
    why = f" ({gate.detail})" if gate.detail else ""
    latched = gate.state != GateStatus.STATE_DISABLED
    first = f"`roboalign gate reset{where}`, then " if latched else ""
    return f"the safety gate {CLOSED[gate.state]}{why}: {first}`roboalign gate enable{where}`"


def missing_text(namespace: str, there: Sequence[str], waited_s: float) -> str:
    """What to do about a policy_node that is not heard.

    Args:
        namespace: where it should be.
        there: namespaces in which one is.
        waited_s: s; for how long.
    """
    if namespace in there:
        return f"policy_node is there and says nothing for {waited_s:g} s: is it still loading?"
    if there:
        others = " or ".join(f"--namespace {space.strip('/') or '/'}" for space in there)
        return f"no policy_node in namespace {namespace}, but elsewhere: add {others}"
    return (
        f"no policy_node answers within {waited_s:g} s: start one with `roboalign up --policy "
        "FOLDER` (--sim: with the simulated arm) or real_robot.launch.py, in this ROS_DOMAIN_ID"
    )

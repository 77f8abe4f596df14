"""The policy node's entry in /diagnostics, made of its status."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from roboalign_msgs.msg import PolicyStatus

from roboalign_policy.core.hashing import short_name
from roboalign_policy.ros.diagnostics import diagnostic_status, diagnostics_to_msg
from roboalign_policy.ros.stamps import stamp_to_ns

_LEVELS = {
    PolicyStatus.STATE_IDLE: DiagnosticStatus.OK,
    PolicyStatus.STATE_RUNNING: DiagnosticStatus.OK,
    PolicyStatus.STATE_FAULT: DiagnosticStatus.ERROR,
}
_STATES = {
    getattr(PolicyStatus, name): name.removeprefix("STATE_").lower().replace("_", " ")
    for name in dir(PolicyStatus)
    if name.startswith("STATE_")
}


def policy_diagnostics(status: PolicyStatus, node_name: str) -> DiagnosticArray:
    """Message of one entry: WARN where nothing is sent that should be, ERROR after a fault."""
    state = _STATES[status.state]
    values = {
        "instruction": status.instruction,
        "policy": short_name(status.policy_hash),
        "frames Hz": f"{status.observation_rate_hz:.1f}",
        "chunks Hz": f"{status.chunk_rate_hz:.2f}",
        "commands Hz": f"{status.command_rate_hz:.1f}",
        "inference p50 s": f"{status.latency_p50_s:.3f}",
        "inference p95 s": f"{status.latency_p95_s:.3f}",
        "inference p99 s": f"{status.latency_p99_s:.3f}",
        "chunks": status.chunks,
        "commands": status.commands,
        "refused": status.refused,
    }
    entry = diagnostic_status(
        f"{node_name}: policy",
        _LEVELS.get(status.state, DiagnosticStatus.WARN),
        f"{state}: {status.reason}" if status.reason else state,
        values,
    )
    return diagnostics_to_msg(stamp_to_ns(status.header.stamp), entry)

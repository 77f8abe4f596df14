"""Status, latency report and diagnostics of the safety gate as ROS messages."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray
from roboalign_msgs.msg import GateStatus, LatencyReport

from roboalign_policy.core.gate.safety_gate import SafetyGate
from roboalign_policy.core.gate.stage_latency import StageLatency
from roboalign_policy.core.gate.types import GateState
from roboalign_policy.ros.diagnostics import Level, diagnostic_status, diagnostics_to_msg
from roboalign_policy.ros.stamps import ns_to_stamp


def status_to_msg(
    gate: SafetyGate, dry_run: bool, note: str, stamp_ns: int, steady_s: float
) -> GateStatus:
    """Message of a gate's state.

    Args:
        gate: the gate.
        dry_run: whether its commands go to dry_run/... topics.
        note: shown where nothing else is wrong.
        stamp_ns: ROS clock.
        steady_s: s; steady clock.
    """
    msg = GateStatus(
        state=getattr(GateStatus, f"STATE_{gate.state.name}"),
        reason=getattr(GateStatus, f"REASON_{gate.reason.name}"),
        detail=gate.detail or note,
        source=gate.source,
        dry_run=dry_run,
        estop_pressed=bool(gate.inputs.pressed),
        cool_down_s=gate.cool_down_s(steady_s),
        passed=gate.passed,
        refused=gate.refused,
        stops=gate.stops,
        sequence_id=gate.sequence,
    )
    msg.header.stamp = ns_to_stamp(stamp_ns)
    return msg


def latency_to_msg(latency: StageLatency, stamp_ns: int) -> LatencyReport:
    """Message of the figures; ``stamp_ns``: ROS clock."""
    figures = latency.figures()
    msg = LatencyReport(
        stages=list(figures),
        counts=[f.count for f in figures.values()],
        p50_s=[f.p50_s for f in figures.values()],
        p95_s=[f.p95_s for f in figures.values()],
        p99_s=[f.p99_s for f in figures.values()],
        max_s=[f.max_s for f in figures.values()],
        overruns=latency.overruns,
    )
    msg.header.stamp = ns_to_stamp(stamp_ns)
    return msg


def gate_diagnostics(
    gate: SafetyGate, latency: StageLatency, node_name: str, stamp_ns: int
) -> DiagnosticArray:
    """Two entries: the gate (ERROR while latched), and the latencies with the streams' ages."""
    levels = {GateState.STOPPED: Level.ERROR, GateState.ESTOP: Level.ERROR}
    level = levels.get(gate.state, Level.OK if gate.state is GateState.ACTIVE else Level.WARN)
    if gate.state is GateState.READY:
        level = Level.OK
    what = f"{gate.state.value}: {gate.reason.value}" + (f": {gate.detail}" if gate.detail else "")
    counters = {
        "source": gate.source,
        "passed": gate.passed,
        "refused": gate.refused,
        "stops": gate.stops,
    }
    figures = latency.figures()
    shown = {
        name: f"p50 {f.p50_s * 1e3:.1f} ms, p99 {f.p99_s * 1e3:.1f} ms, max {f.max_s * 1e3:.1f} ms"
        for name, f in figures.items()
    }
    return diagnostics_to_msg(
        stamp_ns,
        diagnostic_status(f"{node_name}: gate", level, what, counters),
        diagnostic_status(
            f"{node_name}: latency",
            Level.OK if not latency.overruns else Level.WARN,
            f"{latency.overruns} overruns",
            shown,
        ),
    )

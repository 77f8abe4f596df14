"""What the safety gate tells: status, latency report, diagnostics, log, and the report's file."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from roboalign_msgs.msg import GateStatus, LatencyReport

from roboalign_policy.core.gate.safety_gate import SafetyGate
from roboalign_policy.core.gate.stage_latency import CAMERA_TO_COMMAND, StageFigures, StageLatency
from roboalign_policy.core.gate.types import GateState
from roboalign_policy.core.hashing import short_name
from roboalign_policy.ros.diagnostics import diagnostic_status, diagnostics_to_msg
from roboalign_policy.ros.qos import reliable_qos
from roboalign_policy.ros.stamps import ns_to_stamp

_LEVELS = {
    GateState.DISABLED: DiagnosticStatus.WARN,
    GateState.STOPPED: DiagnosticStatus.ERROR,
    GateState.ESTOP: DiagnosticStatus.ERROR,
}


class GateReport:
    """Publishers of one gate.

    Attributes:
        note: shown where nothing else is wrong.
        sent: the newest statuses.
        muted: no status is published: another gate of the same name speaks.
        ended: the same until the process ends.
    """

    def __init__(
        self,
        node: Node,
        gate: SafetyGate,
        latency: StageLatency,
        *,
        dry_run: bool,
        report_file: str,
    ) -> None:
        """Advertise ``~/status``, ``~/latency`` and ``/diagnostics``.

        Args:
            node: the gate's.
            gate: what is told of.
            latency: of its commands.
            dry_run: whether its commands go to dry_run/... topics.
            report_file: JSON file of the latencies, written at the end; empty: none.
        """
        self._node, self._gate, self._latency = node, gate, latency
        self._dry_run, self._file = dry_run, report_file
        self._shown: Any = None
        self.note, self.muted, self.ended = "", False, False
        self.sent: deque[GateStatus] = deque(maxlen=100)
        self._status = node.create_publisher(GateStatus, "~/status", reliable_qos(10))
        self._report = node.create_publisher(LatencyReport, "~/latency", reliable_qos(1))
        self._diagnostics = node.create_publisher(
            DiagnosticArray, "/diagnostics", reliable_qos(10)
        )

    def show_change(self) -> None:
        """Log and publish the state at once where it is another than last time."""
        gate = self._gate
        shown = (gate.state, gate.reason, gate.source)
        if shown == self._shown:
            return
        self._shown = shown
        what = f"{gate.state.value}, {gate.reason.value}: {gate.detail or short_name(gate.source)}"
        if gate.state.latched:
            self._node.get_logger().warning(what)
        else:
            self._node.get_logger().info(what)
        self.publish_status()

    def publish_status(self) -> None:
        """Publish the status; its silence says that the gate is gone."""
        if self.muted or self.ended:
            return
        gate = self._gate
        msg = GateStatus(
            state=getattr(GateStatus, f"STATE_{gate.state.name}"),
            reason=getattr(GateStatus, f"REASON_{gate.reason.name}"),
            detail=gate.detail or self.note,
            source=gate.source,
            dry_run=self._dry_run,
            estop_pressed=bool(gate.inputs.pressed),
            cool_down_s=gate.cool_down_s(time.monotonic()),
            passed=gate.passed,
            refused=gate.refused,
            stops=gate.stops,
            sequence_id=gate.sequence,
        )
        msg.header.stamp = self._node.get_clock().now().to_msg()
        self.sent.append(msg)
        self._status.publish(msg)

    def publish_report(self) -> None:
        """Publish latencies and diagnostics; call it at 1 Hz."""
        if self.muted or self.ended:
            return
        now_ns, figures = self._node.get_clock().now().nanoseconds, self._latency.figures()
        msg = LatencyReport(stages=list(figures), overruns=self._latency.overruns)
        msg.header.stamp = ns_to_stamp(now_ns)
        msg.counts = [stage.count for stage in figures.values()]
        for name in ("p50_s", "p95_s", "p99_s", "max_s"):
            setattr(msg, name, [getattr(stage, name) for stage in figures.values()])
        self._report.publish(msg)
        entries = (self._gate_entry(), self._latency_entry(figures))
        self._diagnostics.publish(diagnostics_to_msg(now_ns, *entries))

    def _gate_entry(self) -> DiagnosticStatus:
        """Entry of the gate, an error while latched."""
        gate = self._gate
        what = f"{gate.state.value}: {gate.reason.value}"
        return diagnostic_status(
            f"{self._node.get_name()}: gate",
            _LEVELS.get(gate.state, DiagnosticStatus.OK),
            f"{what}: {gate.detail}" if gate.detail else what,
            {name: getattr(gate, name) for name in ("source", "passed", "refused", "stops")},
        )

    def _latency_entry(self, figures: Mapping[str, StageFigures]) -> DiagnosticStatus:
        """Entry of the latencies, with the streams' ages."""
        overruns = self._latency.overruns
        shown = {
            name: f"p50 {f.p50_s * 1e3:.1f} ms, p99 {f.p99_s * 1e3:.1f} ms, "
            f"max {f.max_s * 1e3:.1f} ms"
            for name, f in figures.items()
        }
        level = DiagnosticStatus.WARN if overruns else DiagnosticStatus.OK
        name = f"{self._node.get_name()}: latency"
        return diagnostic_status(name, level, f"{overruns} overruns", shown)

    def finish(self) -> None:
        """Say the last status, log the latency, write the report's file."""
        self.publish_status()
        if self._file:
            text = json.dumps(self._latency.record(), indent=1)
            Path(self._file).write_text(text, encoding="utf-8")
        camera = self._latency.figures().get(CAMERA_TO_COMMAND)
        if camera is not None:
            self._node.get_logger().info(
                f"camera to command: n {camera.count}, p50 {camera.p50_s * 1e3:.1f} ms, "
                f"p99 {camera.p99_s * 1e3:.1f} ms; {self._latency.overruns} overruns"
            )

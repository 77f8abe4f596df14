"""What the safety gate tells: status, latency report, diagnostics, log, and the report's file."""

from __future__ import annotations

import json
import time
from collections import deque
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from roboalign_msgs.msg import GateStatus, LatencyReport

from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.gate.safety_gate import SafetyGate
from roboalign_policy.core.gate.stage_latency import CAMERA_TO_COMMAND, StageLatency
from roboalign_policy.core.hashing import short_name
from roboalign_policy.ros.gate_msgs import gate_diagnostics, latency_to_msg, status_to_msg
from roboalign_policy.ros.qos import reliable_qos


class GateReport:
    """Publishers of one gate.

    Attributes:
        note: shown where nothing else is wrong.
        sent: the newest statuses.
        muted: no status is published: another gate of the same name speaks.
        ended: the same until the process ends.
    """

    def __init__(
        self, node: Node, gate: SafetyGate, latency: StageLatency, parameters: GateParameters
    ) -> None:
        """Advertise ``~/status``, ``~/latency`` and ``/diagnostics``."""
        self._node, self._gate, self._latency = node, gate, latency
        self._parameters = parameters
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
        """Publish the gate's sign of life."""
        if self.muted or self.ended:
            return
        msg = status_to_msg(
            self._gate,
            self._parameters.dry_run,
            self.note,
            self._node.get_clock().now().nanoseconds,
            time.monotonic(),
        )
        self.sent.append(msg)
        self._status.publish(msg)

    def publish_report(self) -> None:
        """Publish latencies and diagnostics; call it at 1 Hz."""
        if self.muted or self.ended:
            return
        now_ns = self._node.get_clock().now().nanoseconds
        self._report.publish(latency_to_msg(self._latency, now_ns))
        name = self._node.get_name()
        self._diagnostics.publish(gate_diagnostics(self._gate, self._latency, name, now_ns))

    def finish(self) -> None:
        """Say the last status, log the latency, write the report's file."""
        self.publish_status()
        if self._parameters.report_file:
            text = json.dumps(self._latency.record(), indent=1)
            Path(self._parameters.report_file).write_text(text, encoding="utf-8")
        camera = self._latency.figures().get(CAMERA_TO_COMMAND)
        if camera is not None:
            self._node.get_logger().info(
                f"camera to command: n {camera.count}, p50 {camera.p50_s * 1e3:.1f} ms, "
                f"p99 {camera.p99_s * 1e3:.1f} ms; {self._latency.overruns} overruns"
            )

"""What policy_node tells at fixed rates: its status and its entry in /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from roboalign_msgs.msg import PolicyStatus

from roboalign_policy.ros.policy_diagnostics import policy_diagnostics
from roboalign_policy.ros.qos import reliable_qos

_AGAIN_S = 10.0  # a state that lasts is said again
_DIAGNOSTICS_PERIOD_S = 1.0
_QUIET = (PolicyStatus.STATE_INACTIVE, PolicyStatus.STATE_IDLE, PolicyStatus.STATE_RUNNING)


class PolicyReport:
    """Publishers of one policy node."""

    def __init__(
        self,
        node: Node,
        status: Callable[[], PolicyStatus],
        period_s: float,
        on_status: Callable[[], None],
    ) -> None:
        """Advertise ``~/status`` and ``/diagnostics`` and start their timers.

        Args:
            node: owner of topics and timers.
            status: makes the status of now.
            period_s: s; of ``~/status``; diagnostics go out at 1 Hz.
            on_status: called after every status.
        """
        self._node, self._make, self._on_status = node, status, on_status
        self._state, self._warned_s = -1, 0.0
        self._status = node.create_publisher(PolicyStatus, "~/status", reliable_qos(1))
        self._diagnostics = node.create_publisher(
            DiagnosticArray, "/diagnostics", reliable_qos(10)
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(period_s, self.publish, clock=steady)
        node.create_timer(_DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)

    def publish(self) -> None:
        """Publish the status, and warn while nothing is commanded that should be."""
        msg = self._make()
        new, since_s = msg.state != self._state, time.monotonic() - self._warned_s
        self._state = msg.state
        if msg.state not in _QUIET and (new or since_s >= _AGAIN_S):
            self._warned_s = time.monotonic()
            self._node.get_logger().warning(f"not commanding: {msg.reason}")
        self._status.publish(msg)
        self._on_status()

    def _publish_diagnostics(self) -> None:
        self._diagnostics.publish(policy_diagnostics(self._make(), self._node.get_name()))

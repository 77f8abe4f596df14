"""What policy_node knows of the safety gate: its status topic, and how long that is silent."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from roboalign_msgs.msg import GateStatus

from roboalign_policy.core.drive.gate_watch import GateView, GateWatch
from roboalign_policy.ros.qos import reliable_qos

STATUS_TOPIC = "safety_gate_node/status"


def _names(prefix: str) -> dict[int, str]:
    """Constants of GateStatus by value, in lower case and without the prefix."""
    found = (name for name in dir(GateStatus) if name.startswith(prefix))
    return {getattr(GateStatus, name): name.removeprefix(prefix).lower() for name in found}


_STATES, _REASONS = _names("STATE_"), _names("REASON_")


class GateLink:
    """Listens to the safety gate in the node's namespace."""

    def __init__(
        self, node: Node, source: str, timeout_s: float, on_status: Callable[[], None]
    ) -> None:
        """Subscribe.

        Args:
            node: the node that owns the subscription.
            source: under which the node's candidates are sent.
            timeout_s: s; see `GateWatch`.
            on_status: called after every status.
        """
        self._node, self._on_status = node, on_status
        self._watch = GateWatch(source, timeout_s)
        self.told_to_stop = self._watch.told_to_stop
        self._subscription = node.create_subscription(
            GateStatus, STATUS_TOPIC, self._hear, reliable_qos(10)
        )

    def view(self) -> GateView:
        """Return what the gate does now."""
        return self._watch.view(time.monotonic())

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _hear(self, msg: GateStatus) -> None:
        # A value of a newer gate has no name here: it is not open.
        state = _STATES.get(msg.state, f"state {msg.state}")
        reason = _REASONS.get(msg.reason, f"reason {msg.reason}")
        self._watch.hear(state, reason, msg.detail, msg.source, time.monotonic())
        self._on_status()

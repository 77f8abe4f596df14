"""Listens to the status of a safety gate on behalf of `roboalign doctor`."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from roboalign_msgs.msg import GateStatus

from roboalign_policy.core.doctor.graph_snapshot import GateState
from roboalign_policy.core.graph.endpoints import GATE
from roboalign_policy.nodes.clients.gate_client import STATES
from roboalign_policy.nodes.clients.stream_listener import best_effort_qos


def watch_gate(node: Node, on_state: Callable[[GateState], None]) -> None:
    """Subscribe to a gate's status in the node's namespace; every publisher is heard."""

    def take(msg: GateStatus) -> None:
        state = STATES.get(msg.state, f"state {msg.state}")
        on_state(GateState(state, msg.detail, msg.estop_pressed, msg.dry_run))

    node.create_subscription(GateStatus, f"{GATE}/status", take, best_effort_qos(1))

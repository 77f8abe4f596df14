"""Looks for other publishers of the safety gate's command topics, other safety gates above all."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from roboalign_msgs.msg import GateStatus

from roboalign_policy.core.gate.rival_gates import RivalGates
from roboalign_policy.core.gate.types import GateState
from roboalign_policy.core.graph.endpoints import UNNAMED
from roboalign_policy.nodes.graph_endpoints import full_node_name
from roboalign_policy.ros.qos import reliable_qos

_STATUS_TYPE = "roboalign_msgs/msg/GateStatus"
_STATES = {getattr(GateStatus, f"STATE_{state.name}"): state for state in GateState}


class GateRivals:
    """Listens to the status of other gates, only while there is one.

    Attributes:
        known: what they are.
    """

    def __init__(self, node: Node, sent: deque[GateStatus]) -> None:
        """Know nobody.

        Args:
            node: the gate's.
            sent: the newest statuses that this gate sent itself; those that are heard go.
        """
        self._node, self._sent = node, sent
        self._own = node.get_fully_qualified_name()
        self.known = RivalGates(self._own)
        self._subscriptions: dict[str, Any] = {}

    def look(self, topics: Iterable[str], steady_s: float) -> None:
        """Look who publishes on the command topics; call it ten times a second."""
        publishers = {topic: self._publishers(topic) for topic in topics}
        nodes = {node for names in publishers.values() for node in names}
        if nodes == {self._own} and all(len(names) == 1 for names in publishers.values()):
            nodes = set()  # nobody else: that is the rule
        self.known.look(publishers, [n for n in nodes if n and self._is_gate(n)], steady_s)
        gates = self.known.gates
        for node in [n for n in self._subscriptions if n not in gates]:
            self._node.destroy_subscription(self._subscriptions.pop(node))
        for node in [n for n in gates if n not in self._subscriptions]:
            self._subscriptions[node] = self._node.create_subscription(
                GateStatus,
                f"{node}/status",
                functools.partial(self._hear, node),
                reliable_qos(10),
            )

    def _publishers(self, topic: str) -> list[str]:
        infos = self._node.get_publishers_info_by_topic(topic)
        names = [full_node_name(info.node_namespace, info.node_name) for info in infos]
        return ["" if name == UNNAMED else name for name in names]

    def _is_gate(self, node: str) -> bool:
        infos = self._node.get_publishers_info_by_topic(f"{node}/status")
        told = [
            info
            for info in infos
            if info.topic_type == _STATUS_TYPE
            and full_node_name(info.node_namespace, info.node_name) == node
        ]
        return len(told) > (node == self._own)

    def _hear(self, node: str, msg: GateStatus) -> None:
        if node == self._own:
            # One that this gate sent is heard once. In simulated time another gate may say the
            # very same: that one is heard beside it.
            with contextlib.suppress(ValueError):
                self._sent.remove(msg)
                return
        # A state of a newer gate has no name here: it may be driving.
        self.known.heard(node, _STATES.get(msg.state, GateState.ACTIVE), time.monotonic())

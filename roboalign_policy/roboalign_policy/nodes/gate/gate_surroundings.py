"""Who is around the safety gate: controllers that come and go, other gates, other publishers."""

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
from roboalign_policy.core.gate.safety_gate import SafetyGate
from roboalign_policy.core.gate.types import GateFault, GateState, Reason
from roboalign_policy.core.graph.endpoints import UNNAMED
from roboalign_policy.nodes.gate.gate_controllers import ControllerTopics
from roboalign_policy.nodes.gate.gate_report import GateReport
from roboalign_policy.nodes.graph_endpoints import full_node_name
from roboalign_policy.ros.qos import reliable_qos

_STATUS_TYPE = "roboalign_msgs/msg/GateStatus"
_STATES = {getattr(GateStatus, f"STATE_{state.name}"): state for state in GateState}
_NO_DESCRIPTION = "no robot_description yet"
#: s; nodes on one machine find each other in less. Before, this gate says and does nothing.
_FIRST_LOOK_S = 0.5
_LOOKING = "just started: still looking whether another gate is there; ask again"


class GateSurroundings:
    """Watches the graph for controllers and other gates, and enables the gate accordingly.

    Attributes:
        beside: another gate lives beside this one.
        note: who else publishes on the command topics; empty: nobody.
    """

    def __init__(self, node: Node, gate: SafetyGate, report: GateReport) -> None:
        """Know nobody yet."""
        self._node, self._gate, self._report = node, gate, report
        self._rivals = _Rivals(node, report.sent)
        self._told = self.note = ""
        self._began_s: float | None = None
        self._begins = True
        self.beside = False
        report.muted = True

    def look(self, topics: ControllerTopics | None, steady_s: float) -> None:
        """Look around; call it ten times a second.

        Args:
            topics: None while the gate does not know what it will publish.
            steady_s: s; steady clock.
        """
        gate = self._gate
        if topics is None:
            gate.controllers(_NO_DESCRIPTION)
            self._report.muted = False
            return
        topics.look()
        self._rivals.look(topics.topics, steady_s)
        self._began_s = self._began_s or steady_s
        known = self._rivals.known
        self._begins = steady_s - self._began_s < _FIRST_LOOK_S
        rival, self.beside = known.refusal(), known.heard_now()
        gate.controllers(topics.missing(), rival)
        if lost := topics.lost():
            gate.doubt(GateFault(Reason.NO_CONTROLLER, lost), steady_s)
        if enabled := known.enabled():
            gate.doubt(GateFault(Reason.TWO_SENDERS, enabled), steady_s)
        self._report.muted = gate.state is GateState.DISABLED and (
            self._begins or known.speaks_for_own()
        )
        strangers = known.strangers
        self.note = f"another node publishes: {strangers}" if strangers else ""
        self._warn(rival or self.note)

    def enable(self, topics: ControllerTopics | None, now_ns: int, steady_s: float) -> str:
        """Enable the gate with the controllers of this moment; why not, empty when it is."""
        was_disabled = self._gate.state is GateState.DISABLED
        if was_disabled:
            self.look(topics, steady_s)
        if was_disabled and topics is not None and self._begins:
            return _LOOKING
        refused = self._gate.enable(now_ns, steady_s)
        if was_disabled and topics is not None and self._gate.state is GateState.READY:
            topics.take()
        return refused

    def _warn(self, what: str) -> None:
        """Log what changed."""
        if what and what != self._told:
            self._node.get_logger().warning(what)
        self._told = what


class _Rivals:
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

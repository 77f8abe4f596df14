"""Who is around the safety gate: controllers that come and go, other gates, other publishers."""

from __future__ import annotations

from rclpy.node import Node

from roboalign_policy.core.gate.safety_gate import SafetyGate
from roboalign_policy.core.gate.types import GateFault, GateState, Reason
from roboalign_policy.nodes.gate.gate_controllers import ControllerTopics
from roboalign_policy.nodes.gate.gate_report import GateReport
from roboalign_policy.nodes.gate.gate_rivals import GateRivals

_NO_DESCRIPTION = "no robot_description yet"
#: s; nodes on one machine find each other in less. Before, this gate says and does nothing.
_FIRST_LOOK_S = 0.5
_LOOKING = "just started: still looking whether another gate is there; ask again"


class GateSurroundings:
    """Looks around, tells the gate, and enables it with what is there.

    Attributes:
        beside: another gate lives beside this one.
        note: who else publishes on the command topics; empty: nobody.
    """

    def __init__(self, node: Node, gate: SafetyGate, report: GateReport) -> None:
        """Know nobody yet."""
        self._node, self._gate, self._report = node, gate, report
        self._rivals = GateRivals(node, report.sent)
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
        self.note = f"somebody else publishes: {strangers}" if strangers else ""
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

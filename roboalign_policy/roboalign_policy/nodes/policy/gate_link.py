"""What policy_node and the safety gate tell each other: candidates, and the gate's status."""

from __future__ import annotations

import time
from collections.abc import Callable

from rclpy.node import Node
from roboalign_msgs.msg import Candidate as CandidateMsg
from roboalign_msgs.msg import GateStatus

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.drive.gate_watch import GateView, GateWatch
from roboalign_policy.core.drive.realtime import Outgoing
from roboalign_policy.core.frames.stages import Stages
from roboalign_policy.ros.candidate_msgs import candidate_to_msg
from roboalign_policy.ros.qos import reliable_qos

CANDIDATE_TOPIC = "candidate"
STATUS_TOPIC = "safety_gate_node/status"


def _names(prefix: str) -> dict[int, str]:
    """Constants of GateStatus by value, in lower case and without the prefix."""
    found = (name for name in dir(GateStatus) if name.startswith(prefix))
    return {getattr(GateStatus, name): name.removeprefix(prefix).lower() for name in found}


_STATES, _REASONS = _names("STATE_"), _names("REASON_")


class GateLink:
    """Sends candidates of one source to the gate in the node's namespace, and listens to it."""

    def __init__(
        self,
        node: Node,
        contract: Contract,
        source: str,
        timeout_s: float,
        on_status: Callable[[], None],
    ) -> None:
        """Advertise and subscribe.

        Args:
            node: the node that owns the topics; its clock stamps the candidates.
            contract: names of the dimensions, and the frame of the actions.
            source: SHA-256 hex of the checkpoint, under which candidates are sent.
            timeout_s: s; see `GateWatch`.
            on_status: called after every status.
        """
        self._node, self._source, self._on_status = node, source, on_status
        self._names, self._frame_id = contract.action.names, contract.base_frame
        self._watch, self._sequence = GateWatch(source, timeout_s), 0
        self._publisher = node.create_publisher(CandidateMsg, CANDIDATE_TOPIC, reliable_qos(10))
        self._subscription = node.create_subscription(
            GateStatus, STATUS_TOPIC, self._hear, reliable_qos(10)
        )

    def view(self) -> GateView:
        """Return what the gate does now."""
        return self._watch.view(time.monotonic())

    def send(self, output: Outgoing, stages: Stages) -> None:
        """Publish ``output``; ``stages``: of the chunk that its data comes from."""
        self._sequence += 1
        candidate = Candidate(
            kind=output.kind,
            sequence=self._sequence,
            source=self._source,
            stamp_ns=self._node.get_clock().now().nanoseconds,
            reason=output.reason,
            chunk_id=output.chunk,
            names=() if output.data is None else self._names,
            step_s=output.step_s,
            data=output.data,
            **vars(stages),
        )
        self._publisher.publish(candidate_to_msg(candidate, self._frame_id))
        if output.kind is CandidateKind.FAULT:
            self._watch.told_to_stop(output.reason)

    def close(self) -> None:
        """Withdraw both topics."""
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_publisher(self._publisher)

    def _hear(self, msg: GateStatus) -> None:
        # A value of a newer gate has no name here: it is not open.
        state = _STATES.get(msg.state, f"state {msg.state}")
        reason = _REASONS.get(msg.reason, f"reason {msg.reason}")
        self._watch.hear(state, reason, msg.detail, msg.source, time.monotonic())
        self._on_status()

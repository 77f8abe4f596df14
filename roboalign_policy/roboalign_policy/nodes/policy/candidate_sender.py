"""The topic on which policy_node tells the safety gate what it wants."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from roboalign_msgs.msg import Candidate as CandidateMsg

from roboalign_policy.core.candidate import Candidate
from roboalign_policy.core.drive.realtime import Output
from roboalign_policy.core.frames.stages import Stages
from roboalign_policy.ros.candidate_msgs import candidate_to_msg
from roboalign_policy.ros.qos import reliable_qos

CANDIDATE_TOPIC = "candidate"


class CandidateSender:
    """Numbers and publishes candidates of one source."""

    def __init__(self, node: Node, contract: Any, source: str) -> None:
        """Advertise.

        Args:
            node: the node that owns the topic; its clock stamps the messages.
            contract: names of the dimensions, and the frame of the actions.
            source: SHA-256 hex of the checkpoint.
        """
        self._node, self._source = node, source
        self._names, self._frame_id = contract.action.names, contract.base_frame
        self._publisher = node.create_publisher(CandidateMsg, CANDIDATE_TOPIC, reliable_qos(10))
        self._sequence = 0

    def send(self, output: Output, stages: Stages) -> None:
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

    def close(self) -> None:
        """Withdraw the topic."""
        self._node.destroy_publisher(self._publisher)

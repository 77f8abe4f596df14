"""Sends an episode's frames to a policy_node in lock step and receives the chunks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import ActionChunk, PolicyStatus

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.ros.chunk_msgs import actions_from_msg, status_from_msg
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import lossless_qos, reliable_qos
from roboalign_policy.ros.stamps import ns_to_stamp, stamp_to_ns
from roboalign_training.evaluate.replay import Recording, ReplayAnswer
from roboalign_training.nodes.replay_messages import ReplayError

LOAD_S = 600.0  # a big model may take minutes; a node that died meanwhile is noticed at once


def other_nodes(node: Node) -> list[str]:
    """Names of the other nodes that ``node`` knows of in its domain."""
    names = node.get_node_names()
    names.remove(node.get_name())
    return sorted(names)


class ReplayClient:
    """Publishes frames and receives chunks, one after the other."""

    def __init__(
        self,
        node: Node,
        recording: Recording,
        policy_hash: str,
        check: Callable[[], None],
        stall_s: float,
    ) -> None:
        """Make topics and action client.

        Args:
            node: to make them on.
            recording: the episode.
            policy_hash: of the checkpoint that must answer.
            check: raises where the policy's process has ended.
            stall_s: s; an answer that is missing for so long is an error.
        """
        self._node, self._check, self._stall_s = node, check, stall_s
        self._contract: Contract = recording.contract
        self._stamps_ns, self._instruction = recording.frames.stamps_ns, recording.span.instruction
        self._policy_hash, self._status = policy_hash, PolicyStatus(reason="nothing yet")
        self._chunk: ActionChunk | None = None
        self._wanted_ns, self._ended = -1, None
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._publishers = {
            stream.topic: node.create_publisher(
                message_class(stream.type), stream.topic, lossless_qos()
            )
            for stream in self._contract.observations
        }
        # Before the action client: who has discovered the client then knows these, too.
        node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, reliable_qos(100))
        node.create_subscription(
            PolicyStatus, "policy_node/status", self._on_status, reliable_qos(10)
        )
        self._goals = ActionClient(node, RunPolicy, "policy_node/run_policy")

    def connect(self) -> None:
        """Wait until the policy is loaded and listens to every stream.

        Raises:
            ReplayError, NodeProcessError: it does not.
        """

        def connected() -> bool:
            return self._goals.server_is_ready() and all(
                publisher.get_subscription_count() for publisher in self._publishers.values()
            )

        self._until(connected, LOAD_S, "policy_node to load the policy and to subscribe")
        # Loading took a while: somebody may have come. Endpoints are known before names, so that
        # policy_node itself may still be missing.
        others = other_nodes(self._node)
        if "policy_node" in others:
            others.remove("policy_node")
        if others:
            raise ReplayError(
                f"ROS domain {self._node.context.get_domain_id()}: found {', '.join(others)}, "
                "expected policy_node alone: a replay must not drive anything"
            )

    def ask(self, row: int, messages: dict[str, list[Any]]) -> ReplayAnswer:
        """Publish the messages of a frame and wait for the chunk that answers it.

        Raises:
            ReplayError: no answer, the run ended, or another checkpoint answered.
        """
        for command in self._contract.action.commands:
            if self._node.count_subscribers(command.topic):
                raise ReplayError(
                    f"{command.topic}: found a subscriber, expected none: a replay must not drive "
                    "anything"
                )
        stamp_ns = int(self._stamps_ns[row])
        at = f"frame {row} (stamp {stamp_ns} ns)"
        self._chunk, self._wanted_ns = None, stamp_ns
        for topic, parts in messages.items():
            for msg in parts:
                msg.header.stamp = ns_to_stamp(stamp_ns)
                self._publishers[topic].publish(msg)
        until_s = time.monotonic() + self._stall_s
        while self._chunk is None:
            if self._ended is None or self._ended.done():
                self._begin(at)
            left_s = until_s - time.monotonic()
            self._until(
                lambda: self._chunk is not None or self._ended.done(), left_s, f"a chunk for {at}"
            )
        return self._answer(self._chunk, at)

    def _begin(self, at: str) -> None:
        """Send the goal, first or once more: an invalid chunk ends a run (max_invalid_chunks 1).

        With more than one the node would ask the model again in a frame that is answered.
        """
        if self._ended is not None:
            result = self._ended.result().result
            if result.reason != RunPolicy.Result.REASON_CHUNK_FAULT:
                raise ReplayError(f"{at}: policy_node ended the run: {result.message}")
        sent = self._goals.send_goal_async(RunPolicy.Goal(instruction=self._instruction))
        self._until(sent.done, self._stall_s, f"policy_node to take the goal in {at}")
        if not sent.result().accepted:
            raise ReplayError(f"{at}: policy_node rejected the goal")
        self._ended = sent.result().get_result_async()

    def _answer(self, msg: ActionChunk, at: str) -> ReplayAnswer:
        for what, found, expected in (
            ("policy_hash", msg.policy_hash, self._policy_hash),
            ("instruction", msg.instruction, self._instruction),
        ):
            if found != expected:
                raise ReplayError(f"{at}: {what}: found {found!r}, expected {expected!r}")
        status = status_from_msg(msg)
        actions = actions_from_msg(msg) if status is ChunkStatus.OK else None
        return ReplayAnswer(
            stamp_to_ns(msg.observation_stamp),
            status,
            msg.decode_detail,
            actions,
            list(msg.fast_tokens),
            msg.inference_s,
        )

    def _until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        until_s = time.monotonic() + timeout_s
        while not condition():
            self._executor.spin_once(timeout_sec=0.1)
            self._check()
            if time.monotonic() > until_s:
                raise ReplayError(
                    f"waited for {what} in vain; policy_node says: {self._status.reason!r}"
                )

    def _on_chunk(self, msg: ActionChunk) -> None:
        # The first one counts: a goal sent after an invalid chunk may ask once more in that frame.
        if self._chunk is None and stamp_to_ns(msg.observation_stamp) == self._wanted_ns:
            self._chunk = msg

    def _on_status(self, msg: PolicyStatus) -> None:
        self._status = msg

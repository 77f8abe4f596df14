"""A robot as its contract describes it: subscriptions yield samples, publishers take actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from std_msgs.msg import String

from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.joint_readings import StateReader
from roboalign_policy.core.keys import is_image
from roboalign_policy.core.messages.picture_size import check_resizes
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg
from roboalign_policy.ros.chunk_msgs import CommandWriter
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.pictures import picture_from_msg
from roboalign_policy.ros.qos import SHARED_DEPTH, lossless_qos, qos_from_contract


class RobotIo:
    """Observation streams, task and command topics of one contract on one node."""

    def __init__(
        self,
        node: Node,
        contract: Any,
        *,
        lossless: bool,
        commands: bool,
        on_sample: Callable[[Sample], None],
        on_unreadable: Callable[[str, str], None],
        on_note: Callable[[str, str], None],
        on_task: Callable[[str], None],
    ) -> None:
        """Subscribe and advertise.

        Args:
            node: the node that owns the topics; they are relative to its namespace.
            contract: streams, task and commands.
            lossless: subscribe reliably to every message, as lock step needs, where a lost one
                stops the world; the publishers must be reliable then. Else as the contract says.
            commands: advertise the command topics, for `command`.
            on_sample: called with every sample that could be read.
            on_unreadable: called with stream key and reason for every message that could not.
            on_note: called with stream key and which messages came that are no reading of it,
                where that changes: those of other joints are passed over.
            on_task: called with every instruction.

        Raises:
            ImportError: an image stream takes a library that is not installed.
        """
        for stream in contract.observations:
            if is_image(stream.key):
                check_resizes(stream)
        self._node, self._on_sample, self._on_unreadable = node, on_sample, on_unreadable
        self._on_note = on_note
        self._notes: dict[str, str] = {}
        self._subscriptions = [
            self._subscribe(stream, lossless_qos() if lossless else qos_from_contract(stream.qos))
            for stream in contract.observations
        ]
        task_qos = qos_from_contract(contract.task.qos)
        self._subscriptions.append(
            node.create_subscription(
                String, contract.task.topic, lambda msg: on_task(msg.data), task_qos
            )
        )
        self._writer = CommandWriter(contract)
        self._publishers = [
            node.create_publisher(message_class(c.type), c.topic, qos_from_contract(c.qos))
            for c in contract.action.commands
            if commands
        ]
        self._last: list[Any] = []

    def command(self, values: np.ndarray, stamp_ns: int) -> None:
        """Publish one action on all command topics.

        Args:
            values: (A,) float32, units of the contract.
            stamp_ns: stamp of the messages: of the observation in lock step, present time else.
        """
        self._last = self._writer.write(values, stamp_ns)
        self.repeat()

    def repeat(self) -> None:
        """Publish the last command once more; nothing when there was none."""
        for publisher, msg in zip(self._publishers, self._last, strict=False):
            publisher.publish(msg)

    def close(self) -> None:
        """Remove all subscriptions and publishers."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in self._publishers:
            self._node.destroy_publisher(publisher)

    def _subscribe(self, stream: Any, qos: QoSProfile) -> Any:
        if is_image(stream.key):

            def read(msg: Any, receive_ns: int) -> Sample:
                value = picture_from_msg(msg, stream)
                return Sample(stream.key, stamp_ns_from_msg(msg), receive_ns, value)

        else:
            reader = StateReader(stream)
            if reader.sets.joints:
                qos.depth = max(qos.depth, SHARED_DEPTH)

            def read(msg: Any, receive_ns: int) -> Sample | None:
                sample = reader.read(msg, receive_ns)
                self._note(stream.key, reader.sets.note())
                return sample

        def callback(msg: Any) -> None:
            receive_ns = self._node.get_clock().now().nanoseconds
            try:
                sample = read(msg, receive_ns)
                if sample is not None:
                    sample.time_ns(stream.align.clock)
            # SelectorError, no stamp where the contract wants one, or a library is not installed.
            except (ValueError, ImportError) as error:
                self._on_unreadable(stream.key, str(error))
                return
            if sample is not None:
                self._on_sample(sample)

        return self._node.create_subscription(
            message_class(stream.type), stream.topic, callback, qos
        )

    def _note(self, key: str, text: str) -> None:
        if text != self._notes.get(key, ""):
            self._notes[key] = text
            self._on_note(key, text)

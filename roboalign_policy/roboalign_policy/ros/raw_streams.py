"""Raw subscriptions to the topics of a recording: bytes and times in, nothing decoded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rclpy.node import Node

from roboalign_policy.core.recording import RecordedTopic
from roboalign_policy.ros.bag_writer import BagTopic
from roboalign_policy.ros.definitions import message_class, message_definition, type_hash
from roboalign_policy.ros.qos import lossless_qos, qos_from_contract, qos_to_dict, reliable_qos
from roboalign_policy.ros.stamps import has_leading_stamp, leading_stamp_ns

OnMessage = Callable[[int, "int | None", int, int, bytes], None]
"""(index of the topic, stamp in its header or None, receive time, send time or 0, CDR bytes).

Times in ns.
"""

# Messages taken by one call of drain() from one topic: a flood must not keep it for ever.
MAX_WAITING = 100_000


def bag_topic(name: str, msg_type: str) -> BagTopic:
    """What a bag has to know about a topic whose publishers are not known yet.

    Raises:
        DefinitionError: the type is not installed.
    """
    return BagTopic(name, msg_type, message_definition(msg_type), type_hash(msg_type), ())


class RawStreams:
    """Subscriptions of one recording.

    Attributes:
        names: resolved topic names, in the order of the topics.
    """

    def __init__(
        self, node: Node, topics: Sequence[RecordedTopic], on_message: OnMessage, *, lossless: bool
    ):
        """Subscribe.

        Args:
            node: owns the subscriptions; relative topics are in its namespace.
            topics: what is recorded.
            on_message: called with every message that arrives.
            lossless: reliable with unlimited history in place of the contract's QoS.

        Raises:
            DefinitionError: a message type is not installed.
        """
        self._node, self._on_message = node, on_message
        classes = [message_class(topic.type) for topic in topics]
        self._stamped = [has_leading_stamp(kind) for kind in classes]
        self._latched = {
            i for i, topic in enumerate(topics) if topic.qos.durability == "transient_local"
        }
        self._last: dict[int, bytes] = {}
        self._subscriptions = [
            node.create_subscription(
                kind,
                topic.topic,
                functools.partial(self._take, index),
                self._qos(index, topic, lossless),
                raw=True,
            )
            for index, (kind, topic) in enumerate(zip(classes, topics, strict=True))
        ]
        self.names = [subscription.topic_name for subscription in self._subscriptions]
        self._bag_topics = [
            bag_topic(name, topic.type) for name, topic in zip(self.names, topics, strict=True)
        ]

    def _qos(self, index: int, topic: RecordedTopic, lossless: bool) -> Any:
        """Profile of a subscription.

        A latched topic keeps its history even when nothing may be lost.
        """
        if not lossless:
            return qos_from_contract(topic.qos)
        return (
            reliable_qos(topic.qos.depth, latched=True)
            if index in self._latched
            else lossless_qos()
        )

    def bag_topics(self) -> list[BagTopic]:
        """Topics for a bag, each with the QoS that its publishers offer now."""
        found = []
        for topic in self._bag_topics:
            endpoints = self._node.get_publishers_info_by_topic(topic.name)
            profiles = []
            for endpoint in endpoints:
                profile = qos_to_dict(endpoint.qos_profile)
                if profile not in profiles:
                    profiles.append(profile)
            found.append(replace(topic, qos=tuple(profiles)))
        return found

    def drain(self) -> None:
        """Take everything that has arrived and waits for the executor, through ``on_message``."""
        for index, subscription in enumerate(self._subscriptions):
            with subscription.handle:
                for _ in range(MAX_WAITING):
                    taken = subscription.handle.take_message(subscription.msg_type, True)
                    if taken is None:
                        break
                    self._take(index, *taken)

    def repeat_latched(self) -> None:
        """Pass the last message of each latched topic on once more, as one that arrives now."""
        now_ns = self._node.get_clock().now().nanoseconds
        for index, data in sorted(self._last.items()):
            self._on_message(
                index, leading_stamp_ns(data) if self._stamped[index] else None, now_ns, 0, data
            )

    def _take(self, index: int, data: bytes, info: dict[str, int]) -> None:
        """Find the times of a message and pass it on."""
        if index in self._latched:
            self._last[index] = data
        header_ns = leading_stamp_ns(data) if self._stamped[index] else None
        # The middleware knows when the message came; in simulated time only the node's clock says
        # when that was.
        if self._node.get_clock().ros_time_is_active or not info["received_timestamp"]:
            receive_ns = self._node.get_clock().now().nanoseconds
        else:
            receive_ns = info["received_timestamp"]
        self._on_message(index, header_ns, receive_ns, info["source_timestamp"], data)

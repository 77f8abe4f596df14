"""Raw subscriptions to the topics of a recording: bytes and times in, nothing decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.subscription import Subscription

from roboalign_policy.core.keys import IMAGE_TYPES
from roboalign_policy.core.recording.episodes import RecordedTopic
from roboalign_policy.core.recording.ring import Arrival
from roboalign_policy.core.recording.sequence_count import SequenceCount
from roboalign_policy.ros.definitions import message_class, message_definition, type_hash
from roboalign_policy.ros.joint_layout import has_leading_names, leading_names
from roboalign_policy.ros.qos import (
    keep_last,
    lossless_qos,
    qos_from_contract,
    qos_to_dict,
    reliable_qos,
)
from roboalign_policy.ros.recording.bag_writer import BagTopic
from roboalign_policy.ros.stamps import has_leading_stamp, leading_stamp_ns

OnMessage = Callable[[Arrival], None]

# Messages taken by one call of drain() from one topic: a flood must not keep it for ever.
MAX_WAITING = 100_000

# Messages that may wait in the middleware while the process is busy: two seconds of a camera, a
# second of a fast arm.
IMAGE_DEPTH, STATE_DEPTH = 60, 1000


# An executor's round for every message costs more than the messages; when each of them came the
# middleware knows.
POLL_S = 0.005


class _Polled(CallbackGroup):
    """Subscriptions that the executor does not wait for."""

    def can_execute(self, entity: Any) -> bool:
        """Never."""
        return False

    beginning_execution = can_execute

    def ending_execution(self, entity: Any) -> None:
        """Nothing began."""


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
            lossless: reliable with unlimited history in place of what the publishers offer.

        Raises:
            DefinitionError: a message type is not installed.
        """
        self._node, self._on_message, self._lossless = node, on_message, lossless
        self._topics = tuple(topics)
        self._polled = _Polled()
        self._classes = [message_class(topic.type) for topic in topics]
        self._stamped = [has_leading_stamp(kind) for kind in self._classes]
        self._named = [
            bool(topic.joints) and has_leading_names(kind)
            for topic, kind in zip(topics, self._classes, strict=True)
        ]
        self._latched = {
            i for i, topic in enumerate(topics) if topic.qos.durability == "transient_local"
        }
        self._last: dict[int, bytes] = {}
        self._numbers = [SequenceCount() for _ in topics]
        self._publishers = [0] * len(self._topics)
        self._subscriptions = [
            self._subscribe(index, self._wanted(index, [])) for index in range(len(topics))
        ]
        self.names = [subscription.topic_name for subscription in self._subscriptions]
        self._bag_topics = [
            replace(bag_topic(name, topic.type), compression=topic.compression)
            for name, topic in zip(self.names, topics, strict=True)
        ]
        self.adapt(range(len(topics)))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(POLL_S, self.drain, clock=steady)

    def adapt(self, indices: Iterable[int]) -> None:
        """Ask the publishers that are there now for all that they offer.

        A subscription is made anew where that has changed: nothing may be lost by it, so name
        only topics of which nothing is being recorded.
        """
        for index in indices:
            found = [i.qos_profile for i in self._endpoints(index)]
            subscription, wanted = self._subscriptions[index], self._wanted(index, found)
            present = subscription.qos_profile
            if (present.reliability, present.durability) != (
                wanted.reliability,
                wanted.durability,
            ):
                self._node.destroy_subscription(subscription)
                self._subscriptions[index] = self._subscribe(index, wanted)

    def bag_topics(self) -> list[BagTopic]:
        """Topics for a bag, each with the QoS that its publishers offer now."""
        found = []
        for index, topic in enumerate(self._bag_topics):
            profiles = []
            for endpoint in self._endpoints(index):
                profile = qos_to_dict(endpoint.qos_profile)
                if profile not in profiles:
                    profiles.append(profile)
            found.append(replace(topic, qos=tuple(profiles)))
        return found

    def remapped(self) -> dict[str, str]:
        """Topics that have another name than the contract's in the node's namespace."""
        space = self._node.get_namespace().rstrip("/")
        plain = [
            t.topic if t.topic.startswith("/") else f"{space}/{t.topic}" for t in self._topics
        ]
        return {
            topic.topic: name
            for topic, name, expected in zip(self._topics, self.names, plain, strict=True)
            if name != expected
        }

    def drain(self) -> None:
        """Take everything that has arrived, through ``on_message``; a timer does so, too."""
        for index in range(len(self._subscriptions)):
            self._drain(index)

    def latched(self, receive_ns: int) -> list[Arrival]:
        """The last message of each latched topic, as one that arrives then."""
        return [
            Arrival(index, self._header_ns(index, data), receive_ns, 0, data)
            for index, data in sorted(self._last.items())
        ]

    def _endpoints(self, index: int) -> list[Any]:
        name = self._subscriptions[index].topic_name
        return self._node.get_publishers_info_by_topic(name)

    def _wanted(self, index: int, offered: list[QoSProfile]) -> QoSProfile:
        """Profile of a subscription; a latched topic keeps its history even when lossless."""
        topic, latched = self._topics[index], index in self._latched
        if self._lossless:
            return reliable_qos(topic.qos.depth, latched=True) if latched else lossless_qos()
        depth = max(topic.qos.depth, IMAGE_DEPTH if topic.type in IMAGE_TYPES else STATE_DEPTH)
        if topic.command:
            # Made anew, it would be to the gate as a controller that was: a stop of the arm.
            agreed = qos_from_contract(topic.qos)
            agreed.depth = depth
            if all(_hears(agreed, profile) for profile in offered):
                return agreed
        return recording_qos(offered, depth, latched=latched)

    def _subscribe(self, index: int, qos: QoSProfile) -> Subscription:
        self._numbers[index].restart()
        return self._node.create_subscription(
            self._classes[index],
            self._topics[index].topic,
            lambda _: None,  # never called: drain() takes what has come
            qos,
            callback_group=self._polled,
            raw=True,
        )

    def _drain(self, index: int) -> None:
        subscription = self._subscriptions[index]
        publishers = 0
        with subscription.handle:
            for _ in range(MAX_WAITING):
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if taken is None:
                    break
                publishers = publishers or self._count_publishers(index)
                self._take(index, publishers, *taken)

    def _count_publishers(self, index: int) -> int:
        """How many may have sent what waits now: one who has left since may have, too.

        Messages do not say whose they are, and numbers of several say nothing of losses.
        """
        before = self._publishers[index]
        self._publishers[index] = max(1, self._subscriptions[index].get_publisher_count())
        return max(before, self._publishers[index])

    def _take(self, index: int, publishers: int, data: bytes, info: dict[str, int]) -> None:
        """Find the times of a message and pass it on."""
        number = info["publication_sequence_number"] or 0
        lost = self._numbers[index].take(number, publishers)
        if index in self._latched:
            self._last[index] = data
        # The middleware knows when the message came; in simulated time only the node's clock says
        # when that was.
        if self._node.get_clock().ros_time_is_active or not info["received_timestamp"]:
            receive_ns = self._node.get_clock().now().nanoseconds
        else:
            receive_ns = info["received_timestamp"]
        header_ns, send_ns = self._header_ns(index, data), info["source_timestamp"]
        names = leading_names(data) if self._named[index] else ()
        self._on_message(Arrival(index, header_ns, receive_ns, send_ns, data, lost, names))

    def _header_ns(self, index: int, data: bytes) -> int | None:
        return leading_stamp_ns(data) if self._stamped[index] else None


def recording_qos(
    offered: Sequence[QoSProfile], depth: int, *, latched: bool = False
) -> QoSProfile:
    """As reliable and as latched as every publisher offers, with room for a busy moment.

    Args:
        offered: profiles of the publishers; none: what hears every publisher that may come.
        depth: messages that may wait.
        latched: whether a topic nobody publishes on yet is expected to be latched.

    Source: rosbag2's adaptation, rosbag2_transport/qos.hpp.
    """
    if not offered:
        return keep_last(depth, reliable=latched, latched=latched)
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in offered)
    held = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in offered)
    return keep_last(depth, reliable=reliable, latched=held)


def _hears(subscription: QoSProfile, publisher: QoSProfile) -> bool:
    """Whether a subscription takes what a publisher offers."""
    verdict, _ = qos_check_compatible(publisher, subscription)
    return verdict != QoSCompatibility.ERROR

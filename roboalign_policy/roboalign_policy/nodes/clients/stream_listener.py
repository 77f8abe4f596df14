"""Listens to one stream of a contract, disturbing nobody: when messages come, what they say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from rclpy.serialization import deserialize_message

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.doctor.stream_audit import StreamRecord
from roboalign_policy.core.messages.selectors import names_of
from roboalign_policy.ros.joint_layout import has_leading_names, leading_names
from roboalign_policy.ros.qos import best_effort_qos
from roboalign_policy.ros.stamps import has_leading_stamp, leading_stamp_ns

#: Of images only some are decoded, so that listening does not load the machine that it measures.
_IMAGE_EVERY_NS, _STATE_EVERY_NS = 400_000_000, 4_000_000
_IMAGE_DEPTH, _STATE_DEPTH = 30, 2000


class StreamListener:
    """A raw subscription, as the contract wants it or as much weaker as the publishers offer.

    Attributes:
        topic: of the stream, as in the contract.
        record: what arrived.
    """

    def __init__(
        self,
        node: Node,
        stream: Stream,
        kind: Any,
        offered: Sequence[Any],
        clock: Sequence[tuple[int, int]],
    ) -> None:
        """Subscribe.

        Args:
            node: owns the subscription.
            stream: of the contract.
            kind: its message class.
            offered: rclpy's information on the publishers.
            clock: grows with what is heard on /clock: system time of receipt, time said; ns.
        """
        self.topic, self.record = stream.topic, StreamRecord(stream)
        self._node, self._stream, self._kind, self._clock = node, stream, kind, clock
        self._stamped = has_leading_stamp(kind)
        self._named = bool(self.record.sets.joints)
        self._leading = self._named and has_leading_names(kind)
        self._every_ns = _IMAGE_EVERY_NS if stream.is_image else _STATE_EVERY_NS
        self._looked_ns = self._start_ns = 0
        qos = best_effort_qos(_IMAGE_DEPTH if stream.is_image else _STATE_DEPTH)
        reliable = all(i.qos_profile.reliability == ReliabilityPolicy.RELIABLE for i in offered)
        if stream.qos.reliability == "reliable" and offered and reliable:
            qos.reliability = ReliabilityPolicy.RELIABLE
        self._subscription = node.create_subscription(
            kind, stream.topic, self._on_message, qos, raw=True
        )

    @property
    def waits(self) -> bool:
        """Whether a publisher with matching type and QoS is known, and nothing came of it yet."""
        return bool(self._subscription.get_publisher_count() and not self.record.receive_ns)

    def begin(self, start_ns: int) -> None:
        """Forget what came before, system time: subscriptions were being matched."""
        self.record, self._start_ns = StreamRecord(self._stream), start_ns

    def close(self, end_ns: int) -> StreamRecord:
        """Take what arrived before `end_ns` (system time) and still waits; unsubscribe."""
        subscription = self._subscription
        with subscription.handle:
            while taken := subscription.handle.take_message(subscription.msg_type, True):
                if taken[1]["received_timestamp"] > end_ns:
                    break
                self._on_message(*taken)
        self._node.destroy_subscription(subscription)
        return self.record

    def _on_message(self, data: bytes, info: dict[str, int]) -> None:
        # When the middleware got it: how busy this process is does not count.
        receive_ns = info["received_timestamp"] or time.time_ns()
        if receive_ns < self._start_ns:
            return
        self.record.arrived(
            leading_stamp_ns(data) if self._stamped else None,
            receive_ns,
            info["source_timestamp"],
            self._clock[-1][1] if self._clock else 0,
            len(data),
            self._names(data) if self._named else (),
        )
        if receive_ns - self._looked_ns >= self._every_ns:
            self._looked_ns = receive_ns
            self.record.content.take(self._deserialised(data))

    def _names(self, data: bytes) -> Sequence[str]:
        """Joints that a message names."""
        return leading_names(data) if self._leading else names_of(self._deserialised(data))

    def _deserialised(self, data: bytes) -> Any:
        return deserialize_message(data, self._kind)

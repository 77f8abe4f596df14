"""A topic by which a person speaks to the gate: heard whatever QoS its publisher has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from roboalign_policy.core.last_word import LastWord
from roboalign_policy.ros.qos import best_effort_qos, reliable_qos

_DEPTH = 10
#: Hears every publisher, and loses what a reliable one would send again.
_ANY = best_effort_qos(_DEPTH)


class OperatorTopic:
    """Subscriptions that together hear every publisher, the reliable ones reliably.

    A third one, for what was said before this node came, is there only while a publisher offers
    it: a publisher that does not would warn of it.
    """

    def __init__(
        self,
        node: Node,
        kind: Any,
        topic: str,
        callback: Callable[[Any], None],
        *,
        latched: bool = False,
    ) -> None:
        """Subscribe.

        Args:
            node: owner of the subscriptions.
            kind: message class.
            topic: relative name.
            callback: takes each message once.
            latched: also what was said before, where its publisher keeps it. Only for what is
                still true however old it is: an old command is none.
        """
        self._node, self._kind, self._callback = node, kind, callback
        self._topic, self._latched = node.resolve_topic_name(topic), latched
        self._word = LastWord()
        self._kept: Any = None
        self._subscribe(_ANY)
        self._subscribe(reliable_qos(_DEPTH))

    def look(self) -> None:
        """Check for transient-local publishers; call it ten times a second."""
        if not self._latched:
            return
        publishers = self._node.get_publishers_info_by_topic(self._topic)
        keeps = any(
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            and info.qos_profile.reliability == ReliabilityPolicy.RELIABLE
            for info in publishers
        )
        if keeps and self._kept is None:
            self._kept = self._subscribe(reliable_qos(1, latched=True))  # the last word alone
        elif not keeps and self._kept is not None:
            self._node.destroy_subscription(self._kept)
            self._kept = None

    def _subscribe(self, qos: QoSProfile) -> Any:
        # The first subscription hears all: that another one does not is no news. What not even
        # the first one hears is still warned of.
        events = SubscriptionEventCallbacks(use_default_callbacks=qos is _ANY)
        return self._node.create_subscription(
            self._kind, self._topic, self._hear, qos, event_callbacks=events
        )

    def _hear(self, msg: Any, info: dict[str, Any]) -> None:
        if self._word.is_news(info.get("source_timestamp") or 0):
            self._callback(msg)

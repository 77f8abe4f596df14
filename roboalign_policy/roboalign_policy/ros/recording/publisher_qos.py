"""Quality of service of a subscription that takes all that the publishers of a topic offer."""

from __future__ import annotations

from collections.abc import Iterable

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)


def recording_qos(
    offered: Iterable[QoSProfile], depth: int, *, latched: bool = False
) -> QoSProfile:
    """As reliable and as latched as every publisher offers, with room for a busy moment.

    Args:
        offered: profiles of the publishers; none: what hears every publisher that may come.
        depth: messages that may wait.
        latched: whether a topic nobody publishes on yet is expected to be latched.

    Source: rosbag2's adaptation, rosbag2_transport/qos.hpp.
    """
    profiles = list(offered)
    reliable = all(p.reliability == ReliabilityPolicy.RELIABLE for p in profiles)
    held = all(p.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in profiles)
    if not profiles:
        reliable = held = latched
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if held else DurabilityPolicy.VOLATILE,
    )


def hears(subscription: QoSProfile, publisher: QoSProfile) -> bool:
    """Whether a subscription takes what a publisher offers."""
    verdict, _ = qos_check_compatible(publisher, subscription)
    return verdict != QoSCompatibility.ERROR


def same_terms(one: QoSProfile, other: QoSProfile) -> bool:
    """Whether two profiles ask a publisher for the same."""
    return (one.reliability, one.durability) == (other.reliability, other.durability)

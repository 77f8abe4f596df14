"""Quality of service: from the contract to rclpy, and from rclpy to a bag's metadata."""

from typing import Any

from rclpy.duration import Duration
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

SHARED_DEPTH = 50
"""Of subscriptions to a topic that many publish on, such as joint_states.

All share one queue: the others' messages must not push the arm's newest out of it.
"""


def qos_from_contract(qos: Any) -> QoSProfile:
    """Profile of a contract's ``qos`` entry (attributes reliability, durability, depth)."""
    reliable, latched = qos.reliability == "reliable", qos.durability == "transient_local"
    return keep_last(qos.depth, reliable=reliable, latched=latched)


def keep_last(depth: int, *, reliable: bool, latched: bool = False) -> QoSProfile:
    """The newest ``depth`` samples kept; ``latched`` also serves subscribers that come later."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def reliable_qos(depth: int, *, latched: bool = False) -> QoSProfile:
    """See `keep_last`."""
    return keep_last(depth, reliable=True, latched=latched)


def best_effort_qos(depth: int) -> QoSProfile:
    """Keep last, volatile, best effort: hears every publisher."""
    return keep_last(depth, reliable=False)


def lossless_qos() -> QoSProfile:
    """Reliable, every sample kept: between two such ends it arrives, or publishing fails.

    A reader with a full history does not acknowledge, and a writer with a full one blocks, then
    raises.
    Source: OMG DDS 1.4, 2.2.3.14 and 2.2.3.18.
    """
    return QoSProfile(
        history=HistoryPolicy.KEEP_ALL,
        depth=1,  # not used with KEEP_ALL, but rclpy warns where it is left out
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.VOLATILE,
    )


def qos_to_dict(profile: QoSProfile) -> dict[str, Any]:
    """Profile as rosbag2 writes it from metadata version 9 on."""
    return {
        "history": HistoryPolicy(profile.history).name.lower(),
        "depth": profile.depth,
        "reliability": ReliabilityPolicy(profile.reliability).name.lower(),
        "durability": DurabilityPolicy(profile.durability).name.lower(),
        "deadline": _duration_to_dict(profile.deadline),
        "lifespan": _duration_to_dict(profile.lifespan),
        "liveliness": LivelinessPolicy(profile.liveliness).name.lower(),
        "liveliness_lease_duration": _duration_to_dict(profile.liveliness_lease_duration),
        "avoid_ros_namespace_conventions": profile.avoid_ros_namespace_conventions,
    }


def _duration_to_dict(duration: Duration) -> dict[str, int]:
    """Duration as rosbag2 writes it.

    Rclpy's zero means "not set", which rosbag2 writes as infinite.
    """
    if duration.nanoseconds == 0:
        return {"sec": 9223372036, "nsec": 854775807}
    return {"sec": duration.nanoseconds // 10**9, "nsec": duration.nanoseconds % 10**9}

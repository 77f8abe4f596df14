"""Publishers and subscriptions of other nodes, as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from roboalign_policy.core.contract.parts import Qos

UNNAMED = "a node whose name is not known"
GATE, POLICY, RECORDER = "safety_gate_node", "policy_node", "recorder_node"
#: Listens to commands without being a controller. Source: node names of rosbag2 and ros2cli.
_BYSTANDERS = (RECORDER, "rosbag2_", "_ros2cli", "rqt", "rviz", "foxglove_bridge")


def is_bystander(node: str) -> bool:
    """Whether a node, by its full name, listens without being meant: a recorder, a tool of ROS."""
    return node.rsplit("/", 1)[-1].startswith(_BYSTANDERS)


@dataclass(frozen=True)
class EndpointQos:
    """What a publisher offers or a subscription asks for.

    Attributes:
        reliability: `reliable` or `best_effort`.
        durability: `volatile` or `transient_local`.
        deadline_s: s; longest time between two messages; infinite where none is set.
        liveliness: `automatic` or `manual_by_topic`.
    """

    reliability: str = "reliable"
    durability: str = "volatile"
    deadline_s: float = math.inf
    liveliness: str = "automatic"

    @classmethod
    def from_contract(cls, qos: Qos) -> EndpointQos:
        """What a subscription or publisher made from a contract's `qos` has."""
        return cls(qos.reliability, qos.durability)


def qos_conflicts(offered: EndpointQos, asked: EndpointQos) -> tuple[str, ...]:
    """Return what keeps a publisher and a subscription apart; empty where they match.

    Args:
        offered: of the publisher.
        asked: of the subscription.

    Source: OMG DDS 1.4, 2.2.3: requested against offered.
    """
    conflicts = []
    if (offered.reliability, asked.reliability) == ("best_effort", "reliable"):
        conflicts.append("publisher best_effort, subscription reliable")
    if (offered.durability, asked.durability) == ("volatile", "transient_local"):
        conflicts.append("publisher volatile, subscription transient_local")
    if offered.deadline_s > asked.deadline_s:
        conflicts.append(
            f"publisher deadline {offered.deadline_s:g} s, subscription {asked.deadline_s:g} s"
        )
    if (offered.liveliness, asked.liveliness) == ("automatic", "manual_by_topic"):
        conflicts.append("publisher liveliness automatic, subscription manual_by_topic")
    return tuple(conflicts)


@dataclass(frozen=True)
class Endpoint:
    """One publisher or subscription of another node; `node` is its full name, or `UNNAMED`."""

    node: str
    type: str
    qos: EndpointQos

    @property
    def is_bystander(self) -> bool:
        """Whether it listens without being meant: a recorder, a tool of ROS."""
        return is_bystander(self.node)

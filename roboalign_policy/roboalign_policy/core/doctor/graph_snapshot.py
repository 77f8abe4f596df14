"""A ROS graph at one time, as plain data: who publishes and subscribes what, with which QoS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roboalign_policy.core import keys
from roboalign_policy.core.contract.parts import Action, Qos
from roboalign_policy.core.doctor.stream_audit import StreamRecord
from roboalign_policy.core.graph.endpoints import Endpoint, EndpointQos

GRIPPER_ACTION_TYPE = "control_msgs/action/GripperCommand"
_OUTPUT_TYPES = {
    keys.JOINT_TRAJECTORY_OUTPUT: keys.JOINT_TRAJECTORY_TYPE,
    keys.JOINT_GROUP_OUTPUT: keys.FLOAT_ARRAY_TYPE,
    keys.POSE_OUTPUT: keys.POSE_STAMPED_TYPE,
    keys.GRIPPER_ACTION_OUTPUT: GRIPPER_ACTION_TYPE,
}


@dataclass(frozen=True)
class ClockRecord:
    """What was heard on /clock: system time of receipt and the time said; both (N,) ns."""

    receive_ns: tuple[int, ...]
    clock_ns: tuple[int, ...]


@dataclass(frozen=True)
class GateState:
    """What the safety gate said: `disabled`, `ready`, `active`, `stopped` or `estop`, and why."""

    state: str
    detail: str
    estop_pressed: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class GraphSnapshot:
    """The graph and what was received of the contract's streams while listening.

    Attributes:
        namespace: in which the contract's relative topics stand, as in `/robot1`; `/`: none.
        nodes: full names of all other nodes.
        publishers, subscribers: by full topic name; topics without one may be left out.
        services: full names.
        streams: what was received, by stream key.
        uninstalled: message types of the contract that are not installed here, with the reason.
        use_sim_time: by full node name, of those that answered.
        clock: what was heard on /clock; None where nothing was.
        start_ns, end_ns: of listening, ns, system time.
        middleware: name of the rmw implementation.
        gate: what the safety gate said last; None where nothing was heard of it.
    """

    namespace: str
    nodes: tuple[str, ...]
    publishers: Mapping[str, tuple[Endpoint, ...]]
    subscribers: Mapping[str, tuple[Endpoint, ...]]
    services: frozenset[str]
    streams: Mapping[str, StreamRecord]
    start_ns: int
    end_ns: int
    uninstalled: Mapping[str, str] = field(default_factory=dict)
    use_sim_time: Mapping[str, bool] = field(default_factory=dict)
    clock: ClockRecord | None = None
    middleware: str = "rmw_fastrtps_cpp"
    gate: GateState | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody else is there; names of nodes come later than what they publish."""
        return not (self.nodes or self.publishers or self.subscribers)

    def full_name(self, topic: str) -> str:
        """Return a topic of the contract as it is named on the graph."""
        return topic if topic.startswith("/") else f"{self.namespace.rstrip('/')}/{topic}"

    def publishers_of(self, topic: str) -> tuple[Endpoint, ...]:
        """Return the publishers of a topic of the contract."""
        return self.publishers.get(self.full_name(topic), ())

    def subscribers_of(self, topic: str) -> tuple[Endpoint, ...]:
        """Return the subscriptions of a topic of the contract, bystanders left out."""
        found = self.subscribers.get(self.full_name(topic), ())
        return tuple(endpoint for endpoint in found if not endpoint.is_bystander)

    def clock_offset_ns(self) -> int | None:
        """Return /clock minus system time, ns, in the middle of what was heard; None: nothing."""
        if self.clock is None or not self.clock.clock_ns:
            return None
        pairs = zip(self.clock.clock_ns, self.clock.receive_ns, strict=True)
        offsets = sorted(clock - system for clock, system in pairs)
        return offsets[len(offsets) // 2]


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
class CommandChannel:
    """One topic, or action, on which the robot is driven.

    Attributes:
        where: its place in the contract.
        topic, type, qos: of the topic or action.
        controllers: names of the nodes that the contract takes for its controllers; empty: any.
    """

    where: str
    topic: str
    type: str
    qos: Qos
    controllers: tuple[str, ...] = ()

    @property
    def is_action(self) -> bool:
        """Whether goals are sent instead of messages."""
        return "/action/" in self.type


def command_channels(action: Action) -> tuple[CommandChannel, ...]:
    """Return where the robot is driven: outputs take the place of commands of their dimensions."""
    replaced: set[str] = set()
    for output in action.outputs:
        gripper = output.kind == keys.GRIPPER_ACTION_OUTPUT
        replaced.update({keys.GRIPPER_DIM} if gripper else keys.EE_DIMS)
    commands = [
        CommandChannel(f"action.commands[{index}]", c.topic, c.type, c.qos, c.controllers)
        for index, c in enumerate(action.commands)
        if not set(c.fields) <= replaced
    ]
    outputs = [
        CommandChannel(
            f"action.outputs[{index}]", o.topic, _OUTPUT_TYPES[o.kind], o.qos, o.controllers
        )
        for index, o in enumerate(action.outputs)
    ]
    return (*commands, *outputs)

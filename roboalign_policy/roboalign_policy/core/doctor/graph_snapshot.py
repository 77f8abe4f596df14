"""A ROS graph at one time, as plain data: who publishes and subscribes what, with which QoS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from roboalign_policy.core.doctor.stream_audit import StreamRecord
from roboalign_policy.core.graph.endpoints import Endpoint


@dataclass(frozen=True)
class ClockRecord:
    """What was heard on /clock: system time of receipt and the time said; both (N,) ns."""

    receive_ns: tuple[int, ...]
    clock_ns: tuple[int, ...]


@dataclass(frozen=True)
class HeardGate:
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
    gate: HeardGate | None = None

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

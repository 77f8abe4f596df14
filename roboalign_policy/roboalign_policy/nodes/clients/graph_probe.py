"""Takes a snapshot of the live graph and of what arrives on a contract's streams.

It only listens. It never subscribes to a command topic, where the safety gate and the simulator
would take it for a controller, and it publishes nothing.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters
from roboalign_msgs.msg import GateStatus
from rosgraph_msgs.msg import Clock

from roboalign_policy.core.contract.channels import command_channels
from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.doctor.command_check import ESTOP_SERVICE
from roboalign_policy.core.doctor.graph_snapshot import (
    ClockRecord,
    GraphSnapshot,
    HeardGate,
)
from roboalign_policy.core.doctor.stream_audit import StreamRecord
from roboalign_policy.core.graph.endpoints import GATE, POLICY, RECORDER, UNNAMED
from roboalign_policy.nodes.clients.client_node import ClientNode
from roboalign_policy.nodes.clients.gate_client import STATES
from roboalign_policy.nodes.clients.stream_listener import StreamListener
from roboalign_policy.nodes.graph_endpoints import (
    checked_namespace,
    full_node_name,
    publishers_of_graph,
    subscribers_of_graph,
)
from roboalign_policy.ros.definitions import DefinitionError, message_class
from roboalign_policy.ros.qos import best_effort_qos

DISCOVERY_S = 4.0
"""So long nodes may take to appear, where something of the contract is missing.

Fast DDS repeats its announcements every 3 s: one that is lost at first is heard then.
"""
SETTLE_S = 0.5
"""Discovery is one-way: what answers has to have seen who asks, too."""
_POLL_S, _ASK_EVERY_S, _CLOCK_DEPTH = 0.05, 1.0, 30

Progress = Callable[[str], None]


class GraphProbe(ClientNode):
    """Looks at the graph around it."""

    def __init__(self, contract: Contract, namespace: str) -> None:
        """Join the graph.

        Args:
            contract: what is looked for.
            namespace: in which its relative topics are; empty: none.

        Raises:
            ValueError: it is none.
        """
        checked_namespace(namespace)
        super().__init__(
            f"roboalign_doctor_{os.getpid()}",
            namespace,
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._contract = contract
        self._classes: dict[str, Any] = {}
        self._uninstalled: dict[str, str] = {}
        self._listeners: dict[str, StreamListener] = {}
        self._clock: list[tuple[int, int]] = []
        self._use_sim_time: dict[str, bool] = {}
        self._gate: HeardGate | None = None
        self._clients: dict[str, Any] = {}
        self._ask_at_s = 0.0
        driven = command_channels(contract.action)
        parts = (*contract.observations, *(c for c in driven if not c.is_action))
        for kind in {part.type for part in parts}:
            try:
                self._classes[kind] = message_class(kind)
            except DefinitionError as error:
                self._uninstalled[kind] = str(error)

    def take(self, seconds: float, progress: Progress) -> GraphSnapshot:
        """Discover, listen, and return what there is.

        Args:
            seconds: s; how long to listen, after discovery.
            progress: called every now and then with what is being done.
        """
        known_s = time.monotonic() + DISCOVERY_S
        self._await(self._undiscovered, known_s, progress)
        self._listen(SETTLE_S, lambda _: progress("discovering"))
        self._subscribe()
        self._listen(SETTLE_S, lambda _: progress("discovering"))
        # A publisher that we know may not know us yet.
        self._await(self._silent, time.monotonic() + DISCOVERY_S, progress)
        start_ns = time.time_ns()
        for listener in self._listeners.values():
            listener.begin(start_ns)
        self._clock.clear()

        def listening(left_s: float) -> None:
            self._ask_use_sim_time()
            progress(self._heard(left_s))

        self._listen(seconds, listening)
        end_ns = time.time_ns()
        records = {key: listener.close(end_ns) for key, listener in self._listeners.items()}
        self._await(self._rest_undiscovered, known_s, progress)
        self._await(self._unnamed, time.monotonic() + DISCOVERY_S, progress)
        return self._snapshot(start_ns, end_ns, records)

    def _await(self, lacking: Callable[[], str], until_s: float, progress: Progress) -> None:
        """Spin until nothing is lacking, or until then (s, steady clock)."""
        while time.monotonic() < until_s and (what := lacking()):
            self._listen(_POLL_S, lambda _, what=what: progress(f"discovering: {what}"))

    def _undiscovered(self) -> str:
        node, contract = self.node, self._contract
        missing = [s.topic for s in contract.observations if not node.count_publishers(s.topic)]
        for channel in command_channels(contract.action):
            if not channel.is_action and not node.count_subscribers(channel.topic):
                missing.append(channel.topic)
        return f"{', '.join(missing)} not there yet" if missing else ""

    def _rest_undiscovered(self) -> str:
        """What stops no robot: worth waiting for only as long as everything else."""
        extras = [e.topic for e in self._contract.extra_topics]
        missing = [topic for topic in extras if not self.node.count_publishers(topic)]
        missing += [] if self.node.count_services(ESTOP_SERVICE) else [GATE]
        return f"{', '.join(missing)} not there yet" if missing else ""

    def _silent(self) -> str:
        topics = [listener.topic for listener in self._listeners.values() if listener.waits]
        return f"no message yet on {', '.join(topics)}" if topics else ""

    def _unnamed(self) -> str:
        """Names of nodes come by a topic of their own, sometimes seconds after their endpoints."""
        parts = publishers_of_graph(self.node), subscribers_of_graph(self.node)
        ends = [end for part in parts for found in part.values() for end in found]
        return "names of nodes" if any(end.node == UNNAMED for end in ends) else ""

    def _subscribe(self) -> None:
        self.node.create_subscription(
            Clock, "/clock", self._on_clock, best_effort_qos(_CLOCK_DEPTH)
        )
        self.node.create_subscription(
            GateStatus, f"{GATE}/status", self._on_gate, best_effort_qos(1)
        )
        for stream in self._contract.observations:
            if stream.type in self._classes:
                offered = self.node.get_publishers_info_by_topic(stream.topic)
                self._listeners[stream.key] = StreamListener(
                    self.node, stream, self._classes[stream.type], offered, self._clock
                )

    def _on_gate(self, msg: GateStatus) -> None:
        state = STATES.get(msg.state, f"state {msg.state}")
        self._gate = HeardGate(state, msg.detail, msg.estop_pressed, msg.dry_run)

    def _on_clock(self, msg: Clock) -> None:
        clock_ns = msg.clock.sec * 10**9 + msg.clock.nanosec
        self._clock.append((time.time_ns(), clock_ns))

    def _ask_use_sim_time(self) -> None:
        """Ask those that matter, once a second until they answer: an answer can be lost."""
        if time.monotonic() < self._ask_at_s:
            return
        self._ask_at_s = time.monotonic() + _ASK_EVERY_S
        space = self.node.get_namespace().rstrip("/")
        nodes = {f"{space}/{name}" for name in (GATE, POLICY, RECORDER)}
        for stream in self._contract.observations:
            found = self.node.get_publishers_info_by_topic(stream.topic)
            nodes |= {full_node_name(info.node_namespace, info.node_name) for info in found}
        services = {name for name, _ in self.node.get_service_names_and_types()}
        for node in sorted(nodes - set(self._use_sim_time)):
            if (service := f"{node}/get_parameters") in services:
                if service not in self._clients:
                    self._clients[service] = self.node.create_client(GetParameters, service)
                future = self._clients[service].call_async(
                    GetParameters.Request(names=["use_sim_time"])
                )
                future.add_done_callback(functools.partial(self._on_parameters, node))

    def _on_parameters(self, node: str, future: Any) -> None:
        values = future.result().values
        if values and values[0].type == ParameterType.PARAMETER_BOOL:
            self._use_sim_time[node] = values[0].bool_value

    def _heard(self, left_s: float) -> str:
        counts = ", ".join(f"{k} {len(v.record.receive_ns)}" for k, v in self._listeners.items())
        return f"listening, {left_s:.0f} s left: {counts or 'nothing to listen to'}"

    def _listen(self, seconds: float, progress: Callable[[float], None]) -> None:
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            progress(left_s)
            # Many callbacks between two reports: streams may come a thousand times a second.
            self.spin(min(_POLL_S, left_s))

    def _snapshot(
        self, start_ns: int, end_ns: int, records: dict[str, StreamRecord]
    ) -> GraphSnapshot:
        node = self.node
        nodes = {
            full_node_name(space, name) for name, space in node.get_node_names_and_namespaces()
        }
        clock = tuple(zip(*self._clock, strict=True)) if self._clock else None
        return GraphSnapshot(
            namespace=node.get_namespace(),
            nodes=tuple(sorted(nodes - {node.get_fully_qualified_name()})),
            publishers=publishers_of_graph(node),
            subscribers=subscribers_of_graph(node),
            services=frozenset(name for name, _ in node.get_service_names_and_types()),
            streams=records,
            start_ns=start_ns,
            end_ns=end_ns,
            uninstalled=self._uninstalled,
            use_sim_time=dict(self._use_sim_time),
            clock=None if clock is None else ClockRecord(*clock),
            middleware=rclpy.get_rmw_implementation_identifier(),
            gate=self._gate,
        )

"""Publishers and action clients of the safety gate, and which controllers receive from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.node import Node

from roboalign_policy.core.contract.channels import CommandChannel
from roboalign_policy.core.gate.controller_watch import ControllerWatch, Listener
from roboalign_policy.core.graph.endpoint_process import EndpointProcesses, running_tails
from roboalign_policy.core.graph.endpoints import UNNAMED, Endpoint, EndpointQos, qos_conflicts
from roboalign_policy.nodes.graph_endpoints import endpoint_of, full_node_name
from roboalign_policy.ros.arm_outputs import ArmOutputs
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import qos_from_contract


class ControllerTopics:
    """Publishers (or action clients) to the controllers; with dry run below ``dry_run/``.

    Attributes:
        topics: full names of the topics that are published on.
    """

    def __init__(self, node: Node, outputs: ArmOutputs, dry_run: bool) -> None:
        """Advertise."""
        self._dry_run = dry_run
        self._channels = [_End(node, channel, dry_run) for channel in outputs.channels]
        self.topics = [c.watch.topic for c in self._channels if not c.is_action]
        self._fast_dds = rclpy.get_rmw_implementation_identifier().startswith("rmw_fastrtps")

    def send(self, messages: list[Any]) -> None:
        """Publish one message a channel; None: nothing on that one."""
        for channel, msg in zip(self._channels, messages, strict=True):
            if msg is not None:
                channel.send(msg)

    def look(self) -> None:
        """Look who is there; call it ten times a second.

        The middleware takes many seconds to notice that a process was killed, so those of this
        computer are looked at, too.
        """
        if self._dry_run:
            return
        tails = running_tails() if self._fast_dds else None
        for channel in self._channels:
            channel.look(tails)

    def missing(self) -> str:
        """Say which controllers do not listen; see `ControllerWatch.missing`."""
        return self._told(_End.missing)

    def lost(self) -> str:
        """Say which controllers were lost since `take`; see `ControllerWatch.lost`."""
        return self._told(lambda channel: channel.watch.lost())

    def take(self) -> None:
        """Hold on to the controllers of this moment: the gate is enabled."""
        for channel in self._channels:
            channel.watch.take()

    def _told(self, ask: Callable[[_End], str]) -> str:
        if self._dry_run:
            return ""
        return "; ".join(said for channel in self._channels if (said := ask(channel)))


class _End:
    """One channel's publisher or action client, and the watch over who takes what it sends."""

    def __init__(self, node: Node, channel: CommandChannel, dry_run: bool) -> None:
        name = channel.topic
        if dry_run:
            name = "dry_run/" + name.lstrip("/")
        self._node, self._type, self.is_action = node, channel.type, channel.is_action
        self._own = node.get_fully_qualified_name()
        self._offered = EndpointQos.from_contract(channel.qos)
        if channel.is_action:
            from control_msgs.action import GripperCommand  # ArmOutputs has said if missing

            self._end: Any = ActionClient(node, GripperCommand, name)
        else:
            self._end = node.create_publisher(
                message_class(channel.type), name, qos_from_contract(channel.qos)
            )
        namespace = node.get_namespace()
        named = [
            n if n.startswith("/") else full_node_name(namespace, n) for n in channel.controllers
        ]
        self.watch = ControllerWatch(node.resolve_topic_name(name), named)
        self._processes = EndpointProcesses()

    def send(self, msg: Any) -> None:
        if self.is_action:
            self._end.send_goal_async(msg)
        else:
            self._end.publish(msg)

    def look(self, tails: frozenset[int] | None) -> None:
        topic = self.watch.topic
        if self.is_action:  # its server publishes the status
            infos = self._node.get_publishers_info_by_topic(f"{topic}/_action/status")
        else:
            infos = self._node.get_subscriptions_info_by_topic(topic)
        listeners = [
            Listener(
                tuple(info.endpoint_gid),
                "" if one.node == UNNAMED else one.node,
                self.is_action or self._serves(one),
            )
            for info in infos
            if (one := endpoint_of(info)).node != self._own
        ]
        gids = [listener.gid for listener in listeners]
        ended = () if tails is None else self._processes.ended(gids, tails)
        self.watch.look(listeners, ended)

    def _serves(self, one: Endpoint) -> bool:
        return one.type == self._type and not qos_conflicts(self._offered, one.qos)

    def missing(self) -> str:
        if self.is_action and not self._end.server_is_ready():
            return f"no action server {self.watch.topic}"
        # The graph may show a subscription that the publisher has not matched yet.
        if not self.is_action and not self._end.get_subscription_count():
            return f"no subscriber with matching QoS on {self.watch.topic}"
        return self.watch.missing()

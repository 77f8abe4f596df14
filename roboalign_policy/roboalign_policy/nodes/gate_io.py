"""The safety gate's ends on ROS topics: people and controllers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.contract import Contract, load_contract
from roboalign_policy.core.contract_files import check_policy_folder
from roboalign_policy.core.endpoint_process import EndpointProcesses, running_tails
from roboalign_policy.core.gate_parameters import GateParameters
from roboalign_policy.core.joint_readings import command_from_msg, joined
from roboalign_policy.core.safety_gate import TELEOPERATION
from roboalign_policy.core.selectors import SelectorError, names_of
from roboalign_policy.ros.arm_outputs import ArmOutputs
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import qos_from_contract


class TeleopInput:
    """What a person commands on ``teleop/<command topic>``, as candidates at the contract's rate.

    The messages are the contract's own commands: what a device publishes for the controller is
    remapped below ``teleop/``, and the gate decides who drives.
    """

    def __init__(self, node: Node, contract: Any) -> None:
        """Subscribe to the teleoperation topics."""
        self._node, self._names = node, list(contract.action.names)
        self._step_s = 1.0 / contract.rate_hz
        self._values: dict[str, float] = {}
        self._new = False
        self._sent_s, self._sequence = 0.0, 0
        self.fault = ""
        for command in contract.action.commands:
            node.create_subscription(
                message_class(command.type),
                f"teleop/{command.topic.lstrip('/')}",
                functools.partial(self._on_message, command),
                _ANY_QOS,
            )

    def poll(self, steady_s: float) -> Candidate | None:
        """Candidate of what the person commanded since the last one; at most one a period."""
        if not self._new or steady_s - self._sent_s < 0.9 * self._step_s:
            return None
        missing = [name for name in self._names if name not in self._values]
        if missing:
            self.fault = f"teleop: {', '.join(missing)} never commanded: send each topic once"
            return None
        self.fault, self._new, self._sent_s = "", False, steady_s
        self._sequence += 1
        return Candidate(
            CandidateKind.MOTION,
            self._sequence,
            TELEOPERATION,
            self._node.get_clock().now().nanoseconds,
            names=tuple(self._names),
            step_s=self._step_s,
            data=np.array([[self._values[name] for name in self._names]]),
        )

    def forget(self) -> None:
        """Drop what was commanded: after a stop a person begins anew, gripper included."""
        self._values.clear()
        self._new = False

    def _on_message(self, command: Any, msg: Any) -> None:
        try:
            values = command_from_msg(msg, command)
        except SelectorError as error:
            self.fault = f"teleop/{command.topic}: {error}"
            return
        if values is None:
            joints = joined(names_of(msg))
            self.fault = f"teleop/{command.topic}: passed over: a command of {joints}"
            return
        self._values.update(values)
        self._new = True


class ControllerTopics:
    """Publishers (or action clients) to the controllers; with dry run below ``dry_run/``."""

    def __init__(self, node: Node, outputs: ArmOutputs, dry_run: bool) -> None:
        """Advertise."""
        self._node, self._dry_run = node, dry_run
        self._fast_dds = rclpy.get_rmw_implementation_identifier().startswith("rmw_fastrtps")
        self._heard_by: dict[str, dict[tuple[int, ...], str]] = {}
        self._processes: dict[str, EndpointProcesses] = {}
        self._told: dict[str, set[tuple[int, ...]]] = {}
        prefix = "dry_run/" if dry_run else ""
        self._ends = []
        for channel in outputs.channels:
            topic = prefix + channel.topic.lstrip("/" if dry_run else "")
            if channel.is_action:
                from control_msgs.action import GripperCommand  # ArmOutputs has said if missing

                self._ends.append(ActionClient(node, GripperCommand, topic))
            else:
                kind = message_class(channel.type)
                qos = qos_from_contract(channel.qos)
                self._ends.append(node.create_publisher(kind, topic, qos))
        self._channels = outputs.channels

    def send(self, messages: list[Any]) -> None:
        """Publish one message a channel; None: nothing on that one."""
        for end, msg in zip(self._ends, messages, strict=True):
            if msg is None:
                continue
            if isinstance(end, ActionClient):
                end.send_goal_async(msg)
            else:
                end.publish(msg)

    def missing(self) -> str:
        """Say which topics nobody hears who could (subscribers with other QoS do not count)."""
        if self._dry_run:
            return ""
        deaf = [
            channel.topic
            for channel, end in zip(self._channels, self._ends, strict=True)
            if not (
                end.server_is_ready()
                if isinstance(end, ActionClient)
                else end.get_subscription_count()
            )
        ]
        return f"no subscriber with matching QoS on {', '.join(deaf)}" if deaf else ""

    def lost(self) -> str:
        """Say which controllers were killed or started anew; call it ten times a second.

        The middleware takes many seconds to notice that a process was killed. When one is back,
        another subscription of the same node shows it: what it did in between nobody knows.
        """
        found = []
        tails = running_tails() if self._fast_dds else frozenset()
        for end in self._ends:
            if isinstance(end, ActionClient):
                continue
            topic, before = end.topic_name, self._heard_by.get(end.topic_name, {})
            infos = self._node.get_subscriptions_info_by_topic(topic)
            names = {
                tuple(info.endpoint_gid): f"{info.node_namespace.rstrip('/')}/{info.node_name}"
                for info in infos
            }
            if self._fast_dds:
                found += [
                    f"{name} on {topic} has ended" for name in self._ended(topic, names, tails)
                ]
            now = {g: n for g, n in names.items() if "_NODE_NAME_UNKNOWN_" not in n}
            known = list(before.values())
            found += [
                f"{name} on {topic} was started anew"
                for gid, name in now.items()
                if gid not in before and name in known
            ]
            self._heard_by[topic] = now
        return "" if self._dry_run else ", ".join(found)

    def _ended(
        self, topic: str, names: dict[tuple[int, ...], str], tails: frozenset[int]
    ) -> list[str]:
        """Nodes whose process has ended: once, and for as long as nobody else hears."""
        ended = self._processes.setdefault(topic, EndpointProcesses()).ended(names, tails)
        told = self._told.get(topic, set())
        self._told[topic] = set(ended)
        return [names[gid] for gid in ended if gid not in told or len(ended) == len(names)]


# Hears every publisher: one that is reliable too.
_ANY_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST,
    depth=5,
    reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)


def button_qos() -> tuple[QoSProfile, QoSProfile]:
    """Profiles of two subscriptions that together hear every publisher, and a latched one late."""
    latched = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )
    return _ANY_QOS, latched


def contract_of(parameters: GateParameters) -> Contract:
    """Contract that the parameters name, or the one of the checkpoint.

    Raises:
        ContractError: it cannot be read or is wrong.
        ValueError: neither is named.
    """
    if parameters.contract:
        return load_contract(parameters.contract)
    if not parameters.policy:
        raise ValueError("contract: found nothing, expected a contract or the checkpoint's folder")
    return load_contract(check_policy_folder(parameters.policy) / "contract.yaml")

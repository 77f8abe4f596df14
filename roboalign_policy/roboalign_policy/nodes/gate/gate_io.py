"""What the safety gate takes in besides candidates: a person's commands, and its contract."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from rclpy.node import Node

from roboalign_policy.core.candidate import Candidate, CandidateKind
from roboalign_policy.core.contract.contract import Contract, load_contract
from roboalign_policy.core.contract.files import CONTRACT, check_policy_folder
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.joint_readings import command_from_msg, joined
from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.gate.safety_gate import TELEOPERATION
from roboalign_policy.core.messages.selectors import names_of
from roboalign_policy.nodes.gate.operator_topic import OperatorTopic
from roboalign_policy.ros.definitions import message_class


class TeleopInput:
    """What a person commands on ``teleop/<command topic>``, as candidates at the contract's rate.

    The messages are the contract's own commands: what a device publishes for the controller is
    remapped below ``teleop/``, and the gate decides who drives.
    """

    def __init__(self, node: Node, contract: Any) -> None:
        """Subscribe to the teleoperation topics."""
        self._names = list(contract.action.names)
        self._step_s = 1.0 / contract.rate_hz
        self._values: dict[str, float] = {}
        self._new = False
        self._sent_s, self._sequence = 0.0, 0
        self.fault = ""
        for command in contract.action.commands:
            OperatorTopic(
                node,
                message_class(command.type),
                f"teleop/{command.topic.lstrip('/')}",
                functools.partial(self._on_message, command),
            )

    def poll(self, now_ns: int, steady_s: float) -> Candidate | None:
        """Candidate of what the person commanded since the last one; at most one a period.

        Args:
            now_ns: ns; ROS time, its stamp: a later look at the clock would be of the future to
                the gate that is asked about it, where the machine paused in between.
            steady_s: s; steady clock.
        """
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
            now_ns,
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
    return load_contract(check_policy_folder(parameters.policy) / CONTRACT)

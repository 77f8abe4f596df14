"""Parameter dataclasses on a node: declared with their ranges, read back and checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.parameters.declared import ParameterError, parameters_from_dict
from roboalign_policy.core.parameters.files import (
    COMMAND_LINE,
    check_taken,
    entries_from_arguments,
    given_value,
)
from roboalign_policy.core.parameters.sim_robot import SimRobotParameters
from roboalign_policy.core.recording.parameters import RecorderParameters

INT64 = 2**63 - 1
UNBOUNDED = 1e300
#: Nodes that may share a parameter file, and what they take.
SUITE = {
    "policy_node": PolicyParameters,
    "safety_gate_node": GateParameters,
    "sim_robot_node": SimRobotParameters,
    "recorder_node": RecorderParameters,
}


def check_no_words(words: Sequence[str]) -> None:
    """Refuse what ROS does not read of a command line, for a node without words of its own.

    Args:
        words: of the command line, without the program.

    Raises:
        ParameterError: something stands outside ``--ros-args ... [--]``; names all of it.
    """
    outside: list[str] = []
    ours = False
    for word in words:
        if word in ("--ros-args", "--"):
            ours = word == "--ros-args"
        elif not ours:
            outside.append(word)
    if outside:
        raise ParameterError(
            f"{COMMAND_LINE}: found {' '.join(outside)} outside --ros-args, where it would not be "
            "taken; expected it behind --ros-args, and before any --"
        )


def declare_parameters(node: Node, cls: type, argv: Sequence[str] | None = None) -> Any:
    """Declare every field of ``cls`` on ``node``, read-only; returns the instance in force.

    Args:
        node: of this process.
        cls: made with `core.parameters.declared.param`.
        argv: what was given to the node; None: to the process.

    Raises:
        ParameterError: a value from the command line or a YAML file has another type, is out of
            range, or would not be taken: see `core.parameters.files.check_taken`.
    """
    entries = entries_from_arguments(sys.argv if argv is None else argv)
    name = node.get_fully_qualified_name()
    keys = [item.name for item in fields(cls)]
    others = {
        other: [item.name for item in fields(kind)]
        for other, kind in SUITE.items()
        if kind is not cls
    }
    usual = next((usual for usual, kind in SUITE.items() if kind is cls), "")
    for text in check_taken(entries, name, keys, others, usual):
        node.get_logger().info(text)
    values = {}
    for item in fields(cls):
        source, given = given_value(entries, name, item.name)
        try:
            values[item.name] = node.declare_parameter(
                item.name, item.default, _descriptor(item)
            ).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            if source:
                parameters_from_dict(cls, {item.name: given}, source)  # says it better
            raise ParameterError(f"{source or name}: {item.name}: {error}") from None
        if source:
            parameters_from_dict(cls, {item.name: values[item.name]}, source)
    return parameters_from_dict(cls, values, node.get_name())


def _descriptor(item: Any) -> ParameterDescriptor:
    """Descriptor of a field, as ``ros2 param describe`` shows it."""
    meta = item.metadata
    unit = f" [{meta['unit']}]" if meta["unit"] else ""
    descriptor = ParameterDescriptor(
        description=meta["description"] + unit,
        additional_constraints=" | ".join(meta["choices"]),
        read_only=True,
    )
    if meta["low"] is None and meta["high"] is None:
        return descriptor
    low, high = meta["low"], meta["high"]
    if isinstance(item.default, float):
        low, high = (-UNBOUNDED if low is None else low), (UNBOUNDED if high is None else high)
        span = FloatingPointRange(from_value=float(low), to_value=float(high))
        descriptor.floating_point_range = [span]
    else:
        low, high = (-INT64 if low is None else low), (INT64 if high is None else high)
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor

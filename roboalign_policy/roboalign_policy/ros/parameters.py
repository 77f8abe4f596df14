"""Parameter dataclasses on a node: declared with their ranges, read back and checked."""

from dataclasses import fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from roboalign_policy.core.parameters import ParameterError, parameters_from_dict

INT64 = 2**63 - 1
UNBOUNDED = 1e300


def declare_parameters(node: Node, cls: type) -> Any:
    """Declare every field of ``cls`` on ``node``, read-only; returns the instance in force.

    Raises:
        ParameterError: a value from the command line or a YAML file has another type or is out of
            range.
    """
    values = {}
    for item in fields(cls):
        try:
            values[item.name] = node.declare_parameter(
                item.name, item.default, _descriptor(item)
            ).value
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ParameterError(f"{node.get_name()}: {item.name}: {error}") from None
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
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=-UNBOUNDED if low is None else float(low),
                to_value=UNBOUNDED if high is None else float(high),
            )
        ]
    else:
        descriptor.integer_range = [
            IntegerRange(
                from_value=-INT64 if low is None else int(low),
                to_value=INT64 if high is None else int(high),
            )
        ]
    return descriptor

"""Values out of messages and into them, by the paths of the contract.

A path is a walk over attributes: `pose.position.x`, `points[0].positions[1]`, and by joint name
`position[finger_joint1]`, where the index is looked up in the names (`name` or `joint_names`) of
the nearest message on the way. The walk works alike on rclpy messages, on messages deserialised by
`rosbags` and on plain objects; nothing is imported or evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from roboalign_policy.core.contract.path import MissingJointError, SelectorError, parse_path

if TYPE_CHECKING:
    from roboalign_policy.core.contract.parts import Command, Field

_NAME_LISTS = ("name", "joint_names")


def names_of(msg: Any) -> Sequence[str]:
    """Return the joints that a message names; empty where it names none."""
    for attribute in _NAME_LISTS:
        names = getattr(msg, attribute, None)
        if isinstance(names, (list, tuple)):
            return names
    return ()


def _names(parents: list[Any], path: str) -> Sequence[str]:
    """Return the joint names of the nearest message on the way to the value."""
    for parent in reversed(parents):
        for attribute in _NAME_LISTS:
            names = getattr(parent, attribute, None)
            if names is not None and not isinstance(names, str):
                return list(names)
    raise SelectorError(
        f"path {path!r}: {type(parents[0]).__name__} has neither of "
        f"{' and '.join(_NAME_LISTS)} to look a joint up in"
    )


def _index(step: int | tuple[str], parents: list[Any], path: str) -> int:
    if isinstance(step, int):
        return step
    names = _names(parents, path)
    count = names.count(step[0])
    if count == 1:
        return names.index(step[0])
    named = f"in the message, which names {', '.join(map(repr, names)) or 'none'}"
    if count:  # which of its numbers is the joint's, nothing tells
        raise SelectorError(
            f"path {path!r}: joint {step[0]!r} stands {count} times {named}, expected once"
        )
    raise MissingJointError(f"path {path!r}: no joint {step[0]!r} {named}", names)


def _walk(msg: Any, steps: Sequence[str | int | tuple[str]], path: str, parents: list[Any]) -> Any:
    """Follow steps from a message; `parents` collects what was passed on the way."""
    here = msg
    for step in steps:
        if isinstance(step, str):
            parents.append(here)
            try:
                here = getattr(here, step)
            except AttributeError:
                raise SelectorError(
                    f"path {path!r}: {type(here).__name__} has no field {step!r}"
                ) from None
        else:
            index = _index(step, parents, path)
            if not hasattr(here, "__len__"):
                raise SelectorError(f"path {path!r}: {type(here).__name__} cannot be indexed")
            try:
                here = here[index]
            except IndexError:
                raise SelectorError(
                    f"path {path!r}: index {index} in a sequence of {len(here)}"
                ) from None
    return here


def read_path(msg: Any, path: str) -> Any:
    """Return the value at a path of a message.

    Args:
        msg: a message (rclpy, rosbags) or any object with the fields as attributes.
        path: as in `twist.linear.x` or `position[finger_joint1]`.

    Raises:
        SelectorError: the message has no such field, index or joint.
    """
    return _walk(msg, parse_path(path), path, [])


def write_path(msg: Any, path: str, value: Any) -> None:
    """Set the value at a path of a message, in place.

    A list may grow by one: an index equal to its length appends. Messages inside lists (such as
    `points[0]`) must be there already, since making one takes its class.

    Raises:
        SelectorError: the message has no such field, index or joint, or does not take the value.
    """
    *steps, last = parse_path(path)
    parents: list[Any] = []
    parent = _walk(msg, steps, path, parents)
    try:
        if isinstance(last, str):
            if not hasattr(parent, last):
                raise SelectorError(
                    f"path {path!r}: {type(parent).__name__} has no field {last!r}"
                )
            setattr(parent, last, value)
            return
        index = _index(last, parents, path)
        if index == len(parent) and hasattr(parent, "append"):
            parent.append(value)
        else:
            parent[index] = value
    except IndexError:
        raise SelectorError(
            f"path {path!r}: index {index} in a sequence of {len(parent)}"
        ) from None
    except (AssertionError, TypeError, AttributeError) as error:  # rclpy asserts field types
        raise SelectorError(
            f"path {path!r}: {type(parent).__name__} does not take {value!r}: {error}"
        ) from None


def number_at(msg: Any, path: str) -> float:
    """Return the number at a path; raises `SelectorError` as `read_path`."""
    value = read_path(msg, path)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise SelectorError(f"path {path!r}: {type(value).__name__} is not a number") from None


def vector_from_msg(msg: Any, fields: Sequence[Field]) -> np.ndarray:
    """Read the fields of a state stream from one message.

    Args:
        msg: the message.
        fields: fields of the contract; value = field * gain + offset.

    Returns:
        (D,) float32, in the units of the fields; non-finite values are kept for the resampler.

    Raises:
        SelectorError: the message lacks a field, index or joint, or holds something else there.
    """
    return np.array([number_at(msg, f.path) * f.gain + f.offset for f in fields], np.float32)


def values_from_command(msg: Any, command: Command) -> dict[str, float]:
    """Read the action dimensions that stand in one command message.

    Returns:
        Action value by dimension, in action units: field * gain + offset.

    Raises:
        SelectorError: the message lacks a field, index or joint, or holds something else there.
    """
    paths = command_paths(command, msg)
    return {
        dim: number_at(msg, path) * f.gain + f.offset
        for path, (dim, f) in zip(paths, command.fields.items(), strict=True)
    }


def command_paths(command: Command, msg: Any) -> list[str]:
    """Return the paths by which a command is read of a message.

    Where the message names its joints an index is one of the contract's `joint_names`: others may
    send these in another order, or other joints.
    """
    if not names_of(msg):
        return [field.path for field in command.fields.values()]
    return by_name(command)


def by_name(command: Command) -> list[str]:
    """Return the paths of a command for messages that name their joints."""
    return [_by_name(field.path, command.joint_names) for field in command.fields.values()]


@lru_cache(maxsize=1024)
def _by_name(path: str, joints: tuple[str, ...]) -> str:
    last = parse_path(path)[-1]
    if not isinstance(last, int) or last >= len(joints):
        return path
    return f"{path[: path.rindex('[')]}[{joints[last]}]"


def fill_command(msg: Any, command: Command, values: dict[str, float]) -> None:
    """Write action values into a command message, in place: field = (action - offset) / gain.

    Args:
        msg: the message; joint names, points and the header are the caller's.
        command: the command of the contract.
        values: action value by dimension, in action units; more dimensions than needed are fine.

    Raises:
        SelectorError: a dimension of the command is missing, or the message does not take it.
    """
    for dim, field in command.fields.items():
        if dim not in values:
            raise SelectorError(
                f"command {command.topic}: no value for {dim!r}, only for "
                f"{', '.join(values) or 'nothing'}"
            )
        write_path(msg, field.path, (float(values[dim]) - field.offset) / field.gain)


def stamp_ns_from_msg(msg: Any) -> int | None:
    """Return the header stamp of a message in ns, or None where its type has no header."""
    header = getattr(msg, "header", None)
    if header is None:
        return None
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)

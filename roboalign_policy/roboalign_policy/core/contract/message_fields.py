"""What is known of common message types: their header, their numbers and the units of these."""

from __future__ import annotations

import re

from roboalign_policy.core.contract.path import SelectorError, parse_path

_POSITION = ("m", "rad", "1")
_AXES = r"(?:x|y|z)\Z"
_QUATERNION = r"(?:x|y|z|w)\Z"
_ITEM = r"\[[^\[\]]+\]\Z"


def _pose(prefix: str) -> list[tuple[str, tuple[str, ...], str]]:
    return [
        (rf"{prefix}position\.{_AXES}", ("m",), f"{prefix}position.x"),
        (rf"{prefix}orientation\.{_QUATERNION}", ("1",), f"{prefix}orientation.w"),
    ]


def _pair(first: str, second: str, units: tuple[str, str]) -> list:
    return [
        (rf"{first}\.{_AXES}", (units[0],), f"{first}.x"),
        (rf"{second}\.{_AXES}", (units[1],), f"{second}.x"),
    ]


# type -> (pattern of a path, units its number can have, example).
# Source: the .msg files of common_interfaces, https://github.com/ros2/common_interfaces
_FIELDS: dict[str, list[tuple[str, tuple[str, ...], str]]] = {
    "sensor_msgs/msg/JointState": [
        (r"position" + _ITEM, _POSITION, "position[joint_name]"),
        (r"velocity" + _ITEM, ("m/s", "rad/s", "1"), "velocity[joint_name]"),
        (r"effort" + _ITEM, ("N", "N.m", "A", "1"), "effort[joint_name]"),
    ],
    "geometry_msgs/msg/PoseStamped": _pose("pose."),
    "geometry_msgs/msg/Pose": _pose(""),
    "geometry_msgs/msg/TwistStamped": _pair("twist.linear", "twist.angular", ("m/s", "rad/s")),
    "geometry_msgs/msg/Twist": _pair("linear", "angular", ("m/s", "rad/s")),
    "geometry_msgs/msg/WrenchStamped": _pair("wrench.force", "wrench.torque", ("N", "N.m")),
    "trajectory_msgs/msg/JointTrajectory": [
        (r"points\[[0-9]+\]\.positions" + _ITEM, _POSITION, "points[0].positions[0]"),
        (
            r"points\[[0-9]+\]\.velocities" + _ITEM,
            ("m/s", "rad/s", "1"),
            "points[0].velocities[0]",
        ),
    ],
    "std_msgs/msg/Float64MultiArray": [(r"data\[[0-9]+\]\Z", (), "data[0]")],
    "std_msgs/msg/Float32MultiArray": [(r"data\[[0-9]+\]\Z", (), "data[0]")],
    "std_msgs/msg/Float64": [(r"data\Z", (), "data")],
    "std_msgs/msg/Float32": [(r"data\Z", (), "data")],
}

_HEADERLESS = re.compile(
    r"std_msgs/msg/(?!Header\Z)\w+\Z|geometry_msgs/msg/(Twist|Pose|Point|Point32|Quaternion|"
    r"Vector3|Wrench|Transform|Accel|Inertia|Pose2D|Polygon)\Z|"
    r"trajectory_msgs/msg/\w+Point\Z|builtin_interfaces/msg/\w+\Z"
)


def has_header(message_type: str) -> bool:
    """Tell whether a message type has a header; True for types that are not known here."""
    return not _HEADERLESS.match(message_type)


def _entry(message_type: str, path: str) -> tuple[str, tuple[str, ...], str] | None:
    return next((e for e in _FIELDS.get(message_type, ()) if re.match(e[0], path)), None)


def path_fault(message_type: str, path: str) -> str | None:
    """Return what a path should look like, or None where it is right (or the type not known)."""
    try:
        parse_path(path)
    except SelectorError:
        return "field names joined by dots, each with optional [index] or [joint name]"
    if message_type not in _FIELDS or _entry(message_type, path):
        return None
    examples = ", ".join(entry[2] for entry in _FIELDS[message_type])
    return f"a number of {message_type}, such as {examples}"


def unit_fault(message_type: str, path: str, unit: str) -> str | None:
    """Return the units a message's number can have, or None where `unit` is one of them."""
    entry = _entry(message_type, path)
    if entry is None or not entry[1] or unit in entry[1]:
        return None
    return f"{' or '.join(entry[1])}, as {message_type} has it"

"""URDF texts of public arms, and their poses in closed form, for the tests of kinematics."""

from __future__ import annotations

import math

import numpy as np

UR_JOINTS = (
    *("shoulder_pan_joint", "shoulder_lift_joint", "elbow_joint"),
    *("wrist_1_joint", "wrist_2_joint", "wrist_3_joint"),
)
PANDA_JOINTS = tuple(f"panda_joint{number}" for number in range(1, 8))
HALF = math.pi / 2

UR_READY = (0.3, -1.4, 1.7, -1.9, -1.4, 0.2)
PANDA_READY = (0.1, -0.6, 0.1, -2.2, 0.1, 1.7, 0.8)
PLANAR_M = (0.4, 0.3)


def link(name: str) -> str:
    """A link with a mesh that is nowhere, and without inertia."""
    mesh = f'<geometry><mesh filename="package://nowhere/{name}.dae"/></geometry>'
    return f'<link name="{name}"><visual>{mesh}</visual><collision>{mesh}</collision></link>'


def joint(
    name: str,
    parent: str,
    child: str,
    xyz: tuple[float, ...] = (0, 0, 0),
    rpy: tuple[float, ...] = (0, 0, 0),
    kind: str = "fixed",
    limit: tuple[float, ...] | None = None,
    axis: str = "0 0 1",
    extra: str = "",
) -> str:
    """A joint; limit: lower, upper, velocity, effort."""
    moving = "" if kind == "fixed" else f'<axis xyz="{axis}"/>'
    if limit is not None:
        lower, upper, velocity, effort = limit
        moving += (
            f'<limit lower="{lower}" upper="{upper}" velocity="{velocity}" effort="{effort}"/>'
        )
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{_text(xyz)}" rpy="{_text(rpy)}"/>{moving}{extra}</joint>'
    )


def robot(name: str, *parts: str) -> str:
    """A whole text."""
    return f'<?xml version="1.0"?>\n<robot name="{name}">{"".join(parts)}</robot>'


def ur5e() -> str:
    """A UR5e as ur_description writes it, with a camera beside the tool.

    Source: Universal_Robots_ROS2_Description, config/ur5e/default_kinematics.yaml (nominal values)
    and joint_limits.yaml.
    """
    placings = (
        ((0, 0, 0.1625), (0, 0, 0)),
        ((0, 0, 0), (HALF, 0, 0)),
        ((-0.425, 0, 0), (0, 0, 0)),
        ((-0.3922, 0, 0.1333), (0, 0, 0)),
        ((0, -0.0997, 0), (HALF, 0, 0)),
        ((0, 0.0996, 0), (HALF, math.pi, math.pi)),
    )
    links = (
        *("base_link_inertia", "shoulder_link", "upper_arm_link", "forearm_link"),
        *("wrist_1_link", "wrist_2_link", "wrist_3_link"),
    )
    turns = (2 * math.pi, 2 * math.pi, math.pi, 2 * math.pi, 2 * math.pi, 2 * math.pi)
    efforts = (150, 150, 150, 28, 28, 28)
    names = ("world", "base_link", *links, "flange", "tool0", "camera")
    return robot(
        "ur5e",
        *(link(name) for name in names),
        joint("to_base", "world", "base_link", (1, 2, 3), (0.1, 0.2, 0.3)),
        joint("to_inertia", "base_link", "base_link_inertia", rpy=(0, 0, math.pi)),
        *(
            joint(
                *(UR_JOINTS[place], links[place], links[place + 1], xyz, rpy, "revolute"),
                (-turns[place], turns[place], math.pi, efforts[place]),
            )
            for place, (xyz, rpy) in enumerate(placings)
        ),
        joint("to_flange", "wrist_3_link", "flange", rpy=(0, -HALF, -HALF)),
        joint("to_tool0", "flange", "tool0", rpy=(HALF, 0, HALF)),
        joint("to_camera", "flange", "camera", (0.05, 0, 0.05)),
    )


def ur5e_pose(q: np.ndarray) -> np.ndarray:
    """(4, 4) tool0 in base_link_inertia from the maker's Denavit-Hartenberg table.

    Source: Universal Robots, "Parameters for calculations of kinematics and dynamics".
    """
    table = (
        *((0, 0.1625, HALF), (-0.425, 0, 0), (-0.3922, 0, 0)),
        *((0, 0.1333, HALF), (0, 0.0997, -HALF), (0, 0.0996, 0)),
    )
    pose = np.eye(4)
    for angle, (a, d, alpha) in zip(q, table, strict=True):
        pose = pose @ _turn_z(angle) @ _shift(0, 0, d) @ _shift(a, 0, 0) @ _turn_x(alpha)
    return pose


def panda() -> str:
    """A Franka Emika Panda with its hand; one finger follows the other.

    Source: franka_description, robots/fer/kinematics.yaml, and franka_ros,
    franka_description/robots/panda/joint_limits.yaml.
    """
    placings = (
        ((0, 0, 0.333), 0),
        ((0, 0, 0), -HALF),
        ((0, -0.316, 0), HALF),
        ((0.0825, 0, 0), HALF),
        ((-0.0825, 0.384, 0), -HALF),
        ((0, 0, 0), HALF),
        ((0.088, 0, 0), HALF),
    )
    limits = (
        *((-2.8973, 2.8973, 2.175, 87), (-1.7628, 1.7628, 2.175, 87)),
        *((-2.8973, 2.8973, 2.175, 87), (-3.0718, -0.0698, 2.175, 87)),
        *((-2.8973, 2.8973, 2.61, 12), (-0.0175, 3.7525, 2.61, 12), (-2.8973, 2.8973, 2.61, 12)),
    )
    links = (*(f"panda_link{number}" for number in range(9)), "panda_hand", "panda_hand_tcp")
    fingers = ("panda_leftfinger", "panda_rightfinger")
    stroke = (0.0, 0.04, 0.2, 20)
    return robot(
        "panda",
        *(link(name) for name in (*links, *fingers)),
        *(
            joint(
                *(PANDA_JOINTS[place], links[place], links[place + 1], xyz, (roll, 0, 0)),
                *("revolute", limits[place]),
            )
            for place, (xyz, roll) in enumerate(placings)
        ),
        joint("panda_joint8", links[7], links[8], (0, 0, 0.107)),
        joint("panda_hand_joint", links[8], links[9], rpy=(0, 0, -math.pi / 4)),
        joint("panda_hand_tcp_joint", links[9], links[10], (0, 0, 0.1034)),
        joint(
            *("panda_finger_joint1", links[9], fingers[0], (0, 0, 0.0584), (0, 0, 0)),
            *("prismatic", stroke, "0 1 0"),
        ),
        joint(
            *("panda_finger_joint2", links[9], fingers[1], (0, 0, 0.0584), (0, 0, 0)),
            *("prismatic", stroke, "0 -1 0", '<mimic joint="panda_finger_joint1"/>'),
        ),
    )


def panda_pose(q: np.ndarray) -> np.ndarray:
    """(4, 4) panda_link8 in panda_link0 from the maker's table (Craig's convention).

    Source: Franka Control Interface documentation, "Denavit-Hartenberg parameters".
    """
    table = (
        *((0, 0.333, 0), (0, 0, -HALF), (0, 0.316, HALF), (0.0825, 0, HALF)),
        *((-0.0825, 0.384, -HALF), (0, 0, HALF), (0.088, 0, HALF), (0, 0.107, 0)),
    )
    pose = np.eye(4)
    for angle, (a, d, alpha) in zip((*q, 0.0), table, strict=True):
        pose = pose @ _turn_x(alpha) @ _shift(a, 0, 0) @ _turn_z(angle) @ _shift(0, 0, d)
    return pose


def planar(limit: tuple[float, ...] = (-3.0, 3.0, 2.0, 10)) -> str:
    """Two links in the x-y plane, `PLANAR_M` long, and a fixed tip."""
    first, second = PLANAR_M
    return robot(
        "planar",
        *(link(name) for name in ("base", "upper", "lower", "tip")),
        joint("first", "base", "upper", kind="revolute", limit=limit),
        joint("second", "upper", "lower", (first, 0, 0), kind="revolute", limit=limit),
        joint("to_tip", "lower", "tip", (second, 0, 0)),
    )


def _text(values: tuple[float, ...]) -> str:
    return " ".join(repr(value) for value in values)


def _turn_z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def _turn_x(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]])


def _shift(x: float, y: float, z: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3] = (x, y, z)
    return pose

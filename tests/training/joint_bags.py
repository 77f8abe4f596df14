"""Bags of an arm driven by joint positions, with limits and rates in its contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from conversion_bags import write_rows
from demo_bags import STORE

from roboalign_policy.core.contract.contract import Contract, contract_from_dict

JOINTS = ("shoulder", "elbow")
START_NS = 1_750_000_000_000_000_000
IMAGE, STATES, COMMANDS = "/camera/image_raw", "/joint_states", "/arm/joint_trajectory"


def joint_contract(*, command_clock: str = "receive", **dim: float) -> Contract:
    """Two joints of at most 3 rad/s; `dim` is added to every dimension of the action."""
    limits = {"unit": "rad", "limits": [-3.2, 3.2], "max_rate": 3.0}
    return contract_from_dict({
        "schema": "roboalign-contract/1", "name": "two_joints", "base_frame": "base_link",
        "rate_hz": 10.0,
        "observations": [
            {"key": "image.front", "topic": IMAGE[1:], "type": "sensor_msgs/msg/Image",
             "shape": [8, 8, 3], "max_age_s": 0.3},
            {"key": "state.joints", "topic": STATES[1:], "type": "sensor_msgs/msg/JointState",
             "fields": [{"name": j, "path": f"position[{j}]", **limits} for j in JOINTS],
             "max_age_s": 0.3},
        ],
        "action": {
            "control_mode": "joint_position", "horizon": 4,
            "dims": [{"name": j, **limits, **dim} for j in JOINTS],
            "commands": [{
                "topic": COMMANDS[1:], "type": "trajectory_msgs/msg/JointTrajectory",
                "joint_names": list(JOINTS),
                "fields": {j: {"path": f"points[0].positions[{j}]"} for j in JOINTS},
                "align": {"method": "asof", "clock": command_clock, "tolerance_s": 0.08},
            }],
            "safe": "hold",
        },
    })  # fmt: skip


def pose(t: float) -> np.ndarray:
    """(2,) rad, where the arm is at t s: slow and smooth."""
    return np.array([0.4 * np.sin(t) + 1.2, 0.3 * np.cos(t) + 0.9])


def write_arm(
    path: Path,
    seconds: float = 4.0,
    *,
    image_ns: Callable[[int, int], int] = lambda n, ns: ns,
    state_ns: Callable[[int, int], int] = lambda n, ns: ns,
    state: Callable[[int, float], np.ndarray] = lambda n, t: pose(t),
    command: Callable[[int, float], np.ndarray] = lambda n, t: pose(t + 0.1),
    receive_ns: int = 0,
    prefix: str = "",
    task: str = "pick up the cube",
) -> Path:
    """Writes one MCAP file: images and commands at 10 Hz, joint states at 50 Hz.

    `image_ns` and `state_ns` give the stamp of the n-th message that is made at ns; `receive_ns`
    is added to all times of receipt; commands carry the time of their making.
    """
    t = STORE.types
    rows: list[tuple[int, str, object]] = []

    def header(ns: int):
        time = t["builtin_interfaces/msg/Time"](int(ns // 10**9), int(ns % 10**9))
        return t["std_msgs/msg/Header"](time, "")

    none = np.zeros(0)
    for n in range(round(seconds * 10)):
        ns = START_NS + n * 100_000_000
        pixels = np.full(8 * 8 * 3, n % 256, np.uint8)
        image = t["sensor_msgs/msg/Image"](header(image_ns(n, ns)), 8, 8, "rgb8", 0, 24, pixels)
        rows.append((ns + 3_000_000, prefix + IMAGE, image))
        point = t["trajectory_msgs/msg/JointTrajectoryPoint"](
            np.array(command(n, n / 10), float), none, none, none,
            t["builtin_interfaces/msg/Duration"](0, 100_000_000))  # fmt: skip
        goal = t["trajectory_msgs/msg/JointTrajectory"](header(ns), list(JOINTS), [point])
        rows.append((ns + 20_000_000, prefix + COMMANDS, goal))
    for n in range(round(seconds * 50)):
        ns = START_NS + n * 20_000_000
        angles = np.array(state(n, n / 50), float)
        rows.append((ns + 200_000, prefix + STATES, t["sensor_msgs/msg/JointState"](
            header(state_ns(n, ns)), list(JOINTS), angles, none, none)))  # fmt: skip
    if task:
        rows.append((START_NS, prefix + "/task", t["std_msgs/msg/String"](task)))
    rows.sort(key=lambda row: row[0])
    write_rows(path, [(ns + receive_ns, topic, message) for ns, topic, message in rows])
    return path

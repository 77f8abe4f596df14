"""Numpy to messages: images, joint states, poses and clocks; commands are in ``chunk_msgs``."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import PoseStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from roboalign_policy.ros.stamps import ns_to_stamp


def image_to_msg(pixels: np.ndarray, stamp_ns: int, frame_id: str) -> Image:
    """Image message of a picture.

    Args:
        pixels: (H, W, 3) uint8 rgb.
        stamp_ns: ns; time of the picture.
        frame_id: optical frame of the camera.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image: found {pixels.dtype} {pixels.shape}, expected uint8 (H, W, 3)")
    height, width, _ = pixels.shape
    msg = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    msg.header.stamp, msg.header.frame_id = ns_to_stamp(stamp_ns), frame_id
    msg.data = array.array("B", pixels.tobytes())  # a list would take a hundred times as long
    return msg


def joint_state_to_msg(
    names: Sequence[str], positions: np.ndarray, stamp_ns: int, frame_id: str = ""
) -> JointState:
    """JointState message.

    Args:
        names: J joint names.
        positions: (J,) float, rad or m.
        stamp_ns: ns; time of the measurement.
        frame_id: rarely needed for joints.
    """
    if len(names) != len(positions):
        raise ValueError(f"joint state: found {len(positions)} positions, expected {len(names)}")
    msg = JointState(name=list(names), position=[float(value) for value in positions])
    msg.header.stamp, msg.header.frame_id = ns_to_stamp(stamp_ns), frame_id
    return msg


def pose_to_msg(
    position: np.ndarray, rotvec: np.ndarray, stamp_ns: int, frame_id: str
) -> PoseStamped:
    """PoseStamped message.

    Args:
        position: (3,) float, m, in ``frame_id``.
        rotvec: (3,) float, rad, rotation vector in ``frame_id``.
        stamp_ns: ns; time of the measurement.
        frame_id: frame of the pose.
    """
    msg = PoseStamped()
    msg.header.stamp, msg.header.frame_id = ns_to_stamp(stamp_ns), frame_id
    place, turn = msg.pose.position, msg.pose.orientation
    place.x, place.y, place.z = (float(value) for value in position)
    turn.x, turn.y, turn.z, turn.w = quaternion_from_rotvec(rotvec)
    return msg


def quaternion_from_rotvec(rotvec: np.ndarray) -> tuple[float, float, float, float]:
    """Unit quaternion (x, y, z, w) of a rotation vector.

    Args:
        rotvec: (3,) float, rad.
    """
    x, y, z = (float(value) for value in rotvec)
    angle = math.sqrt(x * x + y * y + z * z)
    # sin(a / 2) / a, by its series where the quotient would lose its digits
    factor = 0.5 - angle * angle / 48 if angle < 1e-4 else math.sin(angle / 2) / angle
    return x * factor, y * factor, z * factor, math.cos(angle / 2)


def clock_to_msg(stamp_ns: int) -> Clock:
    """Clock message of a time in ns."""
    return Clock(clock=ns_to_stamp(stamp_ns))

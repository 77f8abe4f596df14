"""The steady motion that faults interrupt: a circle, whose speed is never zero. Pure numpy."""

from __future__ import annotations

import math

import numpy as np

from fault_campaign.contracts import CENTRE_M, JOINT_CONTRACT, RATE_HZ, STEP_M

TURN_RAD_S = 1.5
#: Units of the twist contract a step; radius of the circle that this makes, m.
STEP = 0.4
RADIUS_M = STEP * STEP_M * RATE_HZ / TURN_RAD_S
RADIUS_RAD = 0.25
_PULL = 0.05  # units a step for each centimetre off the circle


def home(name: str) -> tuple[float, float, float]:
    """Where a robot starts: (x, y, z) in m or joints (a, b, c) in rad, on the circle."""
    if name == JOINT_CONTRACT:
        return (RADIUS_RAD, 0.0, 0.0)
    return (CENTRE_M[0] + RADIUS_M, CENTRE_M[1], CENTRE_M[2])


def twist_steps(position_m: np.ndarray, count: int) -> np.ndarray:
    """(T, 4) float32 steps dx, dy, dz, gripper along the circle, from a measured position (3,)."""
    x, y, z = np.asarray(position_m, float) - CENTRE_M
    radius_m, phase = math.hypot(x, y), math.atan2(y, x)
    phases = phase + TURN_RAD_S / RATE_HZ * np.arange(1, count + 1)
    inwards = float(np.clip(_PULL * 100 * (radius_m - RADIUS_M), -0.2, 0.2))
    steps = np.full((count, 4), -1.0, np.float32)
    steps[:, 0] = -STEP * np.sin(phases) - inwards * np.cos(phases)
    steps[:, 1] = STEP * np.cos(phases) - inwards * np.sin(phases)
    steps[:, 2] = float(np.clip(-_PULL * 100 * z, -0.2, 0.2))
    return steps


def joint_targets(joints_rad: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(T, 3) float32 positions in rad on the circle, ``times_s`` (T,) from the measured (3,)."""
    phase = math.atan2(float(joints_rad[1]), float(joints_rad[0]))
    phases = phase + TURN_RAD_S * np.asarray(times_s, float)
    return np.stack(
        [RADIUS_RAD * np.cos(phases), RADIUS_RAD * np.sin(phases), np.zeros_like(phases)], axis=1
    ).astype(np.float32)


def way_out(position_m: np.ndarray) -> tuple[int, float]:
    """Axis (0 or 1) and sign in which an end effector on the circle is moving fastest."""
    x, y = np.asarray(position_m, float)[:2] - CENTRE_M[:2]
    speed = np.array([-y, x])
    axis = int(np.argmax(np.abs(speed)))
    return axis, float(np.sign(speed[axis]))

"""Rotation vectors: axis times angle in rad, in the frame that the matrix maps to."""

from __future__ import annotations

import mujoco
import numpy as np


def rotation_from_rotvec(rotvec: np.ndarray) -> np.ndarray:
    """(3, 3) float64 rotation matrix of a rotation vector (3,) rad."""
    angle = float(np.linalg.norm(rotvec))
    quat, matrix = np.zeros(4), np.zeros(9)
    axis = rotvec / angle if angle > 0 else np.array([1.0, 0.0, 0.0])
    mujoco.mju_axisAngle2Quat(quat, axis, angle)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def rotvec_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Rotation vector (3,) float64 rad, of length at most pi, of a rotation matrix (3, 3)."""
    quat, rotvec = np.zeros(4), np.zeros(3)
    mujoco.mju_mat2Quat(quat, np.ascontiguousarray(rotation).ravel())
    mujoco.mju_quat2Vel(rotvec, quat, 1.0)
    return rotvec

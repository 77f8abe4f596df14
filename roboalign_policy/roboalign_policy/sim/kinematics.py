"""Damped least-squares inverse kinematics of the arm, on a scratch state of its own."""

from __future__ import annotations

import mujoco
import numpy as np

from roboalign_policy.sim.arm_model import HOME_JOINTS_RAD

ARM_JOINTS = 7
_DAMPING = 0.01
_STEP_LIMIT_RAD = 0.35
_POSTURE_GAIN = 0.05
_TOLERANCE = 1e-4


class ArmKinematics:
    """Inverse kinematics of the tool frame; leaves the simulated state alone."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._site = model.site("tool").id
        self._low, self._high = (
            model.jnt_range[:ARM_JOINTS, 0].copy(),
            model.jnt_range[:ARM_JOINTS, 1].copy(),
        )
        self._home = np.asarray(HOME_JOINTS_RAD)
        self._jacobian = np.zeros((6, model.nv))
        self._quat = np.zeros(4)
        self._error = np.zeros(6)

    def inverse(
        self, position: np.ndarray, rotation: np.ndarray, start: np.ndarray, iterations: int = 12
    ) -> np.ndarray:
        """Joints that bring the tool to a pose, as near as limits and iterations allow.

        Args:
            position: (3,) m in base_link.
            rotation: (3, 3) in base_link; the identity is a gripper that points straight down.
            start: (7,) rad, where the search begins.
            iterations: greatest number of steps.

        Returns:
            (7,) float64 rad, within the joint limits.

        Source: Wampler 1986 (damped least squares); a posture term in the null space.
        """
        joints = np.clip(start, self._low, self._high)
        target = np.zeros(4)
        mujoco.mju_mat2Quat(target, np.ascontiguousarray(rotation).ravel())
        for _ in range(iterations):
            self._data.qpos[:ARM_JOINTS] = joints
            mujoco.mj_kinematics(self._model, self._data)
            self._error[:3] = position - self._data.site_xpos[self._site]
            mujoco.mju_mat2Quat(self._quat, self._data.site_xmat[self._site])
            self._error[3:] = _rotation_between(self._quat, target)
            if np.abs(self._error).max() < _TOLERANCE:
                break
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(
                self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site
            )
            jacobian = self._jacobian[:, :ARM_JOINTS]
            inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6))
            posture = _POSTURE_GAIN * (self._home - joints)
            step = inverse @ (self._error - jacobian @ posture) + posture
            largest = np.abs(step).max()
            if largest > _STEP_LIMIT_RAD:
                step *= _STEP_LIMIT_RAD / largest
            joints = np.clip(joints + step, self._low, self._high)
        return joints


def _rotation_between(quat: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation vector (3,) rad in the base frame that turns `quat` into `target`."""
    turn, conjugate, vector = np.zeros(4), np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(conjugate, quat)
    mujoco.mju_mulQuat(turn, target, conjugate)
    mujoco.mju_quat2Vel(vector, turn, 1.0)
    return vector

"""Deltas of the end effector, one after the other, from the pose that was commanded last."""

from __future__ import annotations

import math

import numpy as np

from roboalign_policy.kinematics.arm import ArmSolver, StepResult
from roboalign_policy.kinematics.pose_search import Pose


class DeltaIntegrator:
    """Adds steps to the pose commanded last, not to the measured one.

    So a load that bends the arm, a controller that lags and the rounding of one step never become
    a drift, and a zero step holds still. What it cannot see is an arm that does not follow:
    whoever drives compares `joints` with the measured ones, and calls `start` after a stop.
    """

    def __init__(self, solver: ArmSolver, period_s: float) -> None:
        """Has no pose yet: `start` gives it one.

        Args:
            solver: the arm.
            period_s: time between two steps, for the joints' speeds.

        Raises:
            ValueError: the period is not a time above 0.
        """
        if not (math.isfinite(period_s) and period_s > 0):
            raise ValueError(f"period_s: found {period_s!r}, expected a time above 0")
        self._solver = solver
        self._period_s = period_s
        self._state: tuple[np.ndarray, Pose] | None = None

    @property
    def joints(self) -> np.ndarray:
        """(n,) joints commanded last, rad (prismatic: m).

        Raises:
            RuntimeError: it has not been started.
        """
        return self._started()[0].copy()

    @property
    def pose(self) -> Pose:
        """Pose commanded last, in the base's frame.

        Raises:
            RuntimeError: it has not been started.
        """
        pose = self._started()[1]
        return Pose(pose.position.copy(), pose.rotation.copy())

    def start(self, q_measured: np.ndarray) -> None:
        """Begin, or begin again, where the arm is.

        Args:
            q_measured: (n,) in the order of the solver's `joint_names`.

        Raises:
            ValueError: another shape, a value that is not finite or beyond the URDF's limits; it
                is then not started.
        """
        self._state = None
        pose = self._solver.forward(q_measured)
        q = np.array(q_measured, dtype=np.float64)
        outside = self._solver.bounds.outside(q)
        if outside:
            raise ValueError(f"q_measured: {outside}")
        self._state = (self._solver.bounds.clipped(q), pose)

    def advance(self, delta: np.ndarray) -> StepResult:
        """One step further.

        Args:
            delta: (6,) as of `ArmSolver.step`.

        Returns:
            The result. A refused step changes nothing: its `q_target` is the target commanded
            last, and a step that leads back from the limit or the singularity is still possible.

        Raises:
            ValueError: as of `ArmSolver.step`; nothing has changed then.
            RuntimeError: it has not been started.
        """
        q, pose = self._started()
        result, pose = self._solver.step_from(q, pose, delta, self._period_s)
        self._state = (result.q_target.copy(), pose)
        return result

    def _started(self) -> tuple[np.ndarray, Pose]:
        if self._state is None:
            raise RuntimeError("the integrator has no pose: call start with the measured joints")
        return self._state

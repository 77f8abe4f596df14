"""Search for the joints that bring the tip to a pose near by, within bounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from roboalign_policy.core.keys import EE_DIMS
from roboalign_policy.kinematics.chain_model import ChainModel
from roboalign_policy.kinematics.damped_step import damped_step, smallest_singular_value
from roboalign_policy.kinematics.joint_bounds import JointBounds
from roboalign_policy.kinematics.rotation import rotation_from_rotvec, rotvec_from_rotation

CONVERGED = 1e-8  # m and rad
_ITERATIONS = 10
_STALLED = 0.95  # an iteration that leaves more than this share of the error brings nothing more


class Pose(NamedTuple):
    """A pose of the tip in the base's frame: position (3,) m, rotation (3, 3)."""

    position: np.ndarray
    rotation: np.ndarray

    def moved(self, delta: np.ndarray) -> Pose:
        """The pose after a step (6,): dx dy dz in m, then a rotation vector in rad.

        Both are in the base's frame: the new rotation is exp(rotation vector) times the old one.
        """
        return Pose(self.position + delta[:3], rotation_from_rotvec(delta[3:]) @ self.rotation)

    def step_to(self, other: Pose) -> np.ndarray:
        """The step (6,) after which `moved` gives the other pose."""
        turn = rotvec_from_rotation(other.rotation @ self.rotation.T)
        return np.concatenate([other.position - self.position, turn])


class SearchEnd(NamedTuple):
    """Where a search ended.

    Attributes:
        joints: (n,) the last ones, within the bounds.
        pose: where they bring the tip.
        error: (6,) step from there to the pose that was sought, m and rad; 0 in free axes.
        held: (n,) bool, joints that their bounds stopped at last.
        smallest: least singular value met.
        haste: greatest change of a joint over what its speed allows. Above 1 the search was given
            up there, and pose and error are of the joints before.
    """

    joints: np.ndarray
    pose: Pose
    error: np.ndarray
    held: np.ndarray
    smallest: float
    haste: float


class PoseSearch:
    """Newton's method with damped steps; not for several threads."""

    def __init__(
        self,
        chain: ChainModel,
        bounds: JointBounds,
        axes: Sequence[str],
        damping: float,
        singular_below: float,
        tolerance: float,
    ) -> None:
        """Takes what stays the same from search to search; the arguments are `ArmSolver`'s."""
        self._chain, self._bounds = chain, bounds
        self._commanded = np.array([name in axes for name in EE_DIMS])
        # Metres and radians do not compare; in units of the reach one threshold fits arms of all
        # sizes. Source: Tandirci, Angeles & Ranjbaran 1992 ("characteristic length").
        weights = np.where(np.arange(6) < 3, 1.0 / chain.reach_m, 1.0)
        self._weights = weights[self._commanded]
        self._damping, self._singular_below = damping, singular_below
        self._tolerance = tolerance

    def singularity(self, q: np.ndarray) -> float:
        """Least singular value at joints q (n,), positions in units of the reach."""
        self._chain.forward(q)
        return smallest_singular_value(self._weighted_jacobian())

    def run(self, q: np.ndarray, guess: np.ndarray, target: Pose, most: np.ndarray) -> SearchEnd:
        """Look for joints that bring the tip to a pose.

        Args:
            q: (n,) joints now, within the URDF's limits.
            guess: (n,) where the search begins.
            target: the pose sought.
            most: (n,) greatest distance of each joint from q.
        """
        low, high = self._bounds.around(q)
        joints, held = guess, np.zeros(len(q), bool)
        smallest, haste, before = math.inf, 0.0, math.inf
        for iteration in range(_ITERATIONS + 1):
            pose = Pose(*self._chain.forward(joints))
            error = np.where(self._commanded, pose.step_to(target), 0.0)
            size = float(np.abs(error).max())
            # The first step is always tried, so that the singular value is that of the start.
            if iteration > 0 and (size <= CONVERGED or self._hopeless(size, before, iteration)):
                break
            step, held, value = damped_step(
                self._weighted_jacobian(),
                self._weights * error[self._commanded],
                low - joints,
                high - joints,
                self._damping,
                self._singular_below,
            )
            smallest, before = min(smallest, value), size
            # Rounding must not carry a joint over its bound.
            joints = np.clip(joints + step, low, high)
            haste = float((np.abs(joints - q) / most).max())
            if haste > 1.0:
                break
        return SearchEnd(joints, pose, error, held, smallest, haste)

    def _hopeless(self, size: float, before: float, iteration: int) -> bool:
        """Whether more iterations would not bring an error of this size below the tolerance."""
        left, rate = _ITERATIONS - iteration, size / before
        if iteration < 3:  # the first ones may lead astray where the chain bends much
            return False
        return left == 0 or rate > _STALLED or size * rate**left > self._tolerance

    def _weighted_jacobian(self) -> np.ndarray:
        return self._weights[:, None] * self._chain.jacobian()[self._commanded]

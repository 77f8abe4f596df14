"""Steps of the end effector to joint targets, by damped least squares on the robot's URDF."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from roboalign_policy.core.keys import EE_DIMS
from roboalign_policy.kinematics.chain_model import ChainModel
from roboalign_policy.kinematics.joint_bounds import joint_bounds
from roboalign_policy.kinematics.pose_search import CONVERGED, Pose, PoseSearch, SearchEnd
from roboalign_policy.kinematics.urdf import UrdfRobot

# What is outside is no arm, or a URDF in millimetres.
_REACH_M = (0.01, 50.0)
# By how much a step is shortened beyond what its haste asks for, until it is slow enough.
_SHORTER = (0.99, 0.98, 0.95, 0.9, 0.7, 0.5)
_LEAST_SHARE = 0.05  # where a singular arm can do no more than this of a step, it stops


class StepResult(NamedTuple):
    """What became of one step.

    Attributes:
        q_target: (n,) float64 rad (prismatic: m), where the joints are to go; where they were if
            the step was refused.
        reached: whether the tool gets where `scaled` of the step takes it. If not, the caller
            stops.
        reason: why the step was refused or shortened; else empty.
        singularity: least singular value of the Jacobian met, with positions in units of the arm's
            reach; 0 at a singularity.
        scaled: share of the step that the joints' speeds allow, up to 1; 0 if it was refused.
    """

    q_target: np.ndarray
    reached: bool
    reason: str
    singularity: float
    scaled: float


class ArmSolver:
    """Kinematics of the chain from base to tip; not for several threads.

    Attributes:
        joint_names: the order of all (n,) arrays.
        axes: the parts of a step that are obeyed, of `EE_DIMS`; the others are left free.
        bounds: how far and how fast the joints may go.
    """

    def __init__(
        self,
        robot: UrdfRobot,
        base: str,
        tip: str,
        joint_names: Sequence[str],
        *,
        axes: Sequence[str] = EE_DIMS,
        damping: float = 0.02,
        singular_below: float = 0.05,
        limit_margin_rad: float = 0.01,
        limit_margin_m: float = 0.001,
        velocity_share: float = 1.0,
        tolerance: float = 1e-5,
    ) -> None:
        """Builds the model.

        Args:
            robot: the robot.
            base: link in whose frame steps are given.
            tip: link that they move, its origin and its orientation.
            joint_names: every moving joint between them, in the order wanted.
            axes: which of `EE_DIMS` a step commands; an arm needs as many joints.
            damping: greatest damping factor, at a singularity.
            singular_below: least singular value below which damping begins.
            limit_margin_rad: distance that revolute joints keep from their limits.
            limit_margin_m: distance that prismatic joints keep from theirs.
            velocity_share: share of the URDF's speeds that is used, above 0 and at most 1.
            tolerance: m and rad by which a pose may be missed and still count as reached.

        Raises:
            UrdfError: base or tip is not in the robot, or base does not carry tip.
            ValueError: the joints are not those of the chain, or a joint cannot be driven, or a
                number is out of its range.
        """
        _check_above("damping", damping, 0.0, 1.0)
        _check_above("singular_below", singular_below, 0.0, 1.0)
        _check_above("tolerance", tolerance, CONVERGED, 0.01)
        chain = robot.chain(base, tip)
        place = f"{robot.source}: from {base!r} to {tip!r}"
        self.bounds = joint_bounds(
            chain, joint_names, place, limit_margin_rad, limit_margin_m, velocity_share
        )
        self.joint_names = self.bounds.names
        self.axes = tuple(name for name in EE_DIMS if name in axes)
        if not axes or sorted(self.axes) != sorted(axes):
            raise ValueError(f"axes: found {list(axes)}, expected some of {list(EE_DIMS)}, once")
        if len(self.joint_names) < len(self.axes):
            raise ValueError(
                f"{place}: found {len(self.joint_names)} joints for {len(self.axes)} axes "
                f"({', '.join(self.axes)}), expected at least as many"
            )
        self._chain = ChainModel(chain, self.joint_names)
        if not _REACH_M[0] <= self._chain.reach_m <= _REACH_M[1]:
            raise ValueError(
                f"{place}: found an arm that reaches {self._chain.reach_m:g} m, expected "
                f"{_REACH_M[0]:g} to {_REACH_M[1]:g} m"
            )
        self._singular_below, self._tolerance = singular_below, tolerance
        self._search = PoseSearch(
            self._chain, self.bounds, self.axes, damping, singular_below, tolerance
        )

    def forward(self, q: np.ndarray) -> Pose:
        """Position (3,) m and rotation (3, 3) of the tip in the base's frame at joints q (n,)."""
        return Pose(*self._chain.forward(self._joints(q)))

    def jacobian(self, q: np.ndarray) -> np.ndarray:
        """(6, n): change of the tip, m and rad in the base's frame, a unit of each joint."""
        self._chain.forward(self._joints(q))
        return self._chain.jacobian()

    def step(self, q: np.ndarray, delta: np.ndarray, period_s: float) -> StepResult:
        """Joint targets that move the tip by one step from where joints q bring it.

        Args:
            q: (n,) joints as commanded last, rad (prismatic: m).
            delta: (6,) dx dy dz in m and the rotation vector droll dpitch dyaw in rad, in the
                base's frame: the new rotation is exp(rotation vector) times the old one.
            period_s: time for the step.

        Raises:
            ValueError: another shape, a value that is not finite, a part that `axes` leaves out
                and that is not 0, a rotation of pi or more, or no positive time.
        """
        return self.step_from(q, self.forward(q), delta, period_s)[0]

    def step_from(
        self, q: np.ndarray, pose: Pose, delta: np.ndarray, period_s: float
    ) -> tuple[StepResult, Pose]:
        """As `step`, but from the pose that was to be reached; that way errors do not add up.

        Args:
            q: (n,) joints as commanded last.
            pose: where they were to bring the tip.
            delta: (6,) the step.
            period_s: time for the step.

        Returns:
            The result, and the pose that was to be reached now: the same if it was refused.

        Raises:
            ValueError: as of `step`.
        """
        q, delta = self._joints(q), self._delta(delta)
        if not (math.isfinite(period_s) and period_s > 0):
            raise ValueError(f"period_s: found {period_s!r}, expected a time above 0")
        outside = self.bounds.outside(q)
        if outside:
            return StepResult(q, False, outside, self._search.singularity(q), 0.0), pose
        q = self.bounds.clipped(q)
        if not delta.any():
            return StepResult(q, True, "", self._search.singularity(q), 1.0), pose
        search, share = self._slow_enough(q, pose, delta, period_s)
        fault = self._fault(search, share)
        if fault:
            return StepResult(q, False, fault, search.smallest, 0.0), pose
        reason = "" if share == 1.0 else f"shortened to {share:.3g} by the joints' speeds"
        result = StepResult(search.joints, True, reason, search.smallest, share)
        # Commanded axes are to be where the step took them, free ones where they came to lie.
        return result, search.pose.moved(search.error)

    def _slow_enough(
        self, q: np.ndarray, pose: Pose, delta: np.ndarray, period_s: float
    ) -> tuple[SearchEnd, float]:
        """The search for the greatest share of a step that the speeds allow, and the share."""
        most = self.bounds.velocity * period_s
        share, smallest = 1.0, math.inf
        search = self._search.run(q, q, pose.moved(delta), most)
        for shorter in _SHORTER:
            smallest = min(smallest, search.smallest)
            if search.haste <= 1.0:
                break
            part = shorter / search.haste
            share *= part
            guess = q + part * (search.joints - q)
            search = self._search.run(q, guess, pose.moved(share * delta), most)
        return search._replace(smallest=min(smallest, search.smallest)), share

    def _fault(self, search: SearchEnd, share: float) -> str:
        """Why the joints of a search must not be commanded; empty if they may."""
        missed = np.abs(search.error).max() > self._tolerance
        singular = search.smallest < self._singular_below
        if search.haste <= 1.0 and not missed and not (singular and share < _LEAST_SHARE):
            return ""
        slow = search.haste > 1.0 or not missed
        causes = [self.bounds.at_bounds(search.joints, search.held)]
        if singular:
            causes.append(
                f"the arm is nearly singular (least singular value {search.smallest:.2g}, "
                f"damped below {self._singular_below:g})"
            )
        causes.append("the joints are too slow" if slow else "the pose is out of reach")
        cause = next(filter(None, causes))
        if slow:
            return f"{cause}: less than {share:.2g} of the step is within the joints' speeds"
        left_m, left_rad = np.linalg.norm(search.error[:3]), np.linalg.norm(search.error[3:])
        return f"{cause}: {left_m:.3g} m and {left_rad:.3g} rad of the step would be left undone"

    def _joints(self, q: np.ndarray) -> np.ndarray:
        return _finite_array("q", q, len(self.joint_names))

    def _delta(self, delta: np.ndarray) -> np.ndarray:
        step = _finite_array("delta", delta, 6)
        for name, value in zip(EE_DIMS, step.tolist(), strict=True):
            if value != 0 and name not in self.axes:
                obeyed = ", ".join(self.axes)
                raise ValueError(
                    f"delta: {name}: found {value:g}, expected 0: obeyed are {obeyed}"
                )
        if float(np.linalg.norm(step[3:])) >= math.pi:
            raise ValueError(f"delta: found a turn by {step[3:].tolist()} rad, expected below pi")
        return step


def _finite_array(key: str, values: np.ndarray, length: int) -> np.ndarray:
    """A copy, so that nothing a caller does afterwards changes a target."""
    array = np.array(values, dtype=np.float64)
    if array.shape != (length,):
        raise ValueError(f"{key}: found shape {array.shape}, expected ({length},)")
    if not np.isfinite(array).all():
        raise ValueError(f"{key}: found {array.tolist()}, expected finite values")
    return array


def _check_above(key: str, value: float, low: float, high: float) -> None:
    if not low < value <= high:
        raise ValueError(f"{key}: found {value!r}, expected above {low:g}, at most {high:g}")

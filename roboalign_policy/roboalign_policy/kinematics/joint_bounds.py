"""How far and how fast the joints of an arm may go, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roboalign_policy.kinematics.urdf_joint import PRISMATIC, UrdfJoint

# rad and m: what rounding to float32 does to a joint that stands at its limit.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class JointBounds:
    """Bounds of n joints; rad and rad/s (prismatic: m and m/s).

    Attributes:
        names: the order of the arrays.
        low: (n,) lower limits of the URDF; -inf for continuous joints.
        high: (n,) upper limits.
        margin: (n,) distance that targets keep from the limits.
        velocity: (n,) greatest speeds.
        units: "rad" or "m" by joint.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    margin: np.ndarray
    velocity: np.ndarray
    units: tuple[str, ...]

    def outside(self, q: np.ndarray) -> str:
        """Which of the joints q (n,) are beyond the URDF's limits; empty if none is."""
        faults = []
        beyond = (q < self.low - _ROUNDING) | (q > self.high + _ROUNDING)
        for place in np.flatnonzero(beyond):
            name, unit = self.names[place], self.units[place]
            faults.append(
                f"joint {name!r}: found {q[place]:.5g} {unit}, expected {self.low[place]:.5g} to "
                f"{self.high[place]:.5g} {unit}"
            )
        return "; ".join(faults)

    def clipped(self, q: np.ndarray) -> np.ndarray:
        """Joints (n,) that are not `outside`, without what rounding added to them."""
        return np.clip(q, self.low, self.high)

    def around(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest targets (n,) of joints that are at q (n,), within the limits.

        A joint that is nearer to its limit than the margin may stay or come back.
        """
        return np.minimum(self.low + self.margin, q), np.maximum(self.high - self.margin, q)

    def at_bounds(self, q: np.ndarray, held: np.ndarray) -> str:
        """Says of the joints that were `held` (n,) at q (n,) which limit it is."""
        faults = []
        for place in np.flatnonzero(held):
            upper = abs(self.high[place] - q[place]) < abs(q[place] - self.low[place])
            side, limit = ("upper", self.high) if upper else ("lower", self.low)
            unit = self.units[place]
            faults.append(
                f"joint {self.names[place]!r} within {self.margin[place]:g} {unit} of its {side} "
                f"limit, {limit[place]:.5g} {unit}"
            )
        return ", ".join(faults)


def joint_bounds(
    chain: Sequence[UrdfJoint],
    joint_names: Sequence[str],
    place: str,
    margin_rad: float,
    margin_m: float,
    velocity_share: float,
) -> JointBounds:
    """Bounds of the moving joints of a chain.

    Args:
        chain: joints from base to tip.
        joint_names: the moving ones among them, in the order wanted.
        place: names the chain in messages.
        margin_rad: distance that revolute joints keep from their limits.
        margin_m: distance that prismatic joints keep from theirs.
        velocity_share: share of the stated speeds, above 0 and at most 1.

    Raises:
        ValueError: the names are not those of the chain, or a joint among them cannot be driven.
    """
    for key, margin in (("limit_margin_rad", margin_rad), ("limit_margin_m", margin_m)):
        if not 0.0 <= margin <= 1.0:
            raise ValueError(f"{key}: found {margin!r}, expected 0 to 1")
    if not 0.0 < velocity_share <= 1.0:
        raise ValueError(f"velocity_share: found {velocity_share!r}, expected above 0, at most 1")
    moving = {joint.name: joint for joint in chain if joint.moves}
    _check_names(chain, moving, joint_names, place)
    joints = [moving[name] for name in joint_names]
    margins = [margin_m if joint.type == PRISMATIC else margin_rad for joint in joints]
    for joint, margin in zip(joints, margins, strict=True):
        _check_joint(joint, margin, place)
    limits = [joint.limits for joint in joints if joint.limits is not None]
    return JointBounds(
        names=tuple(joint_names),
        low=np.array([limit.low for limit in limits]),
        high=np.array([limit.high for limit in limits]),
        margin=np.array(margins),
        velocity=np.array([limit.velocity for limit in limits]) * velocity_share,
        units=tuple("m" if joint.type == PRISMATIC else "rad" for joint in joints),
    )


def _check_names(
    chain: Sequence[UrdfJoint],
    moving: dict[str, UrdfJoint],
    joint_names: Sequence[str],
    place: str,
) -> None:
    for joint in chain:
        if joint.type in ("floating", "planar"):
            raise ValueError(
                f"{place}: joint {joint.name!r}: type: found {joint.type}, expected a joint that "
                "one number places"
            )
    unknown = [name for name in joint_names if name not in moving]
    if unknown:
        raise ValueError(
            f"{place}: joint_names: found {unknown}, expected the moving joints {list(moving)}"
        )
    missing = [name for name in moving if name not in joint_names]
    if missing or not moving:
        raise ValueError(
            f"{place}: joint_names: found {list(joint_names)} without {missing}, expected all "
            f"moving joints of the chain, {list(moving)}"
        )
    if len(set(joint_names)) < len(joint_names):
        raise ValueError(f"{place}: joint_names: found {list(joint_names)}, expected each once")


def _check_joint(joint: UrdfJoint, margin: float, place: str) -> None:
    where = f"{place}: joint {joint.name!r}"
    limits = joint.limits
    if joint.mimic is not None:
        raise ValueError(
            f"{where}: found that it follows joint {joint.mimic.joint!r}, expected a joint that "
            "is driven itself"
        )
    if limits is None or not 0.0 < limits.velocity < math.inf:
        found = None if limits is None else limits.velocity
        raise ValueError(
            f"{where}: velocity: found {found}, expected a finite limit above 0 in the URDF"
        )
    if limits.high - limits.low <= 2 * margin:
        raise ValueError(
            f"{where}: found limits {limits.low:g} to {limits.high:g}, expected more room than "
            f"twice the margin of {margin:g}"
        )

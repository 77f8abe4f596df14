"""One step of damped least squares within bounds.

Source: Nakamura & Hanafusa 1986, "Inverse kinematic solutions with singularity robustness", and
Chiaverini 1997, "Singularity-robust task-priority redundancy resolution": damping that grows as
the smallest singular value falls. Baerlocher & Boulic 2004, "An inverse kinematics architecture
enforcing an arbitrary number of strict priority levels": clamped joints are taken out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class DampedStep(NamedTuple):
    """A step.

    Attributes:
        joints: (n,) change of each joint.
        held: (n,) bool, which joints their bounds stopped.
        smallest: least singular value of the whole Jacobian.
    """

    joints: np.ndarray
    held: np.ndarray
    smallest: float


def damped_step(
    jacobian: np.ndarray,
    error: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    damping: float,
    singular_below: float,
) -> DampedStep:
    """The change of the joints that takes the error away, as far as bounds and damping let it.

    A joint that would leave its bounds goes to them and is taken out; the others are asked again
    for what it leaves undone.

    Args:
        jacobian: (m, n) change of the error's m rows a unit of each joint.
        error: (m,) what is to be taken away.
        low: (n,) least change of each joint, 0 or less.
        high: (n,) greatest change of each joint, 0 or more.
        damping: greatest damping factor, reached at a singular value of 0.
        singular_below: least singular value below which there is damping.
    """
    step, smallest = _least_squares(jacobian, error, damping, singular_below)
    over = (step < low) | (step > high)
    held = over
    while over.any():
        step[over] = np.clip(step[over], low[over], high[over])
        free = ~held
        if not free.any():
            break
        rest = error - jacobian[:, held] @ step[held]
        step[free], _ = _least_squares(jacobian[:, free], rest, damping, singular_below)
        over = free & ((step < low) | (step > high))
        held = held | over
    return DampedStep(step, held, smallest)


def smallest_singular_value(jacobian: np.ndarray) -> float:
    """Least of the min(m, n) singular values of a Jacobian (m, n)."""
    return float(np.linalg.svd(jacobian, compute_uv=False)[-1])


def _least_squares(
    jacobian: np.ndarray, error: np.ndarray, damping: float, singular_below: float
) -> tuple[np.ndarray, float]:
    """The damped solution (n,) and the least singular value."""
    left, values, right = np.linalg.svd(jacobian, full_matrices=False)
    smallest = float(values[-1])
    if smallest < singular_below:
        damping_squared = (1.0 - (smallest / singular_below) ** 2) * damping**2
        gains = values / (values * values + damping_squared)
    else:
        gains = 1.0 / values
    return right.T @ (gains * (left.T @ error)), smallest

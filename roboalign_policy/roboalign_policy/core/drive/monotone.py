"""Monotone cubic Hermite interpolation of one step after the other.

Source: Fritsch and Carlson, Monotone Piecewise Cubic Interpolation, SIAM Journal on Numerical
Analysis 17 (1980).
"""

from __future__ import annotations

import numpy as np

#: A curve over one step: position and speed at its begin, the same at its end; each (A,).
Curve = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def slope(
    before: np.ndarray, at: np.ndarray, after: np.ndarray | None, step_s: float
) -> np.ndarray:
    """Return the speed at a point of a sequence, (A,) in units / s.

    Central difference, zero at an extremum, and at most three times the smaller of the two
    neighbouring differences: with such speeds at both ends a curve is as monotone as the sequence.

    Args:
        before: (A,) point before.
        at: (A,) the point.
        after: (A,) point after; None at the end of what is known.
        step_s: s; time between two points.
    """
    incoming = (at - before) / step_s
    if after is None:
        return incoming
    outgoing = (after - at) / step_s
    bound = 3.0 * np.minimum(np.abs(incoming), np.abs(outgoing))
    central = np.clip((incoming + outgoing) / 2, -bound, bound)
    return np.where(incoming * outgoing > 0, central, 0.0)


def hermite(curve: Curve, share: float, step_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Return position (A,) and speed (A,) of a curve.

    Args:
        curve: see `Curve`.
        share: of the step that has passed, 0 .. 1.
        step_s: s; duration of the step.
    """
    begin, begin_speed, end, end_speed = curve
    s = share
    position = (
        (2 * s**3 - 3 * s**2 + 1) * begin
        + (s**3 - 2 * s**2 + s) * step_s * begin_speed
        + (3 * s**2 - 2 * s**3) * end
        + (s**3 - s**2) * step_s * end_speed
    )
    speed = (
        6 * (s**2 - s) / step_s * (begin - end)
        + (3 * s**2 - 4 * s + 1) * begin_speed
        + (3 * s**2 - 2 * s) * end_speed
    )
    return position, speed

"""Units of a contract: SI only, with a factor before it for action dimensions ("0.05 m")."""

from __future__ import annotations

import math

# REP-103: SI units everywhere. "1" stands for a number without unit (quaternion, gripper -1..1).
SI_UNITS = (
    "m",
    "rad",
    "s",
    "m/s",
    "rad/s",
    "m/s^2",
    "rad/s^2",
    "N",
    "N.m",
    "kg",
    "A",
    "V",
    "degC",
    "1",
)

# What people write instead, and how to get to the SI unit through `gain`.
UNIT_HINTS = {
    "deg": "write rad and gain: 0.0174533",
    "degree": "write rad and gain: 0.0174533",
    "degrees": "write rad and gain: 0.0174533",
    "cm": "write m and gain: 0.01",
    "mm": "write m and gain: 0.001",
    "Nm": "write N.m",
    "ms": "write s and gain: 0.001",
    "": 'write "1" for a number without unit',
    "none": 'write "1" for a number without unit',
    "%": 'write "1" and gain: 0.01',
    "percent": 'write "1" and gain: 0.01',
    "radians": "write rad",
    "meters": "write m",
    "metres": "write m",
    "meter": "write m",
}


def parse_unit(text: str) -> tuple[float, str]:
    """Split a unit with a factor, as in "0.05 m", "rad" or "1".

    Args:
        text: factor and unit, or the unit alone.

    Returns:
        How many of the SI unit one unit is, and the SI unit: (0.05, "m").

    Raises:
        ValueError: the unit is not one of `SI_UNITS` or the factor not positive and finite.
    """
    parts = text.split()
    if len(parts) == 1 and parts[0] in SI_UNITS:
        return 1.0, parts[0]
    if len(parts) != 2 or parts[1] not in SI_UNITS:
        raise ValueError(
            f"unit {text!r} is none of {', '.join(SI_UNITS)}, nor a factor before one"
        )
    try:
        factor = float(parts[0])
    except ValueError:
        raise ValueError(f"factor {parts[0]!r} of unit {text!r} is not a number") from None
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(f"factor {parts[0]!r} of unit {text!r} is not positive and finite")
    return factor, parts[1]

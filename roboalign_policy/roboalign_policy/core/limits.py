"""What of a frame lies outside of the ranges that the robot's maker gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from roboalign_policy.core.contract import Contract


def outside_limits(contract: Contract, values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Find the state values of a frame that are outside of their field's `limits`.

    Args:
        contract: the limits; fields without them are passed over.
        values: by stream key, (D,) in the units of the contract; as in `Frame.values`.

    Returns:
        By "stream.field", as in {"state.joints.joint4": "-0.1 rad > -0.1518 rad"}; not a number
        counts as outside.

    Raises:
        KeyError: a state stream is not in `values`.
    """
    faults: dict[str, str] = {}
    for stream in contract.states:
        for field, value in zip(stream.fields, values[stream.key].tolist(), strict=True):
            if field.limits is None:
                continue
            low, high = field.limits
            if not low <= value <= high:
                sign, limit = (">", high) if value > high else ("<", low)
                faults[f"{stream.key}.{field.name}"] = (
                    f"{value:.5g} {field.unit} {sign} {limit:g} {field.unit}"
                )
    return faults

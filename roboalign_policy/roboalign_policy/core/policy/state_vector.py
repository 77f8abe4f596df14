"""The state as numbers, for a decoder that reads it as such; the prompt has it in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.policy.normalise import QuantileStats

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

FARTHEST = 5.0
"""What a normalised state is clipped to: recordings lie within some 1.5."""


@dataclass(frozen=True)
class StateField:
    """One number of the state: its stream's key, and the field's name in the contract."""

    stream: str
    field: str

    def __str__(self) -> str:
        return f"{self.stream}.{self.field}"


def state_fields(contract: Contract) -> tuple[StateField, ...]:
    """What a state vector is made of, each field once, in order.

    What the prompt shows of the state, in numbers instead of words; where it shows nothing, every
    field of every state that the contract observes.

    Raises:
        ValueError: the contract observes no state.
    """
    fields = [StateField(part.stream, part.field) for part in contract.prompt_state]
    if not fields:
        fields = [StateField(s.key, name) for s in contract.states for name in s.names]
    if not fields:
        raise ValueError(f"contract {contract.name}: found no state, expected one to read")
    return tuple(dict.fromkeys(fields))


def state_vectors(contract: Contract, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """States as vectors.

    Args:
        contract: of the robot.
        values: by stream key (..., D), in the contract's units and order of fields.

    Returns:
        (..., S) float32, in the contract's units.

    Raises:
        KeyError: a stream is missing.
        ValueError: a number is not finite.
    """
    columns = []
    for item in state_fields(contract):
        if item.stream not in values:
            found = ", ".join(values) or "none"
            raise KeyError(f"{item.stream}: not in the values, found {found}")
        index = contract.stream(item.stream).names.index(item.field)
        column = np.asarray(values[item.stream], np.float32)[..., index]
        if not np.isfinite(column).all():
            bad = column[~np.isfinite(column)].ravel()[0]
            raise ValueError(f"{item}: found {bad}, expected a finite number")
        columns.append(column)
    return np.stack(columns, axis=-1)


def state_bounds(
    contract: Contract, stats: Mapping[str, QuantileStats]
) -> tuple[np.ndarray, np.ndarray]:
    """The 1 and 99 % quantiles of a state vector's numbers, two of (S,) float64.

    Args:
        contract: of the robot.
        stats: of each state stream, its fields in the contract's order.

    Raises:
        ValueError: a stream has none, or of another number of fields.
    """
    low, high = [], []
    for item in state_fields(contract):
        names = contract.stream(item.stream).names
        found = stats.get(item.stream)
        if found is None or found.dims != len(names):
            what = "none" if found is None else f"{found.dims} fields"
            raise ValueError(f"state {item.stream}: found {what}, expected {len(names)} fields")
        index = names.index(item.field)
        low.append(found.q01[index])
        high.append(found.q99[index])
    return np.array(low), np.array(high)


def normalised_state(low: np.ndarray, high: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """State vectors as a head reads them.

    Args:
        low: (S,) 1 % quantile.
        high: (S,) 99 % quantile, above `low` (`stats.json` has it so of fields that never moved).
        vectors: (..., S), in the contract's units.

    Returns:
        (..., S) float32: `low` is -1, `high` is 1, clipped to -5 and 5.
    """
    normal = (np.asarray(vectors, np.float64) - low) / (high - low) * 2.0 - 1.0
    return np.clip(normal, -FARTHEST, FARTHEST).astype(np.float32)

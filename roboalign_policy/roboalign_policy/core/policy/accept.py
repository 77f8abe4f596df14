"""Whether actions may be executed: finite, and within the limits of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.policy.prediction import ChunkStatus

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract


class ChunkError(ValueError):
    """A chunk that must not be executed.

    Attributes:
        kind: why; never OK.
        detail: what was found and what was expected.
    """

    def __init__(self, kind: ChunkStatus, detail: str) -> None:
        """Store the kind and the detail; ``str()`` gives both."""
        kind = ChunkStatus(kind)
        if kind is ChunkStatus.OK:
            raise ValueError("kind: found ok, expected why a chunk must not be executed")
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Bounds:
    """Between what each dimension of an action must lie.

    Attributes:
        names: A dimension names in the contract's order.
        low: (A,) lowest value of each dimension, in the contract's units.
        high: (A,) highest value.
        slack: (A,) how far outside a value may lie that is then moved to the limit: the rounding
            of a decoder, and what the contract saturates.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    slack: np.ndarray = field(default_factory=lambda: np.zeros(()))

    @classmethod
    def of(cls, contract: Contract, rounding: np.ndarray | float = 0.0) -> Bounds:
        """Bounds of a contract's actions.

        Args:
            contract: its dimensions have limits, and may saturate.
            rounding: (A,) or scalar, in the contract's units; by how much a decoder may miss.
        """
        action = contract.action
        saturate = np.array([dim.saturate for dim in action.dims])
        return cls(action.names, action.low, action.high, saturate + rounding)


def accept(actions: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Return actions that may be executed.

    Args:
        actions: (T, A) float, in the contract's units.
        bounds: of each dimension.

    Returns:
        (T, A) float32; what lay outside by no more than the slack is at the limit.

    Raises:
        ChunkError: another shape, or a value is not finite or further outside; names dimension,
            step and value.
    """
    actions, dims = np.asarray(actions), len(bounds.names)
    if actions.ndim != 2 or actions.shape[1] != dims or not len(actions):
        # One column would pass for every dimension: numpy repeats it.
        raise ChunkError(
            ChunkStatus.WRONG_SHAPE, f"found {actions.shape}, expected (steps, {dims})"
        )
    finite = np.isfinite(actions)
    if not finite.all():
        step, dim = np.argwhere(~finite)[0]
        value = actions[step, dim]
        raise ChunkError(ChunkStatus.NON_FINITE, f"{bounds.names[dim]} at step {step} is {value}")
    outside = (actions < bounds.low - bounds.slack) | (actions > bounds.high + bounds.slack)
    if outside.any():
        step, dim = np.argwhere(outside)[0]
        raise ChunkError(
            ChunkStatus.OUT_OF_LIMITS,
            f"{bounds.names[dim]} at step {step} is {actions[step, dim]:.4g}, "
            f"limits [{bounds.low[dim]:.4g}, {bounds.high[dim]:.4g}]",
        )
    return np.clip(actions, bounds.low, bounds.high).astype(np.float32)

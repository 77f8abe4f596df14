"""Since when an arm is commanded to move: a standing one may show a standing picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core import keys

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

#: Below this share of a dimension's range (per step, or per second for positions) an arm stands.
_MOVING_SHARE = 0.02


class CommandedMotion:
    """Watches what is sent to one arm.

    Attributes:
        since_s: s (steady clock); since when it moves without a pause; None: it stands.
    """

    def __init__(self, contract: Contract) -> None:
        """Take dimensions and ranges from the contract; a gripper alone moves no arm."""
        dims = contract.action.dims
        self._deltas = contract.action.control_mode == keys.EE_DELTA
        self._least = _MOVING_SHARE * np.array([dim.limits[1] - dim.limits[0] for dim in dims])
        if self._deltas:
            self._least[[keys.is_gripper(dim.name) for dim in dims]] = np.inf
        self.since_s: float | None = None

    def note(
        self, steps: np.ndarray, step_s: float, last_sent: np.ndarray | None, steady_s: float
    ) -> None:
        """Take what is sent now: (T, A) steps, their period, and (A,) what was sent before."""
        change = np.abs(steps)
        if not self._deltas:
            start = steps[0] if last_sent is None else last_sent
            change = np.abs(np.diff(np.vstack([start, steps]), axis=0)) / step_s
        if not (change > self._least).any():
            self.since_s = None
        elif self.since_s is None:
            self.since_s = steady_s

    def stop(self) -> None:
        """Nothing is sent any more."""
        self.since_s = None

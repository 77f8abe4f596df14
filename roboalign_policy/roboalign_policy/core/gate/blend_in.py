"""From where the arm is to where a new sender wants it, without a jump."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.gate.types import GateFault, Reason

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

# Source: s(t) = 3t^2 - 2t^3 has the greatest slope 1.5 and the greatest curvature 6 on [0, 1].
_PEAK_SPEED, _PEAK_ACCELERATION = 1.5, 6.0
_TARGET_MOVES = 2.0


class BlendIn:
    """Leads the set-points of one sender in from an anchor.

    Joint positions start at the anchor (what is measured, or what was sent last) and reach the
    sender's own targets after the contract's `blend_in_s`, or later where `max_rate` and
    `max_acceleration` ask for it. Steps of an end effector have no far target: taken over from
    standstill they pass as they are, taken over in motion they are faded from the last step.
    """

    def __init__(self, contract: Contract) -> None:
        """Take dimensions, limits and times from the contract."""
        action = contract.action
        self._dims, self._safety = action.dims, action.safety
        self._deltas = action.control_mode == keys.EE_DELTA
        self._anchor: np.ndarray | None = None
        self._since_s = 0.0
        self._duration_s = 0.0

    @property
    def anchored(self) -> bool:
        """True while targets are still led in."""
        return self._anchor is not None

    def start(
        self,
        target: np.ndarray,
        last_sent: np.ndarray | None,
        measured: Callable[[str], float | None],
        steady_s: float,
    ) -> None:
        """Begin to lead in a sender.

        Args:
            target: (A,) its first step.
            last_sent: (A,) what the arm carries out now; None: it stands.
            measured: present position of a dimension; None where no state field has its name.
            steady_s: s; now, steady clock.

        Raises:
            GateFault: joint positions: the first target is too far from the present position; a
                gripper may open or close all the way.
        """
        self._anchor = None
        if self._deltas:
            if last_sent is not None:
                self._begin(last_sent, self._safety.blend_in_s, steady_s)
            return
        anchor = target.copy()
        for index, dim in enumerate(self._dims):
            here = measured(dim.name)
            if here is None:
                continue
            distance = abs(float(target[index]) - here)
            if distance > self._safety.first_pose and not keys.is_gripper(dim.name):
                raise GateFault(
                    Reason.FIRST_POSE,
                    f"{dim.name}: first target {target[index]:.4g}, present {here:.4g}, at most "
                    f"{self._safety.first_pose:g} apart",
                )
            anchor[index] = here if last_sent is None else last_sent[index]
        least_s = max(self._safety.blend_in_s, self._needed_s(anchor, target))
        self._begin(anchor, least_s, steady_s)

    def resume(self, target: np.ndarray, last_sent: np.ndarray, steady_s: float) -> None:
        """Lead the same sender in again from where it let the arm stand.

        Joint positions only, and no longer than speed and acceleration ask for: a chunk that was
        made for a moving arm does not begin at rest.
        """
        if not self._deltas and not self.anchored:
            self._begin(last_sent, self._needed_s(last_sent, target), steady_s)

    def stop(self) -> None:
        """Forget the sender."""
        self._anchor = None

    def apply(self, steps: np.ndarray, step_s: float, steady_s: float) -> np.ndarray:
        """Return the (T, A) steps as they are sent; arguments as for `GateBounds.check_motion`."""
        if self._anchor is None:
            return steps
        times_s = steady_s - self._since_s + step_s * np.arange(len(steps))
        share = np.clip(times_s / self._duration_s, 0.0, 1.0)
        if share[0] >= 1.0:
            self._anchor = None
            return steps
        weight = (share**2 * (3.0 - 2.0 * share))[:, None]
        blended = self._anchor + weight * (steps - self._anchor)
        for index, dim in enumerate(self._dims):
            if self._deltas and keys.is_gripper(dim.name):
                blended[:, index] = steps[:, index]  # a switch, not a speed
        return blended

    def _needed_s(self, anchor: np.ndarray, target: np.ndarray) -> float:
        """Time (s) in which speed and acceleration allow the way from anchor to target."""
        needed_s = 0.0
        for dim, distance in zip(self._dims, np.abs(target - anchor).tolist(), strict=True):
            if dim.max_rate:
                needed_s = max(needed_s, _PEAK_SPEED * distance / dim.max_rate)
            if dim.max_acceleration:
                acceleration = _PEAK_ACCELERATION * distance / dim.max_acceleration
                needed_s = max(needed_s, acceleration**0.5)
        # The target moves on meanwhile, at a speed that the sender keeps within the same limits.
        return _TARGET_MOVES * needed_s

    def _begin(self, anchor: np.ndarray, duration_s: float, steady_s: float) -> None:
        if duration_s > 0:
            self._anchor, self._since_s, self._duration_s = anchor.copy(), steady_s, duration_s

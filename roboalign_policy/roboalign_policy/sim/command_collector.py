"""Which commands make up one control step of an arm.

Paired by stamp in lock step, held and aged in real time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core import keys

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

KEPT_DIM = "gripper"  # an opening, not a speed: holding the arm keeps it where it is


class CommandCollector:
    """Collects the command messages of a contract until they make an action.

    Attributes:
        ignored: commands with another stamp than the one expected, or with values that are not
            finite.
    """

    def __init__(self, contract: Contract):
        """Expect nothing yet.

        Args:
            contract: its ``action`` says which commands there are and what they hold.

        Raises:
            ValueError: the control mode is not ``ee_delta``.
        """
        if contract.action.control_mode != keys.EE_DELTA:
            raise ValueError(
                f"contract {contract.name}: action.control_mode: found "
                f"{contract.action.control_mode!r}, "
                f"expected {keys.EE_DELTA!r}: holding still means zero deltas here"
            )
        self.ignored = 0
        self._dims = [dim.name for dim in contract.action.dims]
        self._low, self._high = np.array(
            [dim.limits for dim in contract.action.dims], np.float32
        ).T
        self._commands: Sequence[str] = [command.topic for command in contract.action.commands]
        self._expected_ns: int | None = None
        self._values: dict[str, dict[str, float]] = {}
        self._arrived_ns: dict[str, int] = {}
        self._kept = 0.0

    def reset(self, kept: float) -> None:
        """Forget everything; ``kept`` is the gripper's present command (-1 open .. +1 closed)."""
        self._expected_ns = None
        self._values.clear()
        self._arrived_ns.clear()
        self._kept = kept

    def expect(self, stamp_ns: int | None) -> None:
        """Lock step: from now on only commands with this stamp count; None: no command does."""
        self._expected_ns = stamp_ns
        self._values.clear()

    def offer_paired(
        self, topic: str, stamp_ns: int, values: dict[str, float]
    ) -> np.ndarray | None:
        """Lock step: take one command.

        Args:
            topic: entry of the contract that it came on.
            stamp_ns: stamp in its header.
            values: action value by dimension.

        Returns:
            (A,) float32 within the limits once all commands for the expected stamp are there, else
            None.
        """
        if self._expected_ns is None or stamp_ns != self._expected_ns or not _finite(values):
            self.ignored += 1
            return None
        self._values[topic] = values
        if len(self._values) < len(self._commands):
            return None
        merged = {name: value for part in self._values.values() for name, value in part.items()}
        self._expected_ns = None
        return self._action(merged)

    def offer_held(self, topic: str, now_ns: int, values: dict[str, float]) -> None:
        """Real time: take one command; it is obeyed until a newer one comes or it is too old."""
        if not _finite(values):
            self.ignored += 1
            return
        self._values[topic], self._arrived_ns[topic] = values, now_ns

    def held_action(self, now_ns: int, timeout_s: float) -> np.ndarray:
        """Real time: the action of this control step; what is too old holds still.

        Returns:
            (A,) float32 within the limits.
        """
        merged: dict[str, float] = {}
        for topic, values in self._values.items():
            if now_ns - self._arrived_ns[topic] <= timeout_s * 1e9:
                merged.update(values)
        return self._action(merged)

    def _action(self, values: dict[str, float]) -> np.ndarray:
        """Vector in the contract's order; a dimension that is not commanded holds still."""
        held = {KEPT_DIM: self._kept}
        action = np.array(
            [values.get(name, held.get(name, 0.0)) for name in self._dims], np.float32
        )
        action = np.clip(action, self._low, self._high)
        if KEPT_DIM in self._dims:
            self._kept = float(action[self._dims.index(KEPT_DIM)])
        return action


def _finite(values: dict[str, float]) -> bool:
    """True where every value is a finite number."""
    return all(math.isfinite(value) for value in values.values())

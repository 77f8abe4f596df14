"""From the actions of a chunk to what goes out: at the controller's rate, and down to standstill.

Actions come once a period of the contract (`aim`); `advance` gives what to send at each control
tick. Where no action follows (`release`) the motion is brought to rest within the acceleration of
the dimensions, and then held. A fault is not this module's business: then nothing is sent at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.drive.monotone import hermite, slope

if TYPE_CHECKING:
    from roboalign_policy.core.drive.chunk_buffer import ChunkAction

#: Hz; control rate of joint positions where none is given.
JOINT_RATE_HZ = 100.0


@dataclass(frozen=True, eq=False)
class Point:
    """What to send at one control tick.

    Attributes:
        data: (T, A) float64, units of the contract, within its limits.
        moving: False once the arm stands still for want of an action; ``data`` then holds it.
        planned: it is part of a chunk, not of the way to standstill.
        step_s: s; time between two steps, and to the first.
    """

    data: np.ndarray
    moving: bool
    planned: bool
    step_s: float


class _Dims:
    """Limits and accelerations of A dimensions, (A,) float64; infinite where none is given."""

    def __init__(self, contract: Any) -> None:
        dims = contract.action.dims
        self.low = np.array([dim.limits[0] for dim in dims], np.float64)
        self.high = np.array([dim.limits[1] for dim in dims], np.float64)
        given = [dim.max_acceleration for dim in dims]
        self.acceleration = np.array([np.inf if a is None else a for a in given], np.float64)

    def within(self, values: np.ndarray) -> np.ndarray:
        """As float64, inside of the limits: those of float32 may lie a rounding outside."""
        return np.clip(np.asarray(values, np.float64), self.low, self.high)


class JointSetPoints:
    """Positions, interpolated so that their speed is continuous.

    Within a step they run from where the last one ended to the action, along a monotone cubic
    Hermite curve; its speed at the action is that of the chunk there.
    """

    def __init__(self, contract: Any, ticks: int) -> None:
        """Start without a set-point; ``ticks``: control ticks in a period of the contract."""
        self._dims, self._ticks, self._step_s = _Dims(contract), ticks, 1.0 / contract.rate_hz
        self._tick_s = self._step_s / ticks
        self.forget()

    def forget(self) -> None:
        """Start anew: the next action is where the arm begins."""
        self._position: np.ndarray | None = None
        self._released = False

    def aim(self, action: ChunkAction, following: np.ndarray) -> None:
        """Begin the step towards ``action``; ``following``: (R, A), the actions after it."""
        target = self._dims.within(action.values)
        if self._position is None:
            self._position, self._speed = target, np.zeros_like(target)
        after = self._dims.within(following[0]) if len(following) else None
        end_speed = slope(self._position, target, after, self._step_s)
        self._curve = (self._position, self._speed, target, end_speed)
        self._tick, self._released = 0, False

    def release(self) -> None:
        """No action follows: come to rest."""
        self._released = True

    def advance(self) -> Point | None:
        """Return the next set-point; None before the first action."""
        if self._position is None:
            return None
        if self._released or self._tick >= self._ticks:
            return self._decelerate()
        self._tick += 1
        position, self._speed = hermite(self._curve, self._tick / self._ticks, self._step_s)
        self._position = self._stopped_at_limits(position)
        return Point(self._position[None], True, True, self._tick_s)

    def _decelerate(self) -> Point:
        change = self._dims.acceleration * self._tick_s
        speed = np.sign(self._speed) * np.maximum(np.abs(self._speed) - change, 0.0)
        # Without an acceleration the arm stops where it is, at once.
        bounded = np.isfinite(self._dims.acceleration)
        way = np.where(bounded, (self._speed + speed) / 2 * self._tick_s, 0.0)
        moving = bool(np.any(way))
        self._speed = speed
        self._position = self._stopped_at_limits(self._position + way)
        return Point(self._position[None], moving, False, self._tick_s)

    def _stopped_at_limits(self, position: np.ndarray) -> np.ndarray:
        inside = self._dims.within(position)
        self._speed = np.where(inside == position, self._speed, 0.0)
        return inside


class StepSetPoints:
    """End-effector steps, one a period of the contract; they fade to zero, the gripper stays."""

    def __init__(self, contract: Any) -> None:
        """Start without a step."""
        self._dims, self._step_s = _Dims(contract), 1.0 / contract.rate_hz
        names = contract.action.names
        self._arm = np.array([not keys.is_gripper(name) for name in names])
        # A value is the way in one period: speed = value * rate, so acceleration / rate^2 a step.
        self._change = self._dims.acceleration * self._step_s**2
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self._value: np.ndarray | None = None
        self._released = False

    def aim(self, action: ChunkAction, following: np.ndarray) -> None:
        """Take ``action`` as the step; ``following`` does not matter here."""
        self._value, self._released = self._dims.within(action.values), False

    def release(self) -> None:
        """No action follows: come to rest."""
        self._released = True

    def advance(self) -> Point | None:
        """Return the next step; None before the first action."""
        if self._value is None:
            return None
        if self._released:
            less = np.maximum(np.abs(self._value) - self._change, 0.0)
            self._value = np.where(self._arm, np.sign(self._value) * less, self._value)
        moving = not self._released or bool(np.any(self._value[self._arm]))
        return Point(self._value[None], moving, not self._released, self._step_s)


class ChunkSetPoints:
    """Whole chunks for controllers that take trajectories: what is left of each goes out once.

    A trajectory comes to rest by itself at its end, so there is nothing to bring to rest.
    """

    def __init__(self, contract: Any) -> None:
        """Start without a chunk."""
        self._dims, self._step_s = _Dims(contract), 1.0 / contract.rate_hz
        self.forget()

    def forget(self) -> None:
        """Start anew."""
        self._last: np.ndarray | None = None
        self._next: np.ndarray | None = None
        self._sequence, self._released = -1, False

    def aim(self, action: ChunkAction, following: np.ndarray) -> None:
        """Note ``action`` as the present one; send it with ``following`` where it is a new chunk.

        Args:
            action: of this step.
            following: (R, A), the actions of the chunk that will be executed after it.
        """
        self._last, self._released = self._dims.within(action.values), False
        if action.sequence != self._sequence:
            self._sequence = action.sequence
            self._next = self._dims.within(np.vstack([action.values[None], following]))

    def release(self) -> None:
        """No action follows: hold the one of the last step."""
        self._next, self._released = None, True

    def advance(self) -> Point | None:
        """Return the rest of a new chunk, once; then None until it has ended."""
        if self._next is not None:
            data, self._next = self._next, None
            return Point(data, True, True, self._step_s)
        if self._last is not None and self._released:
            return Point(self._last[None], False, False, self._step_s)
        return None


SetPoints = JointSetPoints | StepSetPoints | ChunkSetPoints


def sends_chunks(contract: Any) -> bool:
    """Whether the contract's controllers take whole chunks."""
    return any(command.send == "chunk" for command in contract.action.commands)


def control_ticks(
    contract: Any, wanted_hz: float, *, whole_chunks: bool = True
) -> tuple[int, str]:
    """Return how many control ticks a period of the contract has, and what to tell about it.

    Args:
        contract: rate and control mode.
        wanted_hz: Hz; 0: `JOINT_RATE_HZ` for joint positions, the contract's rate for steps.
        whole_chunks: see `make_set_points`.

    Returns:
        The number, and one line where the rate is not the one wanted (else empty).
    """
    rate_hz, why = contract.rate_hz, "a multiple of the contract's rate"
    chunks = whole_chunks and sends_chunks(contract)
    if contract.action.control_mode == keys.EE_DELTA or chunks:
        ticks, why = 1, "the contract's rate: steps and whole chunks are not interpolated"
    else:
        wanted_hz = wanted_hz or JOINT_RATE_HZ
        ticks = max(1, round(wanted_hz / rate_hz))
    if not wanted_hz or abs(ticks * rate_hz - wanted_hz) < 1e-6 * wanted_hz:
        return ticks, ""
    return ticks, f"control rate: {ticks * rate_hz:g} Hz in place of {wanted_hz:g} Hz, {why}"


def make_set_points(contract: Any, ticks: int, *, whole_chunks: bool = True) -> SetPoints:
    """Make the set-points of a contract.

    Args:
        contract: the action.
        ticks: see `control_ticks`.
        whole_chunks: the receiver takes whole chunks where the contract says ``send: chunk``.
    """
    if whole_chunks and sends_chunks(contract):
        return ChunkSetPoints(contract)
    if contract.action.control_mode == keys.EE_DELTA:
        return StepSetPoints(contract)
    return JointSetPoints(contract, ticks)

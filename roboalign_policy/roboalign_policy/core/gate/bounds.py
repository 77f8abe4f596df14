"""What the safety gate asks of the values of a candidate and of what was sent before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.candidate import Candidate
from roboalign_policy.core.gate.types import GateFault, Reason

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract

#: Rounding of float32 and of the interpolation, as a share of a limit.
_TOLERANCE = 1.02


def _limit(values: list[float | None]) -> np.ndarray:
    """(A,) limits, infinite where there is none."""
    return np.array([np.inf if value is None else value for value in values])


class GateBounds:
    """Holds candidates of one contract against its limits."""

    def __init__(self, contract: Contract) -> None:
        """Take the limits of the contract; see `tighten` for those of a robot_description."""
        action = contract.action
        self._names = action.names
        self._low = np.asarray(action.low, float).copy()
        self._high = np.asarray(action.high, float).copy()
        self._deltas = action.control_mode == keys.EE_DELTA
        self._rate = _limit([dim.max_rate for dim in action.dims])
        self._acceleration = _limit([dim.max_acceleration for dim in action.dims])
        self._per_second = _limit([dim.max_per_second for dim in action.dims])
        self._period_s = 1.0 / contract.rate_hz
        self._workspace = action.safety.workspace
        scale = {dim.name: dim.scale for dim in action.dims}
        self._axes = [
            (axis, self._names.index(name), scale[name])
            for axis, name in zip("xyz", keys.EE_DIMS[:3], strict=True)
            if name in self._names
        ]
        self._joints = {
            joint: dim
            for command in action.commands
            for dim, joint in zip(command.fields, command.joint_names, strict=False)
        }
        self.forget()

    def forget(self) -> None:
        """Begin a motion anew: nothing was sent."""
        # (time in s, what was sent (A,)); the last second, for way, step and acceleration
        self._sent: deque[tuple[float, np.ndarray]] = deque()

    def tighten(self, limits: Mapping[str, tuple[float, float]]) -> list[str]:
        """Narrow joint positions to a robot_description's limits.

        Args:
            limits: by joint name, lower and upper, rad or m.

        Returns:
            The dimensions that became narrower.
        """
        narrowed = []
        for joint, (low, high) in limits.items():
            dim = self._joints.get(joint)
            if self._deltas or dim is None:
                continue
            index = self._names.index(dim)
            before = (self._low[index], self._high[index])
            self._low[index] = max(self._low[index], low)
            self._high[index] = min(self._high[index], high)
            if before != (self._low[index], self._high[index]):
                narrowed.append(dim)
        return narrowed

    def check_values(self, candidate: Candidate) -> np.ndarray:
        """Return the (T, A) data of a candidate when it may be considered at all.

        Raises:
            GateFault: wrong names or shape, not finite, out of limits.
        """
        if tuple(candidate.names) != self._names:
            raise GateFault(
                Reason.WRONG_NAMES, f"found {list(candidate.names)}, expected {list(self._names)}"
            )
        data = candidate.data
        if data is None or data.ndim != 2 or data.shape[1] != len(self._names) or not len(data):
            found = "nothing" if data is None else data.shape
            raise GateFault(Reason.WRONG_SHAPE, f"found {found}, expected (T, {len(self._names)})")
        if not 0.0 < candidate.step_s < 60.0:
            raise GateFault(
                Reason.WRONG_SHAPE, f"step_s: found {candidate.step_s} s, expected > 0"
            )
        finite = np.isfinite(data)
        if not finite.all():
            step, dim = np.argwhere(~finite)[0]
            raise GateFault(
                Reason.NON_FINITE, f"{self._names[dim]} at step {step} is {data[step, dim]}"
            )
        slack = 1e-5 * (self._high - self._low)  # float32 of a limit
        outside = (data < self._low - slack) | (data > self._high + slack)
        if outside.any():
            step, dim = np.argwhere(outside)[0]
            raise GateFault(
                Reason.OUT_OF_LIMITS,
                f"{self._names[dim]} at step {step} is {data[step, dim]:.4g}, "
                f"limits [{self._low[dim]:.4g}, {self._high[dim]:.4g}]",
            )
        return data

    def check_motion(self, steps: np.ndarray, step_s: float, steady_s: float) -> None:
        """Check steps against the limits of speed and acceleration, given the steps sent before.

        See `sent`.

        Args:
            steps: (T, A) float64, units of the contract.
            step_s: s; between two steps.
            steady_s: s; now, steady clock: the time of the first step.

        Raises:
            GateFault: a step, the path within a second or a change of speed exceeds the contract.
        """
        history = self._until(steady_s)
        for index, values in enumerate(steps):
            at_s = steady_s + index * step_s
            self._check_step(history, values, step_s, at_s)
            self._check_way(history, values, at_s)
            self._check_acceleration(history, values, at_s)
            history.append((at_s, values))

    def sent(self, steps: np.ndarray, step_s: float, steady_s: float) -> None:
        """Note what was sent at ``steady_s``; arguments as for `check_motion`."""
        while self._sent and self._sent[-1][0] >= steady_s:
            self._sent.pop()  # the rest of a chunk that this one replaces
        self._sent.extend((steady_s + i * step_s, values) for i, values in enumerate(steps))
        while len(self._sent) > 2 and self._sent[0][0] < steady_s - 1.0 - 2 * self._period_s:
            self._sent.popleft()

    def due(self, steady_s: float) -> np.ndarray | None:
        """(A,) the command in force at this instant, not the end of a running chunk.

        None before the first command.
        """
        if not self._sent:
            return None
        if self._deltas:
            return self._until(steady_s)[-1][1]
        return self._sent_at(list(self._sent), steady_s)

    def _until(self, steady_s: float) -> list[tuple[float, np.ndarray]]:
        """The commands up to `steady_s`, without the future steps of a running chunk."""
        return [sent for sent in self._sent if sent[0] <= steady_s]

    def check_workspace(self, steps: np.ndarray, position: Mapping[str, float]) -> None:
        """Stop an end effector that is outside of the workspace or on its way out.

        Args:
            steps: (T, A), what is to be sent.
            position: measured x, y, z in m.

        Raises:
            GateFault: naming axis, value and bounds.
        """
        box = self._workspace
        if box is None:
            return
        for axis in "xyz":
            low, high = getattr(box, axis)
            here = position[axis]
            there = here
            if self._deltas:
                moved = [(i, scale) for name, i, scale in self._axes if name == axis]
                there = here + sum(float(steps[:, i].sum()) * scale for i, scale in moved)
            # From outside only the way back is free, and only steps can say where they lead.
            if there < low and (there < here or not self._deltas):
                raise GateFault(Reason.WORKSPACE, f"{axis} would be {there:.3f} m < {low:g} m")
            if there > high and (there > here or not self._deltas):
                raise GateFault(Reason.WORKSPACE, f"{axis} would be {there:.3f} m > {high:g} m")

    def _check_step(self, history: list, values: np.ndarray, step_s: float, at_s: float) -> None:
        if self._deltas or not history:
            return
        # A tick that came late may go as far as the time that has passed allows.
        passed_s = min(max(step_s, at_s - history[-1][0]), 2 * max(step_s, self._period_s))
        change = np.abs(values - history[-1][1])
        self._raise_where(
            change > self._rate * passed_s * _TOLERANCE + 1e-6,
            Reason.STEP_TOO_LARGE,
            lambda dim: (
                f"by {change[dim]:.4g} in {passed_s:.3f} s, at most {self._rate[dim]:g} a second"
            ),
        )

    def _check_way(self, history: list, values: np.ndarray, at_s: float) -> None:
        if not np.isfinite(self._per_second).any():
            return
        recent = [sent for sent_s, sent in history if sent_s > at_s - 1.0] + [values]
        way = np.abs(np.array(recent) if self._deltas else np.diff(recent, axis=0)).sum(axis=0)
        self._raise_where(
            way > self._per_second * _TOLERANCE + 1e-6,
            Reason.TOO_FAR_IN_A_SECOND,
            lambda dim: f"{way[dim]:.4g} within a second, at most {self._per_second[dim]:g}",
        )

    def _check_acceleration(self, history: list, values: np.ndarray, at_s: float) -> None:
        """Change of speed over one period of the contract, whatever the rate of the set-points."""
        period_s = self._period_s
        if not np.isfinite(self._acceleration).any():
            return
        if self._deltas:
            before = history[-1][1] if history else np.zeros_like(values)
            change = np.abs(values - before) / period_s**2
        else:
            if not history:
                return
            one, two = (self._sent_at(history, at_s - n * period_s) for n in (1, 2))
            change = np.abs(values - 2 * one + two) / period_s**2
        self._raise_where(
            change > self._acceleration * _TOLERANCE + 1e-6,
            Reason.ACCELERATION,
            lambda dim: f"{change[dim]:.4g} > {self._acceleration[dim]:g} a second squared",
        )

    @staticmethod
    def _sent_at(history: list, at_s: float) -> np.ndarray:
        """Position that was commanded at a time; the first one before it."""
        for later, earlier in zip(reversed(history), reversed(history[:-1]), strict=False):
            if earlier[0] <= at_s:
                if at_s >= later[0]:
                    return later[1]
                share = (at_s - earlier[0]) / max(later[0] - earlier[0], 1e-9)
                return earlier[1] + share * (later[1] - earlier[1])
        return history[0][1]

    def _raise_where(self, beyond: np.ndarray, reason: Reason, detail) -> None:
        if beyond.any():
            dim = int(np.flatnonzero(beyond)[0])
            raise GateFault(reason, f"{self._names[dim]}: {detail(dim)}")

"""When a step of the contract is due, when a control tick, when only a sign of life."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: A step may come this share of a period early, to begin with its observation and not after it.
EARLY = 0.2
#: Hz; least rate of signs of life.
LEAST_RATE_HZ = 50.0


@dataclass(frozen=True)
class Due:
    """What one tick of the timer is: of the contract's steps, and of the controller's ticks."""

    step: bool
    control: bool


class Pace:
    """Counts the ticks of one timer; `rate_hz` is the rate it has to run at.

    Counting keeps the number of control ticks in a step fixed, whatever the timer's jitter is: a
    late tick makes the arm slower, never faster.
    """

    def __init__(self, step_s: float, control_ticks: int) -> None:
        """Begin with a step.

        Args:
            step_s: s; period of the contract.
            control_ticks: control ticks in it.
        """
        self._step_s, self._control_s = step_s, step_s / control_ticks
        self._per_control = max(1, math.ceil(LEAST_RATE_HZ * self._control_s - 1e-9))
        self._per_step = self._per_control * control_ticks
        self.rate_hz = self._per_step / step_s
        self._count = 0
        self._step_at_s = self._moved_at_s = -math.inf
        self._restarting = True

    def restart(self) -> None:
        """Let the next step begin as soon as it may: see `ready`."""
        self._restarting = True

    def step_due(self, steady_s: float) -> bool:
        """Whether the last step has had its time, or nearly."""
        return steady_s - self._step_at_s >= (1.0 - EARLY) * self._step_s

    def ready(self, steady_s: float) -> bool:
        """Whether a tick now would begin a step, off the regular beat."""
        moved_s = steady_s - self._moved_at_s
        rested = moved_s >= (1.0 - EARLY) * self._control_s
        return self._restarting and rested and self.step_due(steady_s)

    def tick(self, steady_s: float) -> Due:
        """Count one tick of the timer; ``steady_s``: s, steady clock."""
        if self.ready(steady_s):
            self._count = 0
        step, control = self._count % self._per_step == 0, self._count % self._per_control == 0
        if step:
            self._count, self._restarting = 0, False
        self._count += 1
        return Due(step, control)

    def stepped(self, steady_s: float) -> None:
        """Note that a step of the contract has begun."""
        self._step_at_s = steady_s

    def moved(self, steady_s: float) -> None:
        """Note that a motion went out."""
        self._moved_at_s = steady_s

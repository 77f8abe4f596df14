"""When a step of the contract is due, when a control tick, when only an ALIVE candidate.

Where a step is one control tick (end-effector steps, whole chunks), steps begin with observations:
two clocks of one rate would else drift past each other, and near their crossing a step is sent
just before or just after the image that should show the last one, and an arm that samples
commands at its own rate takes one twice and misses the next.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

#: A step may come this share of a period early, to begin with its observation and not after it.
EARLY = 0.2
#: Hz; lowest rate at which candidates are sent, of kind ALIVE where nothing else is due.
LEAST_RATE_HZ = 50.0
#: Ticks that a step must have for it to wait one of them for an observation.
FOLLOWING_TICKS = 4
#: Observations whose mean distance tells when the next one comes.
_OBSERVATIONS = 4


@dataclass(frozen=True)
class Due:
    """What one tick of the timer is: of the contract's steps, and of the controller's ticks."""

    step: bool
    control: bool


class Pace:
    """Counts the ticks of one timer; `rate_hz` is the rate it has to run at.

    Counting keeps the number of control ticks in a step fixed, whatever the timer's jitter is: a
    late tick makes the arm slower, never faster.

    Attributes:
        follows: steps begin with observations: up to `EARLY` before they are due, or a tick later
            where one is about to come. On average they are never faster than the contract.
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
        self.follows = control_ticks == 1 and self._per_step >= FOLLOWING_TICKS
        self._count = 0
        self._step_at_s = self._moved_at_s = self._due_s = -math.inf
        self._restarting = True
        self._patience_s = -math.inf  # until then a restart waits for an observation
        self._observed_s: deque[float] = deque(maxlen=_OBSERVATIONS)

    def just_observed(self, steady_s: float) -> bool:
        """Whether an observation has come so shortly before that a step can begin with it."""
        seen = self._observed_s
        return bool(seen) and steady_s - seen[-1] <= EARLY * self._step_s

    def restart(self, patience_s: float = -math.inf) -> None:
        """Let the next step begin as soon as it may: see `ready`.

        Args:
            patience_s: s, steady clock; until then it waits for an observation where steps follow
                these.
        """
        self._restarting = True
        self._patience_s = patience_s if self.follows else -math.inf

    def observed(self, steady_s: float, *, may_begin: bool) -> bool:
        """Note that an observation has come.

        Args:
            steady_s: s; steady clock.
            may_begin: there is an action for the next step.

        Returns:
            Whether the step begins with this observation: tick now.
        """
        self._observed_s.append(steady_s)
        if not self.follows or not may_begin:
            return False
        if self._restarting:
            begins = steady_s < self._patience_s and self._rested(steady_s)
        else:
            begins = steady_s >= self._due_s - EARLY * self._step_s
        if begins:
            self._restarting, self._patience_s = True, -math.inf
        return begins

    def step_due(self, steady_s: float) -> bool:
        """Whether the last step has had its time, or nearly."""
        return steady_s - self._step_at_s >= (1.0 - EARLY) * self._step_s

    def ready(self, steady_s: float) -> bool:
        """Whether a tick now would begin a step, off the regular beat."""
        return self._restarting and steady_s >= self._patience_s and self._rested(steady_s)

    def tick(self, steady_s: float) -> Due:
        """Count one tick of the timer; ``steady_s``: s, steady clock."""
        if ready := self.ready(steady_s):
            self._count = 0
        step, control = self._count % self._per_step == 0, self._count % self._per_control == 0
        if step and not ready and self._awaits_observation(steady_s):
            return Due(False, False)
        if step and self._restarting and steady_s < self._patience_s:
            step = False
        if step:
            self._count, self._restarting = 0, False
        self._count += 1
        return Due(step, control)

    def stepped(self, steady_s: float) -> None:
        """Note that a step of the contract has begun."""
        self._step_at_s = steady_s
        # After an early step the next one is due no earlier: the mean rate stays the contract's.
        self._due_s = max(steady_s, self._due_s) + self._step_s

    def moved(self, steady_s: float) -> None:
        """Note that a motion went out."""
        self._moved_at_s = steady_s

    def _rested(self, steady_s: float) -> bool:
        moved_s = steady_s - self._moved_at_s
        return moved_s >= (1.0 - EARLY) * self._control_s and self.step_due(steady_s)

    def _awaits_observation(self, steady_s: float) -> bool:
        """Whether the observation of a step that is due comes within this tick."""
        seen, tick_s = self._observed_s, 1.0 / self.rate_hz
        due_s = self._step_at_s + self._step_s
        if not self.follows or len(seen) < 2 or steady_s >= due_s + tick_s / 2:
            return False
        expected_s = seen[-1] + (seen[-1] - seen[0]) / (len(seen) - 1)
        return steady_s - tick_s / 2 < expected_s <= due_s + tick_s

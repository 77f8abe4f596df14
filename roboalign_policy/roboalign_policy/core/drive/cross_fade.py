"""Joining a new chunk to the rest of the old one, so that the arm neither jumps nor strays.

Positions are faded value by value. Steps of an end effector are not: a chunk of steps is a path
that begins where its observation was taken, and by the time it comes the arm has gone another way,
that of the old chunk. Its later steps alone would lead past its own goal by the difference, so the
difference is made up for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core import keys


@dataclass(frozen=True, eq=False)
class Overtaken:
    """What the arm does while a chunk is on its way.

    Attributes:
        sent: (I, A) float32; what was commanded in place of the new chunk's first I steps.
        old: (R, A) float32; what the old chunk holds for the steps after those.
        before: (A,) float32; what was commanded last before those I steps; None: nothing.
    """

    sent: np.ndarray
    old: np.ndarray
    before: np.ndarray | None = None


@dataclass(frozen=True)
class ValueFade:
    """Positions: fades linearly from the steps that the old chunk still held into the new ones.

    Attributes:
        steps: steps that are faded, at most.
    """

    steps: int

    def first(self, new: np.ndarray, overtaken: Overtaken) -> int:
        """Return which step of the new chunk comes next: as many are left out as were commanded.

        Arguments as for `join`.
        """
        return len(overtaken.sent)

    def join(self, new: np.ndarray, overtaken: Overtaken, index: int) -> np.ndarray:
        """Return the new chunk with its steps from ``index`` on faded in.

        Args:
            new: (T, A) float32; the new chunk.
            overtaken: what the arm did and would do meanwhile.
            index: of the step that comes next, see `first`.

        Returns:
            (T, A) float32. Of K faded steps the i-th, from 1, is i / (K + 1) new: never more than
            the old chunk has, so the fade ends where the old chunk does.
        """
        old = overtaken.old
        joined = np.array(new, np.float32)
        count = min(self.steps, len(old), len(new) - index)
        weight = _rising(count, count + 1)
        joined[index : index + count] *= weight
        joined[index : index + count] += (1.0 - weight) * old[:count]
        return joined


@dataclass(frozen=True, eq=False)
class PathFade:
    """End-effector steps: leads from the old chunk's path onto the new chunk's.

    Attributes:
        steps: steps until the new path is reached, one more than these.
        switches: (A,) bool; dimensions that are no steps but settings, such as a gripper's. They
            change over at once: half way between open and closed it drops what it holds.
        low, high: (A,) float32; limits of a step. What does not fit into one goes into the next.
    """

    steps: int
    switches: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def first(self, new: np.ndarray, overtaken: Overtaken) -> int:
        """Return which step of the new chunk comes next; arguments as for `join`.

        As many are left out as were commanded, but none from a switch on that the arm has not
        made: a gripper that is to close needs all the steps which the chunk gives it. One that
        the arm has made meanwhile, for the old chunk, is no reason to make it again, nor to go
        back to where the new chunk begins.
        """
        sent = overtaken.sent
        if not len(sent):
            return 0
        before = sent[0] if overtaken.before is None else overtaken.before
        was, now = self._switched(before), self._switched(sent[-1])
        chunk = self._switched(new[: len(sent)])
        owed = np.any((chunk != now) & (chunk != was), axis=1)
        # Those at the end: what the chunk switches there and back again is over.
        return len(sent) - int(np.argmin(owed[::-1])) if not owed.all() else 0

    def _switched(self, actions: np.ndarray) -> np.ndarray:
        """Whether each switch of actions (..., A) is in the upper half of its range."""
        return (actions > (self.low + self.high) / 2)[..., self.switches]

    def join(self, new: np.ndarray, overtaken: Overtaken, index: int) -> np.ndarray:
        """Return the new chunk with its path reached from where the arm will be.

        Arguments and shape as for `ValueFade.join`. After ``steps`` + 1 steps the sum of what was
        commanded since the observation is that of the new chunk, if the limits allow it.
        """
        old = overtaken.old
        rest = np.array(new[index:], np.float64)
        ahead = np.sum(new[:index], axis=0) - np.sum(overtaken.sent, axis=0)
        path = ahead + np.cumsum(rest, axis=0)
        # The way that the arm would go without the new chunk; at its end, beside the new path.
        present = rest.copy()
        present[: len(old)] = old[: len(rest)]
        weight = _rising(len(rest), self.steps + 1)
        wanted = (1.0 - weight) * np.cumsum(present, axis=0) + weight * path
        joined, here = np.array(new, np.float32), np.zeros(len(self.low))
        for step, place in enumerate(wanted, start=index):
            joined[step] = np.clip(place - here, self.low, self.high)
            here = here + joined[step]
        joined[:, self.switches] = new[:, self.switches]
        return joined


Fade = ValueFade | PathFade


def make_fade(
    names: Sequence[str], control_mode: str, steps: int, low: np.ndarray, high: np.ndarray
) -> Fade:
    """Make what joins the chunks of a contract's action.

    Args:
        names: A dimension names in the contract's order.
        control_mode: of the contract.
        steps: steps that are faded.
        low: (A,) float; lowest value of each dimension, in the contract's units.
        high: (A,) float; highest value.

    Raises:
        ValueError: ``steps`` is negative.
    """
    if steps < 0:
        raise ValueError(f"steps: found {steps}, expected 0 or more")
    if control_mode != keys.EE_DELTA:
        return ValueFade(steps)
    switches = np.array([keys.is_gripper(name) for name in names])
    return PathFade(steps, switches, np.asarray(low, np.float32), np.asarray(high, np.float32))


def _rising(count: int, whole: int) -> np.ndarray:
    """Weights (count, 1): 1 / whole, 2 / whole ... 1, and 1 from then on."""
    return np.minimum(np.arange(1, count + 1) / whole, 1.0)[:, None]

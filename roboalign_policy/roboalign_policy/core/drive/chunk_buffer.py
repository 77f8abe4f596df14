"""Decide which action of which chunk belongs to the next control step.

The place of an action in its chunk is counted in *steps commanded after the chunk's observation
was taken*, not in seconds: while the arm holds still, waiting for the model, nothing moves and the
chunk's first action is still the right one; steps that an older chunk commanded meanwhile are
skipped. An observation is older than the moment at which it is looked at (exposure, transport),
so what was commanded between its stamp and that moment counts too: the image does not show it.
Counting makes the rule the same in real time and in lock step, and immune to timer jitter.

A chunk is checked when it is offered and refused as a whole. An empty buffer yields ``None``,
never zeros: zero is a command too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.drive.cross_fade import Fade, Overtaken
from roboalign_policy.core.policy.accept import Bounds, ChunkError, accept
from roboalign_policy.core.policy.prediction import ChunkStatus


@dataclass(frozen=True)
class ActionSpace:
    """The shape and the limits every chunk must respect.

    Attributes:
        names: A dimension names in the contract's order.
        low: (A,) float32, lowest value of each dimension, in the contract's units.
        high: (A,) float32, highest value of each dimension, in the contract's units.
        horizon: T, actions in a chunk.
    """

    names: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    horizon: int

    def __post_init__(self) -> None:
        """Refuse impossible values.

        Raises:
            ValueError: naming the field, the value and what was expected.
        """
        shape = (len(self.names),)
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        if low.shape != shape or high.shape != shape:
            raise ValueError(f"limits: found shapes {low.shape}, {high.shape}, expected {shape}")
        if not np.all(low < high):
            raise ValueError(
                f"limits: found low {low.tolist()}, high {high.tolist()}, expected low < high"
            )
        if self.horizon < 1:
            raise ValueError(f"horizon: found {self.horizon}, expected at least 1")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def switch_positions(self, action: np.ndarray) -> tuple[bool, ...]:
        """Whether each gripper of an action (A,) is in the upper half of its range."""
        switches = np.array([keys.is_gripper(name) for name in self.names])
        middle = (self.low + self.high) / 2
        return tuple((action > middle)[switches].tolist())

    def checked(self, actions: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
        """Return ``actions`` as (T, A) float32 if all of them may be executed.

        Args:
            actions: (T, A) float, units of the contract.
            names: dimension names the chunk claims, where it carries any.

        Raises:
            ChunkError: when names, shape or values are not acceptable.
        """
        if names is not None and tuple(names) != self.names:
            raise ChunkError(
                ChunkStatus.WRONG_NAMES, f"found {list(names)}, expected {list(self.names)}"
            )
        expected = (self.horizon, len(self.names))
        actions = np.asarray(actions, dtype=np.float32)
        if actions.shape != expected:
            raise ChunkError(
                ChunkStatus.WRONG_SHAPE, f"found {actions.shape}, expected {expected}"
            )
        return accept(actions, Bounds(self.names, self.low, self.high))


@dataclass(frozen=True)
class Chunk:
    """One prediction on its way to the arm.

    Attributes:
        sequence: counts up with every chunk.
        observation_ns: stamp of the observation it answers.
        place: steps commanded before that observation was taken, see `ChunkBuffer.place_at`.
        actions: (T, A) float32, units of the contract.
        names: dimension names the chunk claims; None when it comes from the contract's own policy.
    """

    sequence: int
    observation_ns: int
    place: int
    actions: np.ndarray
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ChunkAction:
    """One step for the arm: ``values`` (A,) float32 is action ``index`` of chunk ``sequence``."""

    values: np.ndarray
    sequence: int
    index: int


class ChunkBuffer:
    """The one chunk that is being executed, and the count of steps commanded so far."""

    def __init__(self, space: ActionSpace, max_age_s: float, fade: Fade | None = None) -> None:
        """Start empty.

        Args:
            space: what a chunk must look like.
            max_age_s: s; greatest age of a chunk's observation while its actions are executed.
            fade: joins a new chunk to what was commanded meanwhile and to the rest of the present
                one; None: the new one begins at once.

        Raises:
            ValueError: when ``max_age_s`` is not positive.
        """
        if not max_age_s > 0:
            raise ValueError(f"max_age_s: found {max_age_s}, expected a positive number")
        self.space = space
        self.commanded = 0
        self.empty_reason = "no chunk yet"
        self._max_age_ns = int(max_age_s * 1e9)
        self._fade = fade
        self._chunk: Chunk | None = None
        # What all steps of a chunk may overtake, and the one before.
        self._sent: deque[tuple[int, np.ndarray]] = deque(maxlen=space.horizon + 1)

    @property
    def remaining(self) -> int:
        """Actions of the present chunk that are still to come."""
        if self._chunk is None:
            return 0
        return max(0, self.space.horizon - (self.commanded - self._chunk.place))

    def rest(self) -> np.ndarray:
        """Return the actions still to come, (R, A) float32; (0, A) where there are none."""
        if self._chunk is None:
            return np.empty((0, len(self.space.names)), np.float32)
        return self._chunk.actions[self.commanded - self._chunk.place :]

    def place_at(self, stamp_ns: int) -> int:
        """Return how many steps had been commanded when an observation was taken.

        Args:
            stamp_ns: stamp of the observation, in the clock of ``now_ns`` of `take`.
        """
        return self.commanded - self._unseen(stamp_ns)

    def rest_from(self, place: int) -> np.ndarray:
        """Return the actions from ``place`` on: commanded ones first, then those still to come.

        Returns:
            (R, A) float32; (0, A) where no chunk is there.
        """
        rest = self.rest()
        unseen = self.commanded - place
        if not unseen or self._chunk is None:
            return rest
        return np.vstack([*(values for _, values in list(self._sent)[-unseen:]), rest])

    def forget_times(self) -> None:
        """Forget when steps were commanded: the clock of the observations has jumped."""
        self._sent.clear()

    def offer(self, chunk: Chunk, now_ns: int) -> Chunk:
        """Check ``chunk`` and make it the present one.

        What was left of the one before goes, faded out over the first steps where a cross-fade
        was given.

        Args:
            chunk: the candidate.
            now_ns: present time in the clock of the observations.

        Returns:
            The chunk, checked; without the fade, and with the place at which it is executed.

        Raises:
            ChunkError: when it must not be executed; the present chunk is then untouched.
        """
        chunk = replace(chunk, actions=self.space.checked(chunk.actions, chunk.names))
        fault = self._age_fault(chunk, now_ns)
        if fault is not None:
            raise ChunkError(ChunkStatus.TOO_OLD, fault)
        index = self.commanded - chunk.place
        if not 0 <= index < self.space.horizon:
            raise ChunkError(
                ChunkStatus.TOO_OLD,
                f"{index} steps were commanded since its observation, "
                f"it holds {self.space.horizon}",
            )
        joined = chunk.actions
        if self._fade is not None:
            overtaken = self._overtaken(index, now_ns)
            index = self._fade.first(joined, overtaken)
            joined = self.space.checked(self._fade.join(joined, overtaken, index))
        chunk = replace(chunk, place=self.commanded - index)
        self._chunk = replace(chunk, actions=joined)
        return chunk

    def take(self, now_ns: int) -> ChunkAction | None:
        """Hand out the action of this control step; None when there is none (see `empty_reason`).

        Args:
            now_ns: present time in the clock of the observations.
        """
        chunk = self._chunk
        if chunk is None:
            return None
        fault = self._age_fault(chunk, now_ns)
        if fault is not None:
            self.clear(f"chunk {chunk.sequence} is too old: {fault}")
            return None
        index = self.commanded - chunk.place
        if index >= self.space.horizon:
            self.clear(f"chunk {chunk.sequence} is used up")
            return None
        self.commanded += 1
        self._sent.append((now_ns, chunk.actions[index]))
        return ChunkAction(chunk.actions[index], chunk.sequence, index)

    def clear(self, reason: str) -> None:
        """Forget the present chunk; ``reason`` is what `empty_reason` will say."""
        self._chunk = None
        self.empty_reason = reason

    def _overtaken(self, index: int, now_ns: int) -> Overtaken:
        """The last ``index`` commanded steps, and the rest of the chunk if it is young enough."""
        none = np.empty((0, len(self.space.names)), np.float32)
        values = [values for _, values in self._sent]
        sent = np.array(values[-index:]) if index else none
        before = values[-index - 1] if len(values) > index else None
        fresh = self._chunk is not None and not self._age_fault(self._chunk, now_ns)
        return Overtaken(sent, self.rest() if fresh else none, before)

    def _unseen(self, stamp_ns: int) -> int:
        """Steps commanded after ``stamp_ns``."""
        return sum(sent_ns > stamp_ns for sent_ns, _ in self._sent)

    def _age_fault(self, chunk: Chunk, now_ns: int) -> str | None:
        age_ns = now_ns - chunk.observation_ns
        if age_ns < 0:
            return f"its observation lies {-age_ns / 1e9:.3f} s in the future: the clock went back"
        if age_ns > self._max_age_ns:
            limit_s = self._max_age_ns / 1e9
            return f"its observation is {age_ns / 1e9:.3f} s old, limit {limit_s:.3f} s"
        return None

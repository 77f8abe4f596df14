"""Which thought the next chunk is made with, and when a new one is asked for. No ROS, no threads.

A thought takes longer than an action, and holds for longer. It may be kept while the actions are
renewed, and in real time the next one is made beside them. One that is too old is like an old
observation: it is not acted on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

ALWAYS, EVERY_N, WHEN_FULFILLED, NEVER = "always", "every_n", "when_fulfilled", "never"
REASONING = (ALWAYS, EVERY_N, WHEN_FULFILLED, NEVER)


@dataclass(frozen=True)
class ThoughtSettings:
    """How long a thought is kept; see the policy node's parameters.

    Attributes:
        mode: `always`: every chunk has a thought of its own, which the policy makes before it;
            `every_n`: one serves several chunks; `when_fulfilled`: one serves until the gripper
            has switched, which is what a thought leads to, or half of its greatest age is over;
            `never`: there are none.
        chunks: `every_n`: how many chunks.
        max_age_s: s; older than that, a thought is not acted on.
    """

    mode: str = ALWAYS
    chunks: int = 2
    max_age_s: float = 4.0

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names field, value and range."""
        if self.mode not in REASONING:
            expected = ", ".join(REASONING)
            raise ValueError(f"reasoning: found {self.mode!r}, expected one of {expected}")
        if self.chunks < 1:
            raise ValueError(f"reasoning_chunks: found {self.chunks}, expected 1 or more")
        if not self.max_age_s > 0:
            found = f"found {self.max_age_s}"
            raise ValueError(f"max_thought_age_s: {found}, expected a positive number")

    @property
    def kept(self) -> bool:
        """Whether a thought may serve more than one chunk."""
        return self.mode in (EVERY_N, WHEN_FULFILLED)


@dataclass(frozen=True)
class ThoughtRequest:
    """One question for a thought alone.

    Attributes:
        epoch: number of the run, or of its restart; answers to an earlier one go.
        place: steps commanded before the observation was taken.
        observation_ns: stamp of the frame.
        values: of the frame.
        instruction: the task in words.
    """

    epoch: int
    place: int
    observation_ns: int
    values: Mapping[str, np.ndarray]
    instruction: str


@dataclass(frozen=True)
class Thought:
    """A thought, and what it was about.

    Attributes:
        text: the words.
        observation_ns: stamp of the frame that it answers.
        place: steps commanded before that was taken.
    """

    text: str
    observation_ns: int
    place: int


class Thoughts:
    """The thought that is there."""

    def __init__(
        self,
        settings: ThoughtSettings,
        switched: Callable[[np.ndarray], tuple[bool, ...]],
        *,
        beside: bool,
    ) -> None:
        """Start without one.

        Args:
            settings: how long it is kept.
            switched: the settings, such as of a gripper, in an action (A,).
            beside: the next thought is made while this one is acted on; False: the world waits,
                and the policy thinks before it acts.
        """
        self.settings, self._switched = settings, switched
        self._beside = beside and settings.kept
        self._thought: Thought | None = None
        self._chunks = 0
        self._positions: tuple[bool, ...] | None = None
        self._switch_place = -1

    def forget(self) -> None:
        """What was thought is of no use any more."""
        self._thought, self._positions, self._switch_place = None, None, -1

    def take(self, thought: Thought, chunks: int = 0) -> None:
        """Keep a new thought; ``chunks``: that it has served already."""
        self._thought, self._chunks = thought, chunks

    def commanded(self, action: np.ndarray, place: int) -> None:
        """Note an action (A,) that is commanded; ``place``: how many were before it."""
        positions = self._switched(action)
        if self._positions not in (None, positions):
            self._switch_place = place
        self._positions = positions

    def asked(self) -> None:
        """Count a chunk that is asked for with the present thought."""
        self._chunks += 1

    def acted_on(self, now_ns: int) -> Thought | None:
        """The thought that the next chunk is to be made with; None: a new one.

        ``now_ns``: in the clock of the observations.
        """
        thought = self._thought
        if thought is None or not self._beside:
            return None if self._due(now_ns) else thought
        return None if self.fulfilled(thought) else thought

    def wanted(self, now_ns: int) -> bool:
        """Whether a new one is to be asked for beside the actions."""
        return self._beside and self._due(now_ns)

    @property
    def beside(self) -> bool:
        """Whether thoughts are made beside the actions: without one no chunk is asked for."""
        return self._beside

    @property
    def before_acting(self) -> bool:
        """Whether a thought that the policy makes before it acts is kept."""
        return self.settings.kept and not self._beside

    def fulfilled(self, thought: Thought) -> bool:
        """Whether the gripper has switched since a thought's observation, and that ends it."""
        return self.settings.mode == WHEN_FULFILLED and self._switch_place >= thought.place

    def fault(self, thought: Thought | None, now_ns: int) -> str:
        """Why a thought must not be acted on; empty: nothing.

        Args:
            thought: None: the present one.
            now_ns: in the clock of the observations.
        """
        thought = thought or self._thought
        if thought is None:
            return ""
        age_s, limit_s = (now_ns - thought.observation_ns) / 1e9, self.settings.max_age_s
        if age_s <= limit_s:
            return ""
        return f"its observation is {age_s:.3f} s old, max_thought_age_s {limit_s:.3f} s"

    def _due(self, now_ns: int) -> bool:
        thought, settings = self._thought, self.settings
        if thought is None:
            return True
        if settings.mode == EVERY_N:
            return self._chunks >= settings.chunks
        half_age = (now_ns - thought.observation_ns) / 1e9 > settings.max_age_s / 2
        return self.fulfilled(thought) or half_age

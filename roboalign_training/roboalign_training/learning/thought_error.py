"""How far a policy's thoughts are from those of demonstrations: the event, and its place."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.learning.reasoning import DIRECTIONS
from roboalign_training.shared.statistics import clustered_wilson_interval, mean_interval

_FORM = re.compile(r"(?P<event>[^:]+?)(?: at (?P<place>-?\d+(?: -?\d+)*))? : .+", re.DOTALL)
NEAR, OTHER = 1, 3
"""Units of the prompt (centimetres where its scale is 100): a place that is farther off in any
direction is told; farther than the second one it is likely another object's."""


def thought_unit(contract: Contract) -> str:
    """The unit of places in thoughts, in words; empty where thoughts name no place."""
    scales = {item.scale for item in contract.prompt_state if item.label in DIRECTIONS}
    named = {item.label for item in contract.prompt_state}
    if not set(DIRECTIONS) <= named:
        return ""
    return {100.0: "cm", 1000.0: "mm", None: "m"}.get(
        scales.pop() if len(scales) == 1 else 0.0, "units of the prompt"
    )


def read_thought(text: str) -> tuple[str, tuple[int, ...] | None] | None:
    """Event and place of a thought as `reasoning_text` writes it; None of any other text."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    place = found["place"]
    return found["event"], None if place is None else tuple(map(int, place.split()))


@dataclass
class ThoughtErrors:
    """Thoughts beside the demonstrations', frame by frame.

    Attributes:
        unread: thoughts of another form.
        events: by episode, whether the event is the demonstration's.
        words: by episode, whether all words before the place are: event, object, progress.
        places: by episode, (3,) int errors of places in units of the prompt.
    """

    unread: int = 0
    events: list[tuple[Hashable, bool]] = field(default_factory=list)
    places: list[tuple[Hashable, np.ndarray]] = field(default_factory=list)
    words: list[tuple[Hashable, bool]] = field(default_factory=list)

    def add(
        self, episode: Hashable, thought: str, demonstrated: str, styled: str | None = None
    ) -> None:
        """Compare one thought.

        Args:
            episode: the frames of one are not independent.
            thought: the policy's, in any style.
            demonstrated: of `reasoning_text` in the style `place`.
            styled: the same in the style of the policy; None: that is `place`.

        Raises:
            ValueError: the demonstrated thought is not of that form.
        """
        wanted = read_thought(demonstrated)
        if wanted is None:
            raise ValueError(f"demonstrated: found {demonstrated!r}, expected a thought")
        found = read_thought(thought)
        if found is None or (found[1] is None) != (wanted[1] is None):
            self.unread += 1
            self.events.append((episode, False))
            self.words.append((episode, False))
            return
        # The other styles have the plan before the event, or the object behind it.
        event = f"{found[0].rpartition(' . ')[2]} "
        self.events.append((episode, event.startswith(f"{wanted[0]} ")))
        told = wanted if styled is None else read_thought(styled)
        if told is None:
            raise ValueError(f"styled: found {styled!r}, expected a thought")
        self.words.append((episode, found[0] == told[0]))
        if wanted[1] is not None:
            if len(found[1]) != len(wanted[1]):
                self.unread += 1
                return
            self.places.append((episode, np.subtract(found[1], wanted[1])))

    def record(self, unit: str) -> dict:
        """As it stands in reports: shares with 95 % intervals, episodes as clusters.

        Args:
            unit: of places, as of `thought_unit`.
        """
        errors = np.abs(np.array([error for _, error in self.places]).reshape(-1, len(DIRECTIONS)))
        record = {
            "n": len(self.events),
            "episodes": len({episode for episode, _ in self.events}),
            "unread": self.unread,
            "wrong_event": self._share([(episode, not right) for episode, right in self.events]),
            "wrong_words": self._share([(episode, not right) for episode, right in self.words]),
            "places": len(errors),
        }
        if not len(errors):
            return record
        largest = errors.max(axis=1)
        names = [episode for episode, _ in self.places]
        return record | {
            "unit": unit,
            "error_by_axis": dict(zip(DIRECTIONS, errors.mean(axis=0).tolist(), strict=True)),
            "error": float(largest.mean()),
            "error_interval": mean_interval(largest),
            f"beyond_{NEAR}": self._share(list(zip(names, largest > NEAR, strict=True))),
            f"beyond_{OTHER}": self._share(list(zip(names, largest > OTHER, strict=True))),
        }

    @staticmethod
    def _share(marks: list[tuple[Hashable, bool]]) -> dict:
        clusters: dict[Hashable, tuple[int, int]] = {}
        for episode, mark in marks:
            won, of = clusters.get(episode, (0, 0))
            clusters[episode] = won + bool(mark), of + 1
        share = sum(won for won, _ in clusters.values()) / max(len(marks), 1)
        return {"share": share, "interval": clustered_wilson_interval(list(clusters.values()))}

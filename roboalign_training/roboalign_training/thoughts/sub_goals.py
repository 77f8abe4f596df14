"""The sub-goals of an instruction, in its own words: `put A on B and C on D` are two.

Rules for plain imperative English, no model: a sub-goal is a verb, the thing it is about and the
place it is brought to. What the rules do not understand stays whole, as one sub-goal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_JOINTS = re.compile(r"\s*(?:[,;.]\s*)?\b(?:and then|after that|then|and)\b\s*|\s*[,;.]\s*")
_ARTICLES = {
    "the",
    "a",
    "an",
    "this",
    "that",
    "these",
    "those",
    "its",
    "your",
    "his",
    "her",
    "both",
}
_PRONOUNS = {"it", "them"}
_PARTICLES = {"up", "down", "away", "out", "over", "back", "open"}
_PLACES = {
    "on", "onto", "in", "into", "inside", "to", "from", "at", "under", "below", "behind", "beside",
    "above", "between", "near", "next", "off", "against", "around", "over", "with", "using", "by",
    "towards", "toward", "through",
}  # fmt: skip
_SWITCHES = {"turn", "switch"}
_MODIFIERS = {"left", "right", "front", "back", "top", "bottom", "big", "small", "other"}


@dataclass(frozen=True)
class SubGoal:
    """A part of an instruction.

    Attributes:
        words: all of it, as `put the red cube on the blue plate`.
        thing: what it is about, without articles, as `red cube`; empty where none is named.
        place: where to, with its preposition, as `on blue plate`; empty where none is named.
    """

    words: str
    thing: str
    place: str


def sub_goals(instruction: str) -> tuple[SubGoal, ...]:
    """The sub-goals of an instruction, in order; at least one.

    A part without a verb has that of the part before (`put A on B and C on D`), one without a
    place that of the next with the same verb (`put A and B on C`). A part about `it` belongs to
    the part before (`pick up A and put it on B` is one sub-goal).

    Args:
        instruction: in words, not empty.

    Raises:
        ValueError: there are no words in it.
    """
    text = " ".join(instruction.lower().split()).strip(" .,;!")
    if not text:
        raise ValueError(f"instruction: found {instruction!r}, expected words")
    parts: list[list[str]] = []
    implied: list[bool] = []
    for clause in filter(None, _JOINTS.split(text)):
        words = clause.split()
        if parts and _PRONOUNS & set(words[:3]) and not _thing(words)[0]:
            parts[-1] += ["and", *words]
            continue
        bare = words[0] in _ARTICLES and bool(parts)
        parts.append([*parts[-1][: _verb_length(parts[-1])], *words] if bare else words)
        implied.append(bare)
    for number in range(len(parts) - 2, -1, -1):
        # `put A and B on C`: A's place is that of B.
        if implied[number + 1] and not _thing(parts[number])[1]:
            parts[number] += _thing(parts[number + 1])[1]
    return tuple(_sub_goal(words) for words in parts)


def thing_words(goals: Sequence[SubGoal], number: int) -> tuple[str, str]:
    """Thing and place of a sub-goal; empty where there is no such sub-goal."""
    if not 0 <= number < len(goals):
        return "", ""
    return goals[number].thing, goals[number].place


def _sub_goal(words: list[str]) -> SubGoal:
    thing, place = _thing(words)
    if "and" in words:
        last = len(words) - words[::-1].index("and")
        place = _thing(words[last:])[1] or place
    kept = [word for word in place if word not in _ARTICLES]
    return SubGoal(" ".join(words), " ".join(thing), " ".join(kept))


def _verb_length(words: list[str]) -> int:
    """How many words the verb takes: `put`, `pick up`, `put down`."""
    if len(words) < 3:
        return 1
    switched = words[0] in _SWITCHES and words[1] in ("on", "off")
    return 2 if switched or (words[1] in _PARTICLES and words[2] not in _PLACES) else 1


def _thing(words: list[str]) -> tuple[list[str], list[str]]:
    """Words of the thing and of the place behind a verb."""
    rest = words[_verb_length(words) :]
    if "and" in rest:
        rest = rest[: rest.index("and")]
    if rest and rest[-1] in _PARTICLES and len(rest) > 1 and rest[-2] not in _MODIFIERS:
        rest = rest[:-1]  # `pull the drawer open`, `pick the cube up`
    at = next(
        (
            i
            for i, word in enumerate(rest)
            # `the next cube` is a thing, `next to` a place
            if word in _PLACES and not (word == "next" and rest[i + 1 : i + 2] != ["to"])
        ),
        len(rest),
    )
    thing = [word for word in rest[:at] if word not in _ARTICLES]
    if set(thing) <= _PRONOUNS:
        thing = []
    return thing, rest[at:]

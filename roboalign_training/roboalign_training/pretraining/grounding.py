"""Language-only questions about rendered tabletop scenes: captions, grounding, relations, counts.

Coordinates in questions and answers are integer centimetres in the robot's base frame (REP-103: x
forward, y left, z up), so that what the model learns to say is what an arm can use. Directions are
the robot's: left is +y, front is +x, away from the robot. No actions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white", "grey")
KINDS = (
    "where", "offset", "what", "colour", "relation", "extreme", "count", "exists", "gripper",
    "drawer", "holding", "caption",
)  # fmt: skip
WEIGHTS = np.array([36, 9, 10, 8, 14, 5, 5, 5, 4, 2, 2, 2], float)
RELATION_MARGIN_M = 0.03
TWIN_MARGIN_M = 0.03


@dataclass(frozen=True)
class Thing:
    """An object of a scene as questions see it.

    Attributes:
        colour: colour word, empty for the drawer.
        shape: ``cube``, ``plate`` or ``drawer``.
        position: (3,) m in base_link.
    """

    colour: str
    shape: str
    position: tuple[float, float, float]

    @property
    def noun(self) -> str:
        """Colour and shape in words."""
        return f"{self.colour} {self.shape}".strip()


@dataclass(frozen=True)
class SceneFacts:
    """What is true of a rendered scene.

    Attributes:
        things: the visible objects.
        gripper: (3,) m, position of the end effector in base_link.
        gripper_open: whether the fingers are apart.
        drawer_open: whether the drawer is pulled out.
        held: noun of the object between the fingers, or None.
    """

    things: tuple[Thing, ...]
    gripper: tuple[float, float, float]
    gripper_open: bool
    drawer_open: bool
    held: str | None = None


@dataclass(frozen=True)
class Question:
    """A question with its answer and the kind it is counted under."""

    kind: str
    question: str
    answer: str


def centimetres(value_m: float) -> int:
    """Metres to integer centimetres, half away from zero (as a person rounds)."""
    return int(np.floor(abs(value_m) * 100 + 0.5) * np.sign(value_m))


def displacement_words(delta_cm: tuple[int, int, int]) -> str:
    """A displacement in words, base frame: ``forward 7 right 3 down 12``, zeros left out.

    No displacement at all is ``stay``.
    """
    words = []
    for value, (plus, minus) in zip(
        delta_cm, (("forward", "back"), ("left", "right"), ("up", "down")), strict=True
    ):
        if value:
            words.append(f"{plus if value > 0 else minus} {abs(value)}")
    return " ".join(words) or "stay"


def named_things(facts: SceneFacts) -> dict[str, Thing]:
    """Every phrase that names exactly one object: ``red cube``, ``left red cube``.

    ``plate`` alone is a name where there is one plate.
    """
    names: dict[str, Thing] = {}
    groups: dict[str, list[Thing]] = {}
    for thing in facts.things:
        groups.setdefault(thing.noun, []).append(thing)
    for noun, group in groups.items():
        if len(group) == 1:
            names[noun] = group[0]
        elif len(group) == 2:
            for axis, (plus, minus) in ((1, ("left", "right")), (0, ("front", "back"))):
                low, high = sorted(group, key=lambda t: t.position[axis])
                if high.position[axis] - low.position[axis] > TWIN_MARGIN_M:
                    names[f"{plus} {noun}"], names[f"{minus} {noun}"] = high, low
    plates = [t for t in facts.things if t.shape == "plate"]
    if len(plates) == 1:
        names["plate"] = plates[0]
    return names


def make_question(
    facts: SceneFacts, rng: np.random.Generator, kind: str | None = None
) -> Question:
    """Draw a question about a scene.

    Args:
        facts: what is true of the scene.
        rng: source of randomness.
        kind: one of ``KINDS``; drawn by ``WEIGHTS`` when None. A kind that the scene cannot answer
            falls to ``gripper``.

    Returns:
        The question in the words of roboalign-tiny.
    """
    kind = kind or KINDS[rng.choice(len(KINDS), p=WEIGHTS / WEIGHTS.sum())]
    made = _MAKERS[kind](facts, rng)
    if made is None:
        kind, made = "gripper", _gripper(facts, rng)
    return Question(kind, *made)


def _pick(rng: np.random.Generator, items):
    items = list(items)
    return items[int(rng.integers(len(items)))] if items else None


def _long_or_short(rng: np.random.Generator, full: str, short: str) -> str:
    """Most questions are asked in few words: the same lesson in fewer tokens."""
    return full if rng.random() < 0.3 else short


def _where(facts, rng):
    names = named_things(facts)
    name = _pick(rng, names)
    if name is None:
        return None
    x, y, _ = names[name].position
    return _long_or_short(
        rng, f"where is the {name} ?", f"{name} ?"
    ), f"{centimetres(x)} {centimetres(y)}"


def _offset(facts, rng):
    names = named_things(facts)
    name = _pick(rng, names)
    if name is None:
        return None
    here = tuple(centimetres(v) for v in facts.gripper)
    there = tuple(centimetres(v) for v in names[name].position)
    answer = (
        " ".join(map(str, there))
        + " : "
        + displacement_words(tuple(b - a for a, b in zip(here, there, strict=True)))
    )
    fingers = "open" if facts.gripper_open else "closed"
    return (
        f"reach the {name} . state : x {here[0]} y {here[1]} z {here[2]} gripper {fingers} .",
        answer,
    )


def _what(facts, rng):
    thing = _pick(rng, facts.things)
    if thing is None:
        return None
    x, y, _ = thing.position
    place = f"at {centimetres(x)} {centimetres(y)} ?"
    return _long_or_short(rng, f"what is {place}", place), thing.noun


def _colour(facts, rng):
    thing = _pick(rng, (t for t in facts.things if t.colour))
    if thing is None:
        return None
    x, y, _ = thing.position
    place = f"at {centimetres(x)} {centimetres(y)} ?"
    return _long_or_short(
        rng, f"what colour is the {thing.shape} {place}", f"colour {place}"
    ), thing.colour


_RELATIONS: dict[str, Callable] = {
    "left of": lambda a, b: a[1] - b[1],
    "right of": lambda a, b: b[1] - a[1],
    "in front of": lambda a, b: a[0] - b[0],
    "behind": lambda a, b: b[0] - a[0],
}


def _relation(facts, rng):
    names = named_things(facts)
    if len(names) < 2:
        return None
    keys = list(names)
    first, second = (keys[i] for i in rng.choice(len(keys), 2, replace=False))
    relation = _pick(rng, _RELATIONS)
    gap = _RELATIONS[relation](names[first].position, names[second].position)
    if abs(gap) < RELATION_MARGIN_M:
        return None
    asked = _long_or_short(
        rng, f"is the {first} {relation} the {second} ?", f"{first} {relation} {second} ?"
    )
    return asked, "yes" if gap > 0 else "no"


def _extreme(facts, rng):
    cubes = [t for t in facts.things if t.shape == "cube"]
    if len(cubes) < 2:
        return None
    word, key = _pick(
        rng,
        [
            ("farthest left", lambda t: t.position[1]),
            ("farthest right", lambda t: -t.position[1]),
            (
                "nearest to the gripper",
                lambda t: -np.hypot(*(np.subtract(t.position, facts.gripper)[:2])),
            ),
        ],
    )
    ranked = sorted(cubes, key=key)
    if key(ranked[-1]) - key(ranked[-2]) < 0.02:
        return None
    return f"which cube is {word} ?", ranked[-1].noun


def _count(facts, rng):
    shape = _pick(rng, ("cube", "plate"))
    colour = _pick(rng, COLOURS[:7]) if shape == "cube" and rng.random() < 0.5 else ""
    n = sum(t.shape == shape and colour in ("", t.colour) for t in facts.things)
    asked = f"how many {f'{colour} {shape}s'.strip()}"
    return _long_or_short(rng, f"{asked} are there ?", f"{asked} ?"), str(n)


def _exists(facts, rng):
    present = {t.noun for t in facts.things if t.shape != "drawer"}
    if rng.random() < 0.5 and present:
        noun = _pick(rng, sorted(present))
    else:
        noun = f"{_pick(rng, COLOURS)} {_pick(rng, ('cube', 'plate'))}"
    return f"is there a {noun} ?", "yes" if noun in present else "no"


def _gripper(facts, rng):
    if rng.random() < 0.3:
        return "is the gripper open ?", "yes" if facts.gripper_open else "no"
    return "where is the gripper ?", " ".join(str(centimetres(v)) for v in facts.gripper)


def _drawer(facts, rng):
    if not any(t.shape == "drawer" for t in facts.things):
        return None
    return "is the drawer open ?", "yes" if facts.drawer_open else "no"


def _holding(facts, rng):
    return "what does the gripper hold ?", f"the {facts.held}" if facts.held else "nothing"


def _caption(facts, rng):
    things = [t for t in facts.things if t.shape != "drawer"]
    ordered = sorted(
        things, key=lambda t: (("cube", "plate").index(t.shape), COLOURS.index(t.colour))
    )
    text = " , ".join(f"{'an' if t.noun[0] == 'o' else 'a'} {t.noun}" for t in ordered)
    if any(t.shape == "drawer" for t in facts.things):
        text += f" and {'an open' if facts.drawer_open else 'a closed'} drawer"
    return "describe the scene .", text.strip()


_MAKERS: dict[str, Callable] = dict(
    zip(KINDS, (
        _where, _offset, _what, _colour, _relation, _extreme, _count, _exists, _gripper, _drawer,
        _holding, _caption,
    ), strict=True)
)  # fmt: skip

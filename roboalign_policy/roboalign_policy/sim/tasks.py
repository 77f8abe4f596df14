"""The four suites: which tasks there are, what each asks for and how its scene is laid out.

Directions are the robot's (REP-103): left is +y, right is -y, front is +x (away from the robot),
back is -x.
"""

from __future__ import annotations

import dataclasses
import difflib

import numpy as np

from roboalign_policy.sim.goals import Goal, OpenDrawer, PutOn
from roboalign_policy.sim.layout import sample_places
from roboalign_policy.sim.scene import Placement

SINGLE_STEPS, DOUBLE_STEPS = 48, 96  # two to three times what the expert takes
RELATIONS: dict[str, tuple[int, int]] = {
    "left": (1, 1),
    "right": (1, -1),
    "front": (0, 1),
    "back": (0, -1),
}  # axis, sign
RELATION_MARGIN_M = 0.12
_OBJECT_COLOURS = ("red", "green", "blue", "yellow")
_YAW_RAD = 0.1


@dataclasses.dataclass(frozen=True)
class Task:
    """One instruction with its goals and its kind of scene.

    cubes, plates: colours that are always there. extra: colours of which more cubes are drawn, as
    many as a draw from `extra_counts` says. relation: so the first cube stands to the second, its
    twin, as the robot sees it.
    """

    name: str
    suite: str
    instruction: str
    max_steps: int
    goals: tuple[Goal, ...]
    cubes: tuple[str, ...]
    plates: tuple[str, ...]
    extra: tuple[str, ...] = ()
    extra_counts: tuple[int, ...] = (0,)
    relation: str | None = None

    def layout(self, rng: np.random.Generator) -> list[Placement]:
        """A random scene of this task, cubes first."""
        count = int(rng.choice(self.extra_counts))
        cubes = [*self.cubes, *rng.permutation(self.extra).tolist()[:count]]
        shapes = ["cube"] * len(cubes) + ["plate"] * len(self.plates)
        places = sample_places(rng, shapes, self._accept if self.relation else None)
        return [
            Placement(colour, shape, x, y, float(rng.uniform(-_YAW_RAD, _YAW_RAD)))
            for colour, shape, (x, y) in zip([*cubes, *self.plates], shapes, places, strict=True)
        ]

    def _accept(self, places: list[tuple[float, float]]) -> bool:
        axis, sign = RELATIONS[self.relation]
        return sign * (places[0][axis] - places[1][axis]) > RELATION_MARGIN_M


def _others(colour: str) -> tuple[str, ...]:
    return tuple(c for c in _OBJECT_COLOURS if c != colour)


def _object_task(colour: str) -> Task:
    return Task(
        name=f"{colour}_cube_on_plate",
        suite="object",
        instruction=f"put the {colour} cube on the plate",
        max_steps=SINGLE_STEPS,
        goals=(PutOn(f"{colour} cube", "white plate"),),
        cubes=(colour,),
        plates=("white",),
        extra=_others(colour),
        extra_counts=(2, 3),
    )


def _spatial_task(relation: str, colour: str) -> Task:
    return Task(
        name=f"{relation}_{colour}_cube_on_plate",
        suite="spatial",
        instruction=f"put the {relation} {colour} cube on the plate",
        max_steps=SINGLE_STEPS,
        goals=(PutOn(f"{colour} cube", "white plate"),),
        cubes=(colour, colour),
        plates=("white",),
        extra=_others(colour),
        extra_counts=(0, 1),
        relation=relation,
    )


def _goal_task(name: str, instruction: str, *goals: Goal) -> Task:
    suite, steps = ("goal", SINGLE_STEPS) if len(goals) == 1 else ("long", DOUBLE_STEPS)
    return Task(
        name,
        suite,
        instruction,
        steps,
        goals,
        ("red", "green"),
        ("blue", "yellow"),
        ("blue",),
        (0, 1),
    )


SUITES: dict[str, tuple[Task, ...]] = {
    "object": tuple(_object_task(colour) for colour in _OBJECT_COLOURS),
    "spatial": tuple(
        _spatial_task(relation, colour) for colour in ("red", "blue") for relation in RELATIONS
    ),
    "goal": (
        _goal_task(
            "red_on_blue_plate",
            "put the red cube on the blue plate",
            PutOn("red cube", "blue plate"),
        ),
        _goal_task(
            "red_on_yellow_plate",
            "put the red cube on the yellow plate",
            PutOn("red cube", "yellow plate"),
        ),
        _goal_task(
            "red_on_green_cube",
            "put the red cube on the green cube",
            PutOn("red cube", "green cube"),
        ),
        _goal_task("open_drawer", "open the drawer", OpenDrawer()),
    ),
    "long": (
        _goal_task(
            "red_blue_green_yellow",
            "put the red cube on the blue plate and the green cube on the yellow plate",
            PutOn("red cube", "blue plate"),
            PutOn("green cube", "yellow plate"),
        ),
        _goal_task(
            "green_blue_red_yellow",
            "put the green cube on the blue plate and the red cube on the yellow plate",
            PutOn("green cube", "blue plate"),
            PutOn("red cube", "yellow plate"),
        ),
        _goal_task(
            "drawer_red_in_drawer",
            "open the drawer and put the red cube in the drawer",
            OpenDrawer(),
            PutOn("red cube", "drawer"),
        ),
        _goal_task(
            "red_blue_green_red",
            "put the red cube on the blue plate and the green cube on the red cube",
            PutOn("red cube", "blue plate"),
            PutOn("green cube", "red cube"),
        ),
    ),
}


def find_task(suite: str, task: str) -> Task:
    """The task of a suite by name, or by its number in the suite.

    Raises:
        ValueError: there is no such suite or task; the text lists those that exist.
    """
    if suite not in SUITES:
        raise ValueError(f"suite: found {suite!r}, expected one of {', '.join(SUITES)}")
    for number, candidate in enumerate(SUITES[suite]):
        if task in (candidate.name, str(number)):
            return candidate
    names = [candidate.name for candidate in SUITES[suite]]
    close = difflib.get_close_matches(task, names, 1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(
        f"task of suite {suite}: found {task!r}, expected one of {', '.join(names)}{meant}"
    )

"""Instructions that a scene allows, in words of the suites: other tasks in the same picture."""

from __future__ import annotations

import numpy as np

from roboalign_policy.sim.goals import OPEN_ENOUGH, Goal, OpenDrawer, PutOn
from roboalign_policy.sim.model import CUBE_HALF_M
from roboalign_policy.sim.scene import Scene

_TWIN_MARGIN_M = 0.05
_UNDER_M = 0.03  # horizontally; a cube with another one above it is not asked for
_ON_TABLE_M = CUBE_HALF_M + 0.005
_DOUBLE_SHARE = 0.35
_DRAWER_SHARE = 0.12


def phrases(scene: Scene, shape: str) -> dict[str, list[str]]:
    """How each object of a shape can be named so that no other one is meant.

    Returns:
        Name in the scene -> phrases such as `red cube`, `left red cube`; objects that no phrase
        tells from another are left out.
    """
    states = [state for state in scene.objects().values() if state.shape == shape]
    groups: dict[str, list] = {}
    for state in states:
        groups.setdefault(f"{state.colour} {shape}", []).append(state)
    named: dict[str, list[str]] = {}
    for noun, group in groups.items():
        if len(group) == 1:
            named[group[0].name] = [noun]
        elif len(group) == 2 and all(state.position[2] < _ON_TABLE_M for state in group):
            # Which one `left` means is what it was before the task began.
            for axis, (plus, minus) in ((1, ("left", "right")), (0, ("front", "back"))):
                low, high = sorted(group, key=lambda state: state.position[axis])
                if high.position[axis] - low.position[axis] > _TWIN_MARGIN_M:
                    named.setdefault(high.name, []).append(f"{plus} {noun}")
                    named.setdefault(low.name, []).append(f"{minus} {noun}")
    return named


def random_instruction(
    scene: Scene, rng: np.random.Generator
) -> tuple[str, tuple[Goal, ...]] | None:
    """An instruction about the objects of a scene, and the goals it means.

    Returns:
        None where there is nothing to put anywhere and the drawer was not drawn.
    """
    if rng.random() < _DRAWER_SHARE:
        return "open the drawer", (OpenDrawer(),)
    first = _put(scene, rng, taken=())
    if first is None:
        return None
    words, goal = first
    if rng.random() < _DOUBLE_SHARE:
        if rng.random() < _DRAWER_SHARE:
            words = f"open the drawer and put the {_name(scene, goal.cube, rng)} in the drawer"
            return words, (OpenDrawer(), PutOn(goal.cube, "drawer"))
        second = _put(scene, rng, taken=(goal.cube, goal.support))
        if second is not None:
            return f"put {words} and {second[0]}", (goal, second[1])
    return f"put {words}", (goal,)


def _name(scene: Scene, cube: str, rng: np.random.Generator) -> str:
    named = phrases(scene, "cube")[cube]
    return named[int(rng.integers(len(named)))]


def _put(
    scene: Scene, rng: np.random.Generator, taken: tuple[str, ...]
) -> tuple[str, PutOn] | None:
    """`the red cube on the blue plate` and the goal, of what is not taken by another goal."""
    states = scene.objects()
    cubes, plates = phrases(scene, "cube"), phrases(scene, "plate")
    free = [name for name in cubes if name not in taken and not _covered(states, name)]
    if not free:
        return None
    cube = free[int(rng.integers(len(free)))]
    places = {name: f"on the {names[0]}" for name, names in plates.items() if name not in taken}
    if len(places) == len(plates) == 1 and sum(s.shape == "plate" for s in states.values()) == 1:
        places = dict.fromkeys(places, "on the plate")
    for name, names in cubes.items():
        # In a goal that follows, the cube that was put somewhere may carry the next.
        if name != cube and not _covered(states, name) and name not in taken[1:]:
            places[name] = f"on the {names[0]}"
    if scene.drawer_opening > OPEN_ENOUGH:
        places["drawer"] = "in the drawer"
    if not places:
        return None
    support = list(places)[int(rng.integers(len(places)))]
    return f"the {_name(scene, cube, rng)} {places[support]}", PutOn(cube, support)


def _covered(states: dict, name: str) -> bool:
    """Whether another cube stands on a cube."""
    place = states[name].position
    return any(
        other.shape == "cube"
        and other.name != name
        and np.hypot(*(other.position - place)[:2]) < _UNDER_M
        and other.position[2] - place[2] > CUBE_HALF_M
        for other in states.values()
    )

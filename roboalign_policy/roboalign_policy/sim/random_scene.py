"""Random scenes for language-only pretraining: a picture of anything, and the truth about it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from roboalign_policy.sim.arm_model import FINGER_STROKE_M
from roboalign_policy.sim.goals import CLOSED_WIDTH_M, OPEN_ENOUGH
from roboalign_policy.sim.layout import X_RANGE_M, Y_RANGE_M, sample_places
from roboalign_policy.sim.model import (
    COLOURS,
    CUBE_COUNT,
    CUBE_HALF_M,
    IMAGE_SIZE,
    PLATE_COUNT,
)
from roboalign_policy.sim.scene import ObjectState, Placement, Scene

_HELD_SHARE = 0.2
_OVER_OBJECT_SHARE = 0.35
_STACKED_SHARE = 0.3
_LOW_M = 0.085  # below this the fingers would stand in an object


@dataclasses.dataclass(frozen=True)
class SceneSample:
    """One picture and what is true of it; positions in m in base_link.

    image (128, 128, 3) uint8 rgb; ee_position (3,) float64; gripper_width in m; `held` names the
    cube between the fingers; `visible` names the objects that nothing hides; `supports` says of
    each cube that is put on something what that is.
    """

    image: np.ndarray
    objects: list[ObjectState]
    ee_position: np.ndarray
    gripper_width: float
    gripper_open: bool
    drawer_open: bool
    held: str | None
    visible: frozenset[str]
    supports: dict[str, str]


@functools.lru_cache(maxsize=1)
def _scene() -> Scene:
    return Scene()


def random_scene(seed: int) -> SceneSample:
    """A random scene; the same seed gives the same pixels.

    Raises:
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed: found {seed}, expected 0 or more")
    rng = np.random.default_rng(seed)
    scene = _scene()
    placements = _random_placements(rng)
    opening = float(rng.uniform(0.75, 1.0)) if rng.random() < 0.4 else 0.0
    cubes = [i for i, p in enumerate(placements) if p.shape == "cube"]
    held = int(rng.choice(cubes)) if cubes and rng.random() < _HELD_SHARE else None
    tool = _random_tool(rng, placements, held)
    if held is not None:
        width = 2 * CUBE_HALF_M
    else:
        width = 2 * FINGER_STROKE_M if rng.random() < 0.75 else float(rng.uniform(0.0, 0.045))
    scene.arrange(placements, scene.solve_arm(tool), width, opening)
    names = [name for name in scene.objects() if name != "drawer"]
    scene.forward()
    if held is not None:
        scene.move_cube(
            names[held],
            scene.tool_position + (rng.uniform(-0.005, 0.005), 0.0, rng.uniform(-0.005, 0.005)),
        )
    supports = _stack_some(
        rng, scene, [names[i] for i in cubes if i != held], opening > OPEN_ENOUGH
    )
    scene.forward()
    return scene_sample(scene, scene.render(), None if held is None else names[held], supports)


def scene_sample(
    scene: Scene, image: np.ndarray, held: str | None, supports: dict[str, str]
) -> SceneSample:
    """What is true of a scene as it stands.

    Args:
        scene: with positions brought up to date.
        image: (128, 128, 3) uint8 rgb, its front picture.
        held: the cube between the fingers.
        supports: cube -> what it was put on.
    """
    objects, width = list(scene.objects().values()), scene.gripper_width_m
    return SceneSample(
        image=image,
        objects=objects,
        ee_position=scene.tool_position,
        gripper_width=width,
        gripper_open=width > CLOSED_WIDTH_M,
        drawer_open=scene.drawer_opening > OPEN_ENOUGH,
        held=held,
        supports=supports,
        visible=frozenset(state.name for state in objects if _is_visible(scene, image, state)),
    )


def _stack_some(
    rng: np.random.Generator, scene: Scene, cubes: list[str], drawer_open: bool
) -> dict[str, str]:
    """Now and then puts the last cube on a plate, on a cube or into the open drawer."""
    if not cubes or rng.random() > _STACKED_SHARE:
        return {}
    states = scene.objects()
    places = {n: states[n].position for n in states if states[n].shape == "plate"}
    places |= {n: states[n].position + (0, 0, CUBE_HALF_M) for n in cubes[:-1]}
    if drawer_open:
        places["drawer"] = scene.tray_position
    near = scene.tool_position
    free = [
        n
        for n, p in places.items()
        if abs(p[0] - near[0]) > 0.05 or abs(p[1] - near[1]) > 0.11 or near[2] > 0.13
    ]
    if not free:
        return {}
    support = free[int(rng.integers(len(free)))]
    offset = (*rng.normal(0, 0.008, 2), CUBE_HALF_M)
    scene.move_cube(cubes[-1], places[support] + offset)
    return {cubes[-1]: support}


def _is_visible(scene: Scene, image: np.ndarray, state: ObjectState) -> bool:
    """Whether at least two of five points on the upper face show the object's own colour.

    The shading is flat, so a pixel of an object is its colour times a brightness: directions are
    compared.
    """
    if state.shape == "drawer":
        return True  # nothing but the handle can be hidden
    half = CUBE_HALF_M if state.shape == "cube" else 0.0
    reach = 0.012 if state.shape == "cube" else 0.04
    points = (
        state.position
        + (0, 0, half)
        + reach * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    )
    columns, rows = np.rint(scene.project(points)).astype(int).clip(0, IMAGE_SIZE - 1).T
    seen = image[rows, columns].astype(float)
    colour = np.asarray(COLOURS[state.colour])
    cosine = seen @ colour / (np.linalg.norm(seen, axis=1) * np.linalg.norm(colour) + 1e-9)
    return int(((cosine > 0.99) & (seen.max(axis=1) > 140)).sum()) >= 2


def _random_placements(rng: np.random.Generator) -> list[Placement]:
    shapes = ["cube"] * int(rng.integers(0, CUBE_COUNT + 1)) + ["plate"] * int(
        rng.integers(0, PLATE_COUNT + 1)
    )
    if not shapes:
        shapes = ["cube"]
    colours = list(COLOURS)
    # Twins (the spatial suite has them) now and then; else colours differ within a shape.
    cube_colours = rng.permutation(colours).tolist()
    if rng.random() < 0.25:
        cube_colours[1] = cube_colours[0]
    plate_colours = rng.permutation(colours).tolist()
    if rng.random() < 0.3:
        plate_colours = ["white"] + [c for c in plate_colours if c != "white"]
    queues = {"cube": iter(cube_colours), "plate": iter(plate_colours)}
    return [
        Placement(next(queues[shape]), shape, x, y, float(rng.uniform(-0.1, 0.1)))
        for shape, (x, y) in zip(shapes, sample_places(rng, shapes), strict=True)
    ]


def _random_tool(
    rng: np.random.Generator, placements: list[Placement], held: int | None
) -> np.ndarray:
    """Tool position (3,) m: anywhere over the table, often low above an object, never inside."""
    x, y = (
        rng.uniform(X_RANGE_M[0] - 0.02, X_RANGE_M[1] + 0.04),
        rng.uniform(Y_RANGE_M[0] - 0.03, Y_RANGE_M[1] + 0.03),
    )
    z = rng.uniform(0.02, 0.28)
    others = [p for i, p in enumerate(placements) if i != held]
    if others and rng.random() < _OVER_OBJECT_SHARE:
        target = others[int(rng.integers(len(others)))]
        x, y = target.x + rng.normal(0, 0.01), target.y + rng.normal(0, 0.01)
        if held is None and target.shape == "cube":
            return np.array([x, y, rng.uniform(0.02, 0.14)])
        return np.array([x, y, rng.uniform(_LOW_M, 0.16)])
    crowded = any(abs(p.x - x) < 0.05 and abs(p.y - y) < 0.11 for p in others) or (
        x > 0.45 and y > 0.06
    )
    if crowded:
        z = max(z, rng.uniform(_LOW_M + 0.02, 0.28))
    return np.array([x, y, z])

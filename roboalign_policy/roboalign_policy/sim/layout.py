"""Where objects may stand: inside the arm's easy reach, clear of the drawer and of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

X_RANGE_M = (0.33, 0.62)
Y_RANGE_M = (-0.21, 0.21)
DRAWER_ZONE_M = (
    0.47,
    0.04,
)  # nothing stands farther than this x and left of this y: the drawer opens there
# The open gripper is 0.125 m across and a policy misses by a centimetre or so.
CUBE_GAP_M = 0.10
PLATE_GAP_M = 0.15
MIXED_GAP_M = 0.115
_TRIES = 200


def gap(first: str, second: str) -> float:
    """Least distance in m between the centres of two shapes."""
    if first != second:
        return MIXED_GAP_M
    return CUBE_GAP_M if first == "cube" else PLATE_GAP_M


def sample_places(
    rng: np.random.Generator,
    shapes: Sequence[str],
    accept: Callable[[list[tuple[float, float]]], bool] | None = None,
) -> list[tuple[float, float]]:
    """Random places for shapes, uniform over those that keep the gaps.

    Args:
        rng: the only source of chance.
        shapes: `cube` or `plate`, one entry an object.
        accept: a further condition on the finished list.

    Returns:
        (x, y) in m in base_link for each shape.

    Raises:
        RuntimeError: no arrangement was found; the request is too dense.
    """
    for _ in range(_TRIES):
        places: list[tuple[float, float]] = []
        for index, shape in enumerate(shapes):
            for _ in range(40):
                x, y = rng.uniform(*X_RANGE_M), rng.uniform(*Y_RANGE_M)
                if x > DRAWER_ZONE_M[0] and y > DRAWER_ZONE_M[1]:
                    continue
                if all(
                    (x - u) ** 2 + (y - v) ** 2 >= gap(shape, shapes[k]) ** 2
                    for k, (u, v) in enumerate(places)
                ):
                    places.append((float(x), float(y)))
                    break
            if len(places) == index:
                break
        if len(places) == len(shapes) and (accept is None or accept(places)):
            return places
    raise RuntimeError(f"no room for {list(shapes)} after {_TRIES} tries")

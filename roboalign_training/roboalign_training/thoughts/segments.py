"""How far an episode has come with its sub-goals: told by the gripper, else by rests in between.

Pure numpy, on the words and numbers of the contract's prompt.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

REST_S = 0.4
"""A shorter stand-still is no end of a sub-goal, s."""


def goals_done(
    words: Mapping[str, np.ndarray], numbers: Mapping[str, np.ndarray], goals: int, rate_hz: float
) -> np.ndarray | None:
    """How many sub-goals are over at each frame of an episode.

    One is over when a gripper is again what it was at the episode's beginning. Where no gripper
    ever changes, it is over where the robot rests between two motions.

    Args:
        words: label -> (N,) str, such as the gripper's `open` and `closed`.
        numbers: label -> (N,) int, the other states in the prompt's units.
        goals: how many sub-goals the instruction has.
        rate_hz: frames a second.

    Returns:
        (N,) int64, 0 .. goals, ascending; None where gripper and rests tell of another number of
        sub-goals than the instruction: which one a frame is part of is then not known.
    """
    ends = _gripper_ends(words)
    changed = any((values != values[0]).any() for values in words.values())
    if not changed:
        ends = _rest_ends(numbers, max(1, round(REST_S * rate_hz)))
    if len(ends) != goals:
        return None
    count = len(next(iter({**numbers, **words}.values())))
    return np.searchsorted(np.array(ends), np.arange(count), side="right")


def _gripper_ends(words: Mapping[str, np.ndarray]) -> list[int]:
    """Frames at which a word is again what it was first."""
    found: list[int] = []
    for values in words.values():
        first = values == values[0]
        found += (1 + np.flatnonzero(first[1:] & ~first[:-1])).tolist()
    return sorted(found)


def _rest_ends(numbers: Mapping[str, np.ndarray], least: int) -> list[int]:
    """Frames at which a rest of `least` frames or more begins, and the end of the last motion."""
    if not numbers:
        return []
    values = np.stack(list(numbers.values()), axis=1)
    moving = np.flatnonzero((values[1:] != values[:-1]).any(axis=1)) + 1
    if not len(moving):
        return []
    gaps = np.flatnonzero(np.diff(moving) > least)
    return [*moving[gaps].tolist(), int(moving[-1])]

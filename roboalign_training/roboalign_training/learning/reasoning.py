"""The reasoning text of a training sample, told by the rest of its own demonstration.

A thought names the next thing the arm does and where, then the way there:
`grasp at 52 -10 2 : move forward 7 right 3 down 12`. It is written in the numbers the model reads
in its prompt (the contract's `prompt.state`, rounded), so "place = state + way" holds exactly in
the text. In other styles (`thoughts.style`) it also names the object, or how much is done and
what is worked at. Directions follow REP-103 in the base frame: +x forward, +y left, +z up.
Pure numpy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.thoughts.segments import goals_done
from roboalign_training.thoughts.style import PLACE, Progress, styled_event
from roboalign_training.thoughts.sub_goals import sub_goals

DIRECTIONS = {"x": ("forward", "back"), "y": ("left", "right"), "z": ("up", "down")}
EVENT_OF_WORD = {"closed": "grasp", "open": "release"}
MAX_JOINTS = 3
"""Joints named in the thought of a robot without x y z in its prompt: the ones that move most."""


def reasoning_text(
    contract: Contract,
    states: Mapping[str, np.ndarray],
    index: int,
    style: str = PLACE,
    progress: Progress | None = None,
) -> str:
    """The thought of frame `index` of an episode.

    The event is the next frame at which the gripper's word in the prompt changes (to `closed`:
    grasp, to `open`: release, to another word: that word); without one it is the last frame,
    reached by `retreat`, or `finish` where nothing moves any more.

    Args:
        contract: says which streams and fields make up the prompt's state, in which units.
        states: stream key -> (N, D) float, the episode's states in the contract's units and order.
        index: 0 .. N - 1.
        style: one of `thoughts.style.STYLES`.
        progress: of the frame, for the styles that tell of it; None: not known.

    Raises:
        ValueError: when a stream is missing, `index` is outside, or a state is not finite.
    """
    numbers, words = prompt_states(contract, states)
    count = len(next(iter({**numbers, **words}.values())))
    if not 0 <= index < count:
        raise ValueError(f"index: found {index}, expected 0 .. {count - 1}")
    event, at = _next_event(words, index, count)
    moved = {label: int(values[at] - values[index]) for label, values in numbers.items()}
    if set(DIRECTIONS) <= set(numbers):
        place = " at " + " ".join(str(int(numbers[label][at])) for label in "xyz")
        steps = [
            f"{ahead if moved[label] > 0 else behind} {abs(moved[label])}"
            for label, (ahead, behind) in DIRECTIONS.items()
            if moved[label]
        ]
    else:
        place = ""
        largest = sorted(moved, key=lambda label: -abs(moved[label]))[:MAX_JOINTS]
        steps = [
            f"{_plain(label)} {moved[label]}"
            for label in moved
            if label in largest and moved[label]
        ]
    if event is None:
        event = "retreat" if steps else "finish"
    told = styled_event(event, style, progress)
    return f"{told}{place} : {'move ' + ' '.join(steps) if steps else 'stay'}"


def episode_progress(
    contract: Contract, states: Mapping[str, np.ndarray], instruction: str
) -> list[Progress] | None:
    """Where each frame of an episode stands in its instruction.

    Args:
        contract: its prompt says which states tell of it.
        states: stream key -> (N, D) float, the episode's states.
        instruction: in words.

    Returns:
        N entries; None where the gripper tells of another number of sub-goals than the words.
    """
    numbers, words = prompt_states(contract, states)
    goals = sub_goals(instruction)
    done = goals_done(words, numbers, len(goals), contract.rate_hz)
    return None if done is None else [Progress(goals, int(count)) for count in done]


def grasp_place(contract: Contract, states: Mapping[str, np.ndarray], index: int) -> str | None:
    """Where the arm next closes its gripper after frame `index`, as `52 -10 2`.

    Returns:
        None where it does not close again, or the contract's prompt has no x y z.
    """
    numbers, words = prompt_states(contract, states)
    if not set(DIRECTIONS) <= set(numbers):
        return None
    count = len(numbers["x"])
    at = index
    while at < count - 1:
        event, at = _next_event(words, at, count)
        if event == EVENT_OF_WORD["closed"]:
            return " ".join(str(int(numbers[label][at])) for label in "xyz")
    return None


def prompt_states(
    contract: Contract, states: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An episode's states as the prompt shows them.

    Returns:
        numbers: label -> (N,) int64 in the prompt's units; words: label -> (N,) str.

    Raises:
        ValueError: when a stream or field is missing or a state is not finite.
    """
    numbers, words = {}, {}
    for item in contract.prompt_state:
        values = _column(contract, states, item.stream, item.field)
        if item.words:
            bounds = [
                float(bound) for bound, _ in item.words
            ]  # the first bound above the value names it
            names = np.array([word for _, word in item.words])
            words[item.label] = names[np.searchsorted(bounds, values, side="right")]
        else:
            numbers[item.label] = np.rint(
                values * (1.0 if item.scale is None else item.scale)
            ).astype(np.int64)
    if not numbers and not words:
        raise ValueError(
            f"contract {contract.name}: prompt.state: found no entry, expected at least one"
        )
    return numbers, words


def _column(
    contract: Contract, states: Mapping[str, np.ndarray], stream: str, field: str
) -> np.ndarray:
    if stream not in states:
        raise ValueError(
            f"states: found {sorted(states)}, expected stream {stream} of contract {contract.name}"
        )
    names = contract.stream(stream).names
    values = np.asarray(states[stream], dtype=np.float64)[:, names.index(field)]
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(
            f"{stream}.{field}: found {values[at]} in frame {at}, expected finite values"
        )
    return values


def _next_event(words: Mapping[str, np.ndarray], index: int, count: int) -> tuple[str | None, int]:
    """Name and frame of the first change of any word after `index`, else (None, last frame)."""
    first, name = math.inf, None
    for values in words.values():
        changes = np.flatnonzero(values[index + 1 :] != values[index])
        if changes.size and index + 1 + changes[0] < first:
            first = index + 1 + int(changes[0])
            word = str(values[first])
            name = EVENT_OF_WORD.get(word, _plain(word))
    return (None, count - 1) if name is None else (name, int(first))


def _plain(label: str) -> str:
    """A label in the alphabet of the prompts: lower-case words and digits."""
    return re.sub(r"[^a-z0-9]+", " ", label.lower()).strip()

"""What a thought says beside the next place: nothing more, the object's name, or the plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roboalign_training.thoughts.sub_goals import SubGoal

PLACE, NAMED, PLAN = "place", "named", "plan"
STYLES = (PLACE, NAMED, PLAN)
RELEASE = "release"
THOUGHT_STYLE = "thought_style"
"""Key of a policy's record that names the style of its thoughts; without it, it is `place`."""


def style_of(record: Mapping[str, Any]) -> str:
    """The style of the thoughts that a policy was taught.

    Args:
        record: its `roboalign.json`.

    Raises:
        ValueError: it names a style that there is not.
    """
    style = record.get(THOUGHT_STYLE, PLACE)
    if style not in STYLES:
        expected = ", ".join(STYLES)
        raise ValueError(f"{THOUGHT_STYLE}: found {style!r}, expected one of {expected}")
    return style


@dataclass(frozen=True)
class Progress:
    """Where a frame stands in its instruction.

    Attributes:
        goals: the sub-goals, in order.
        done: how many of them are over, 0 .. len(goals).
        holds: whether a closed gripper holds what the sub-goal is about.
    """

    goals: Sequence[SubGoal]
    done: int
    holds: bool = True


def styled_event(event: str, style: str, progress: Progress | None) -> str:
    """The beginning of a thought, up to its place.

    `place`: the event alone, as `grasp`. `named`: with its object, as `grasp red cube` or
    `release red cube on blue plate`. `plan`: how much is done and what is worked at, before the
    event: `1 of 2 . put the green cube on the yellow plate . grasp`.

    Args:
        event: as `grasp`, `release`, `retreat`, `finish`.
        style: one of `STYLES`.
        progress: of the frame; None where it is not known: the event alone.
    """
    if style == PLACE or progress is None:
        return event
    goals, done = progress.goals, progress.done
    if style == PLAN:
        now = f" . {goals[done].words}" if done < len(goals) else ""
        return f"{done} of {len(goals)}{now} . {event}"
    if done >= len(goals):
        return event
    if not progress.holds and event == RELEASE:
        return f"{event} nothing"
    words = [event, goals[done].thing]
    if event == RELEASE:
        words.append(goals[done].place)
    return " ".join(filter(None, words))

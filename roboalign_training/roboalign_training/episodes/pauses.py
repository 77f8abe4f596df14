"""Pauses of a recording: what lies in them is left out on purpose, and is no gap.

The suite's own writer records nothing in them; `ros2 bag record` knows none and goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from roboalign_policy.core.fitness.episode_fitness import paused_ns
from roboalign_policy.core.recording.episodes import PAUSE, RESUME

__all__ = ["Pauses", "Within", "find_pauses", "paused_ns", "unpaused"]

Pauses = tuple[tuple[int, int], ...]
"""(begin, end) of each, ns, in the time under which messages are filed."""

Timed = TypeVar("Timed", bound=tuple)


class Within:
    """Tells whether times lie within a pause; they are asked for in rising order."""

    def __init__(self, pauses: Pauses) -> None:
        self._left = list(reversed(pauses))

    def __call__(self, time_ns: int) -> bool:
        """Whether it lies between a pause's markers; at one of them it does not."""
        while self._left and self._left[-1][1] <= time_ns:
            self._left.pop()
        return bool(self._left) and self._left[-1][0] < time_ns


def unpaused(messages: Iterable[Timed], pauses: Pauses) -> Iterator[Timed]:
    """The messages that were not received within a pause.

    Args:
        messages: (topic, receive time in ns, ...), by time.
        pauses: From `find_pauses`.
    """
    within = Within(pauses)
    return (message for message in messages if not within(message[1]))


def find_pauses(markers: Iterable[tuple[int, Any]], end_ns: int) -> Pauses:
    """The pauses that `episode` markers tell of; one that nobody ended lasts until the end.

    Args:
        markers: (receive time in ns, roboalign_msgs/msg/Episode), by time.
        end_ns: ns; end of the recording.
    """
    found, begin = [], None
    for time_ns, marker in markers:
        if marker.event == PAUSE and begin is None:
            begin = time_ns
        elif marker.event == RESUME and begin is not None:
            found.append((begin, time_ns))
            begin = None
    if begin is not None:
        found.append((begin, end_ns))
    return tuple(found)

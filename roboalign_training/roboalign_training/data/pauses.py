"""Pauses of a recording: what lies in them was left out on purpose, and is no gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from roboalign_policy.core.recording import PAUSE, RESUME

Pauses = tuple[tuple[int, int], ...]
"""(begin, end) of each, ns, in the time under which messages are filed."""


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


def paused_ns(pauses: Sequence[tuple[int, int]], starts: Any, ends: Any) -> np.ndarray:
    """How much of each interval was a pause.

    Args:
        pauses: From `find_pauses`.
        starts: (N,) int, ns.
        ends: (N,) int, ns.

    Returns:
        (N,) int64, ns.
    """
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    total = np.zeros(len(starts), np.int64)
    for begin, end in pauses:
        total += np.clip(np.minimum(ends, end) - np.maximum(starts, begin), 0, None)
    return total

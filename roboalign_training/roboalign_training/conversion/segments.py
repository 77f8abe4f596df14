"""Even cuts of a recording by time; they depend on the recording alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roboalign_training.bags.bags import Bag, read_bag
from roboalign_training.bags.storage import Weights
from roboalign_training.episodes.episodes import Span


@dataclass(frozen=True)
class EpisodeSegment:
    """A stretch of a recording, one job.

    Attributes:
        number: From 0 on.
        start_ns, end_ns: First and last receive time in it.
        size: Its bytes, roughly.
    """

    number: int
    start_ns: int
    end_ns: int
    size: int


def cut(weights: Weights, span: Span, target: int) -> list[EpisodeSegment]:
    """Cuts an episode into segments of about `target` bytes, at least one; none overlap."""
    times, sizes = weights.times_ns, weights.sizes
    inside = slice(
        max(0, int(np.searchsorted(times, span.start_ns, side="right")) - 1),
        int(np.searchsorted(times, span.end_ns, side="right")),
    )
    starts, held, found = [span.start_ns], 0, []
    for time_ns, size in zip(times[inside].tolist(), sizes[inside].tolist(), strict=True):
        if held >= target and time_ns > starts[-1]:
            starts.append(time_ns)
            found.append(held)
            held = 0
        held += size
    found.append(held)
    ends = [start - 1 for start in starts[1:]] + [span.end_ns]
    return [
        EpisodeSegment(number, start, end, size)
        for number, (start, end, size) in enumerate(zip(starts, ends, found, strict=True))
    ]


@dataclass(frozen=True)
class BagPlace:
    """How a process opens a bag that another one has opened and checked.

    Attributes:
        path: As asked for.
        plain_files: Files to read.
        open_bytes: Most bytes of overlapping chunks to hold.
    """

    path: str
    plain_files: tuple[str, ...]
    open_bytes: int

    @classmethod
    def of(cls, bag: Bag, open_bytes: int) -> BagPlace:
        """The place of an open bag."""
        return cls(str(bag.path), tuple(map(str, bag.plain_files)), open_bytes)


_last: list[tuple[BagPlace, Bag]] = []


def open_place(place: BagPlace) -> Bag:
    """Opens a bag; the last one stays open, since the next job is mostly on it too."""
    if not _last or _last[0][0] != place:
        bag = read_bag(place.path, checked=list(map(Path, place.plain_files)))
        bag.open_bytes = place.open_bytes
        _last[:] = [(place, bag)]
    return _last[0][1]


def keep_open(place: BagPlace, bag: Bag) -> None:
    """Makes an open bag the one that `open_place` gives in this process."""
    bag.open_bytes = place.open_bytes
    _last[:] = [(place, bag)]


def close_last() -> None:
    """Lets go of the bag that is kept open."""
    _last.clear()

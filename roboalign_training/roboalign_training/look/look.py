"""All that is shown of a bag or a data set, before it becomes a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from roboalign_training.bags.errors import DataError
from roboalign_training.episodes.channels import Sink
from roboalign_training.look.budget import MOST_EPISODES
from roboalign_training.look.inspect import TopicReport
from roboalign_training.look.inspect_views import View
from roboalign_training.look.scene import ShownEpisode


@dataclass(frozen=True)
class Part:
    """Which of several pages this is.

    Attributes:
        number: From 1.
        pages: The ids of the episodes on each page; none where nothing says what an episode is.
    """

    number: int = 1
    pages: tuple[tuple[str, ...], ...] = ()

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Of each page its first and last episode, counted from 1."""
        ends = [sum(map(len, self.pages[: n + 1])) for n in range(len(self.pages))]
        return [(end - len(ids) + 1, end) for end, ids in zip(ends, self.pages, strict=True)]


@dataclass
class Look:
    """What is shown on one page.

    Attributes:
        view: Facts, tables and faults.
        scenes: The episodes, as far as they are shown.
        provenance: (name, value) of where all of it came from.
        notes: What is not shown, one line each.
        topics: Of a bag, its topics with their arrivals.
        range_ns: Of a bag, first and last time of arrival.
        part: Which page this is; the others have the same view, without its tables and faults.
    """

    view: View
    scenes: list[ShownEpisode] = field(default_factory=list)
    provenance: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    topics: tuple[TopicReport, ...] = ()
    range_ns: tuple[int, int] = (0, 0)
    part: Part = Part()


@dataclass(frozen=True)
class Selection:
    """What the user wants to see.

    Attributes:
        episodes: Ids; all where there are none.
        frames: Most images of a camera in an episode; None for the default.
        more: Makes for the name of an episode further sinks, which are given all samples of it.
        tell: Is told of the progress, in words.
    """

    episodes: tuple[str, ...] = ()
    frames: int | None = None
    more: Callable[[str], Sequence[Sink]] = lambda episode_id: ()
    tell: Callable[[str], None] = lambda text: None

    def of(self, path: Path, ids: Sequence[str]) -> list[str]:
        """The episodes that are shown of those there are.

        Raises:
            DataError: When one is asked for that is not there.
        """
        if missing := [name for name in self.episodes if name not in ids]:
            some = ", ".join(list(ids)[:10]) + (f" and {len(ids) - 10} more" if ids[10:] else "")
            raise DataError(path, f"no episode {', '.join(missing)}; it has {some or 'none'}")
        return [name for name in ids if not self.episodes or name in self.episodes]


def in_pages(ids: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Episodes in order, so many to a page as its size allows."""
    return tuple(
        tuple(ids[start : start + MOST_EPISODES]) for start in range(0, len(ids), MOST_EPISODES)
    )


def without_tables(view: View) -> View:
    """The view without tables and faults, for the second and later pages."""
    return replace(view, tables=[], faults=[])


def not_all(shown: int, there: int) -> list[str]:
    """A note on how many episodes are not shown."""
    if shown >= there:
        return []
    return [f"{shown} of {there} episodes are shown; choose others with --episode ID"]

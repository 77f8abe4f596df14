"""What the steps of converting one episode share: the episode, where parts lie, who does jobs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import BagError
from roboalign_training.conversion.parts import PartFile, read_part
from roboalign_training.conversion.pool import Job, Pool
from roboalign_training.conversion.segments import BagPlace
from roboalign_training.conversion.target import Target
from roboalign_training.conversion.work_folder import WorkFolder
from roboalign_training.episodes.episodes import Span
from roboalign_training.episodes.topics import TopicMap


class Todo(NamedTuple):
    """A job, the part that it writes, and what that has to be made with."""

    path: Path
    made_with: dict
    job: Job


@dataclass(frozen=True)
class EpisodeWork:
    """One episode on its way.

    Attributes:
        bag: The recording.
        place: How other processes open it.
        target: The data set.
        topics: Where the contract's streams stand in the bag.
        span: Which episode.
        number: Its place among those of the bag.
        folder: Where its parts lie.
        pool: Who does the work.
        processes: How many of these at once.
    """

    bag: Bag
    place: BagPlace
    target: Target
    topics: TopicMap
    span: Span
    number: int
    folder: WorkFolder
    pool: Pool
    processes: int

    def made_with(self, **more: object) -> dict:
        """What a part of it is made with."""
        span = [self.span.episode_id, self.span.start_ns, self.span.end_ns]
        span += map(list, self.span.pauses)
        return {**self.folder.made_with, "span": span, **more}

    def path(self, name: str) -> Path:
        """Where something of it lies until it is finished."""
        return self.folder.path / f"{self.number:05d}-{name}"

    def relative(self, path: Path) -> str:
        """A path in the data set's folder, as its files name it."""
        return str(path.relative_to(self.target.out))

    def parts(self, todo: Sequence[Todo]) -> Iterator[PartFile]:
        """The parts of jobs, in order; those that are there are not done again.

        Raises:
            BagError: As a job does.
        """
        held = {
            item.path
            for item in todo
            if read_part(item.path, item.made_with, check=True) is not None
        }
        results = self.pool.results(
            (item.job for item in todo if item.path not in held), self.processes
        )
        for item in todo:
            if item.path not in held:
                next(results)
            part = read_part(item.path, item.made_with, check=False)
            if part is None:
                raise BagError(self.bag.path, f"its part {item.path} is gone: run it again")
            yield part

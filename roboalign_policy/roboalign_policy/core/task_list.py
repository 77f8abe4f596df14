"""Which demonstrations are to be recorded, and how many of each are there already."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_LINE = re.compile(r"(?:(\d+)\s*x\s+)?(.*)")


class TaskListError(ValueError):
    """A task list that cannot be used; the text names file, line and what was expected."""


@dataclass
class Task:
    """One instruction.

    Attributes:
        instruction: what the demonstrator is asked to do.
        wanted: episodes of it; 0: as many as the operator likes.
        kept: ids of its episodes that are a success and fit for training.
    """

    instruction: str
    wanted: int = 0
    kept: set[str] = field(default_factory=set)

    @property
    def done(self) -> int:
        """Episodes of it that are there."""
        return len(self.kept)

    @property
    def open(self) -> bool:
        """Whether episodes of it are still wanted."""
        return self.wanted == 0 or self.done < self.wanted


class TaskList:
    """Tasks in order, and the present one.

    Attributes:
        tasks: all of them.
        at: index of the present one.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        """Begin at the first one.

        Raises:
            TaskListError: there is none, or one stands there twice.
        """
        self.tasks, self.at = list(tasks), 0
        if not self.tasks:
            raise TaskListError("task list: found nothing, expected an instruction a line")
        names = [task.instruction for task in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise TaskListError(
                    f"task list: found {name!r} twice, expected it once: 20 x {name}"
                )

    @property
    def present(self) -> Task:
        """The task whose turn it is."""
        return self.tasks[self.at]

    def step(self, count: int) -> None:
        """Go on by so many tasks, around the end."""
        self.at = (self.at + count) % len(self.tasks)

    def count(self, instruction: str, episode_id: str) -> None:
        """Take a good episode; a task that is complete hands over to the next.

        Args:
            instruction: of the episode.
            episode_id: counted once, however often it is named.
        """
        for task in self.tasks:
            if task.instruction == instruction:
                task.kept.add(episode_id)
        self.skip_complete()

    def uncount(self, episode_id: str) -> None:
        """Take back an episode that was judged anew."""
        for task in self.tasks:
            task.kept.discard(episode_id)

    def skip_complete(self) -> None:
        """Go on to the next task of which episodes are wanted; stay where none are."""
        for offset in range(len(self.tasks)):
            at = (self.at + offset) % len(self.tasks)
            if self.tasks[at].open:
                self.at = at
                return

    @property
    def complete(self) -> bool:
        """Whether nothing is wanted any more."""
        return not any(task.open for task in self.tasks)


def load_tasks(path: Path) -> TaskList:
    """Read a task list: an instruction a line, ``20 x`` before it for a number; # is a comment.

    Raises:
        TaskListError: naming file and line.
        OSError: it cannot be read.
    """
    tasks = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        times, instruction = _LINE.fullmatch(text).groups()
        if not instruction or times == "0":
            raise TaskListError(
                f"{path}:{number}: found {text!r}, expected an instruction, or 20 x and one"
            )
        tasks.append(Task(instruction, int(times or 0)))
    try:
        return TaskList(tasks)
    except TaskListError as error:
        raise TaskListError(f"{path}: {error}") from None

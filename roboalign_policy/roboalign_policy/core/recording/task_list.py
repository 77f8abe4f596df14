"""Which demonstrations are to be recorded, and how many of each are there already."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_policy.core.instruction import instruction_fault

_LINE = re.compile(r"(?:(\d+)\s*[xX×]\s+)?(.*)", re.DOTALL)
_COMMENT = re.compile(r"\s#(\s|$)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_MARK = "\ufeff"  # byte order mark


class TaskListError(ValueError):
    """A task list that cannot be used; the text names file, line and what was expected."""


@dataclass
class TaskEntry:
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

    def __init__(self, tasks: Iterable[TaskEntry]) -> None:
        """Begin at the first one.

        Raises:
            TaskListError: there is none, one stands there twice, or one is no instruction.
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
            if fault := instruction_fault(name):
                raise TaskListError(f"instruction: {fault}")

    @property
    def present(self) -> TaskEntry:
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
    """Read a task list: an instruction a line, ``20 x`` before it for a number.

    The file is UTF-8, with or without a byte order mark, with line ends of any system. A line that
    begins with # is a comment; a # after that belongs to the instruction.

    Raises:
        TaskListError: naming file and line.
        OSError: it cannot be read.
    """
    tasks = []
    for number, line in enumerate(_lines(path), start=1):
        text = line.lstrip(_MARK).strip()
        if not text or text.startswith("#"):
            continue
        fault = None
        times, instruction = _LINE.fullmatch(text).groups()
        if not instruction or times == "0":
            fault = f"found {text!r}, expected an instruction, or 20 x and one"
        elif _COMMENT.search(text):
            # Text or comment? Half of an instruction must not be lost by a guess.
            fault = (
                f"found {text!r}, expected a comment on a line of its own, or a # that touches "
                "what it numbers, as in hole #2"
            )
        elif why := instruction_fault(instruction):
            fault = why
        if fault:
            raise TaskListError(f"{path}:{number}: {fault}")
        tasks.append(TaskEntry(instruction, int(times or 0)))
    try:
        return TaskList(tasks)
    except TaskListError as error:
        raise TaskListError(f"{path}: {error}") from None


def _lines(path: Path) -> list[str]:
    """The lines of a text file; only what ends a line in every editor ends one here.

    Raises:
        TaskListError: it is a Git LFS pointer, or no UTF-8 text; then the line is named.
        OSError: it cannot be read.
    """
    if fault := pointer_fault(path):
        raise TaskListError(f"{path}: {fault}")
    lines = []
    for number, line in enumerate(_LINE_END.split(path.read_bytes()), start=1):
        try:
            lines.append(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            found = " ".join(f"{byte:02x}" for byte in line[error.start : error.start + 2])
            raise TaskListError(
                f"{path}:{number}: found the bytes {found}, expected text in UTF-8: save the file "
                "in that encoding"
            ) from None
        if "\0" in lines[-1]:  # UTF-16 without a mark reads as UTF-8 with zeros in it
            raise TaskListError(
                f"{path}:{number}: found a zero byte, expected text in UTF-8 (is it UTF-16?): "
                "save the file in that encoding"
            )
    return lines

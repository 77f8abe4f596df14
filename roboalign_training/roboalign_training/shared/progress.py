"""Progress of what takes longer than a second: a bar on a terminal, else a line every 30 s."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

LINE_EVERY_S, POLL_S, TAIL_LINES = 30.0, 0.5, 15
Count = Callable[[], tuple[int, int, str]]
"""How much is done, of how much (0: unknown), and a note that begins with what is counted."""


class ChildFailed(RuntimeError):
    """A program that was started ended with an error; the text has the end of its log."""

    def __init__(self, name: str, status: int, log: Path) -> None:
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        super().__init__(f"{name} ended {how}; the end of {log}:\n{tail(log)}")
        self.status = status


class Shown:
    """One line or bar of progress."""

    def __init__(self, label: str, console: Console) -> None:
        self.label, self.console = label, console
        self._started = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Shown:
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=None, count="", note="")
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.stop()

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show how far it is."""
        count = f"{done:,} of {total:,}" if total else ""
        if self.console.is_terminal:
            self._bar.update(
                self._task, completed=done, total=total or None, count=count, note=note
            )
            return
        now = time.monotonic()
        if now - self._said >= LINE_EVERY_S:
            self._said = now
            said = " ".join(part for part in (count, note) if part)
            text = f"{self.label}: {said}" if said else self.label
            self.console.print(
                f"{text} ({now - self._started:.0f} s)",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )


def counted(items: Sequence, label: str, console: Console | None = None) -> Iterator:
    """The items one by one, with progress shown."""
    with Shown(label, console or Console(stderr=True)) as shown:
        for done, item in enumerate(items):
            shown.update(done, len(items))
            yield item


def run_child(
    command: Sequence[str],
    log: Path,
    label: str,
    count: Count,
    console: Console,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program with its output in a file, and show how far it is.

    At ctrl-C, which reaches the program as well, it is given the time to save. Any other exception
    ends it.

    Args:
        command: program and arguments.
        log: file that its output is added to.
        label: what it does.
        count: how far it is.
        console: where that is shown.
        environment: variables to set besides those of this process.

    Raises:
        ChildFailed: it ended with an error.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output, Shown(label, console) as shown:
        process = subprocess.Popen(
            list(command),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment} if environment else None,
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    shown.update(*count())
        except KeyboardInterrupt:
            process.wait()
            raise
        except BaseException:  # such as of a handler of a signal that this process alone got
            process.terminate()
            process.wait()
            raise
    if status:
        raise ChildFailed(" ".join(_named(command)), status, log)


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a file that are not empty; the bars of others leave one each."""
    if not log.is_file():
        return "(there is no such file)"
    with log.open("rb") as stream:
        stream.seek(max(log.stat().st_size - 20_000, 0))
        text = stream.read().decode("utf-8", "replace")
    found = [line.split("\r")[-1].rstrip() for line in text.split("\n")]
    return "\n".join([line for line in found if line][-lines:]) or "(it is empty)"


def _named(command: Iterable[str]) -> list[str]:
    """The words of a command without the interpreter."""
    words = list(command)
    return words[2:] if words[1:2] == ["-m"] else words

"""Progress bars that count images or rows, and the end of one that could not write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from roboalign_training.shared.exit_status import FAILED
from roboalign_training.shared.write_errors import write_fault


@contextlib.contextmanager
def frame_progress(
    console: Console, totals: Mapping[str, int]
) -> Iterator[list[Callable[..., None]]]:
    """Shows a bar for each name with how many of its total are done.

    Yields:
        What to call with how many more are done, by default one; for each bar.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        tasks = [progress.add_task(name, total=total) for name, total in totals.items()]
        yield [lambda count=1, task=task: progress.advance(task, count) for task in tasks]


def say_not_written(console: Console, out: Path, error: OSError) -> int:
    """Says what could not be written, with its path, which not every OSError names.

    Returns:
        The exit status.
    """
    fault = write_fault(error, [str(out)])
    if fault is None:
        where, cause = error.filename or out, error.strerror or error
        fault = f"{where}: {cause}; the same command goes on where this one ended"
    console.print(f"[red]error:[/] {escape(fault)}", soft_wrap=True)
    return FAILED

"""A progress bar that counts images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def frame_progress(console: Console, name: str, total: int) -> Iterator[Callable[..., None]]:
    """Shows how many of `total` images are done; gives what to call with how many more are."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(name, total=total)
        yield lambda count=1: progress.advance(task, count)

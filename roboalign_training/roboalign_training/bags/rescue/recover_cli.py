"""`roboalign recover`: a whole bag of what still reads of an unfinished or damaged recording."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from roboalign_training.bags.definition_folder import add_definitions
from roboalign_training.bags.errors import DataError
from roboalign_training.bags.losses import Loss, joined
from roboalign_training.bags.rescue.recovery import Recovery, recover
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.left_out import add_strict
from roboalign_training.shared.outputs import OutputError, add_overwrite
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import write_fault

MOST_LINES = 20


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign recover",
        description="Write a new bag with every message of an unfinished or damaged recording "
        "that still reads, and say what was lost. The recording itself is not changed.",
    )
    p.add_argument(
        "path", type=Path, help="a bag, a storage file, or `.<id>.partial` of a killed recorder"
    )
    p.add_argument(
        "--out", type=Path, help="folder of the new bag; default: <name>-recovered beside the old"
    )
    p.add_argument(
        "--accept",
        action="store_true",
        help="call the new bag fit, so that `roboalign convert` takes it; without this it is left "
        "out, with what was lost as the reason",
    )
    add_overwrite(p)
    add_definitions(p)
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when the recovered bag is there, now or before; 1 when nothing could be read or written;
        2 when recording and --out do not fit; 3 with `--strict` when something is not in the new
        bag.
    """
    args = parser().parse_args(argv)
    console = Console(stderr=True)
    columns = (TextColumn("recover"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    try:
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task("recover", total=1.0)
            recovery = recover(
                args.path,
                args.out,
                accept=args.accept,
                overwrite=args.overwrite,
                on_share=lambda share: progress.update(task, completed=share),
            )
    except (DataError, OutputError, OSError) as error:
        fault = write_fault(error) if isinstance(error, OSError) else None
        console.print(f"[red]error:[/] {escape(fault or str(error))}", soft_wrap=True)
        return status_of(error)
    if recovery.existed:
        print(f"{recovery.folder}: was recovered from the same files before; nothing was changed")
    else:
        show(recovery, Console())
    print(recovery.left_out.line())
    return recovery.left_out.status(args.strict)


def show(recovery: Recovery, console: Console) -> None:
    """Prints what was kept and lost, by topic and by place."""
    table = Table("topic", "type", "kept", "lost")
    for topic in recovery.topics:
        lost = "unknown" if topic.lost is None else str(topic.lost)
        table.add_row(escape(topic.name), escape(topic.type), str(topic.kept), lost)
    print_whole(console, table)
    for loss in joined(recovery.losses, MOST_LINES):
        console.print(f"lost: {escape(describe(loss))}", soft_wrap=True)
    kept = sum(topic.kept for topic in recovery.topics)
    nothing = "" if recovery.losses else "; nothing was lost"
    console.print(
        f"{escape(str(recovery.folder))}: {kept} messages, {recovery.duration_s:.2f} s{nothing}",
        soft_wrap=True,
    )


def describe(loss: Loss) -> str:
    """One line about a loss: where, how much, why, which messages, between which times."""
    text = f"{loss.file} at {loss.at}" + (f" ({loss.size})" if loss.size else "")
    text += f": {loss.cause}"
    if loss.messages:
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(loss.messages.items()))
        text += f"; messages: {counts}"
    times = [None if ns is None else f"{ns / 1e9:.3f} s" for ns in (loss.start_ns, loss.end_ns)]
    if any(times):
        text += f"; between {times[0] or 'the beginning'} and {times[1] or 'the end'}"
    return text


if __name__ == "__main__":
    sys.exit(main())

"""`roboalign convert`: recorded bags to a data set."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from roboalign_policy.core.contract import ContractError, load_contract
from roboalign_training.conversion.allocation import keep_freed_memory
from roboalign_training.data.errors import DataError
from roboalign_training.data.recipe import Recipe

PARALLEL_FROM = 12
"""Bags from which on further processes pay for the seconds that starting them takes."""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign convert",
        description="Turn recorded bags into a data set, or add them to one. Bags that the data "
        "set holds already are not converted again, so the same command finishes an interrupted "
        "run.",
    )
    p.add_argument("bags", nargs="+", type=Path, help="bags, or folders with bags at any depth")
    p.add_argument("--out", required=True, type=Path, help="folder of the data set")
    p.add_argument(
        "--contract", help="contract: a file or a packaged name; default: the bag's own"
    )
    p.add_argument(
        "--append",
        action="store_true",
        help="add what is fit; a data set without any episode is no error",
    )
    p.add_argument("--instruction", help="what was asked for; default: what the bag says")
    p.add_argument("--namespace", help="namespace of the recorded topics; default: found out")
    p.add_argument("--outcomes", nargs="+", help="outcomes to take; default: success unknown")
    p.add_argument("--min-frames", type=int, help="least frames; default: half a chunk")
    p.add_argument("--max-gap", type=float, help="longest gap in s; default: 0.5")
    p.add_argument("--workers", type=int, default=0, help="processes; default: one a core")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when every bag was converted or left out by the rules; 1 when something could not be
        read, or nothing was fit.
    """
    args = parser().parse_args(argv)
    console = Console(stderr=True)
    keep_freed_memory()
    try:
        return _convert(args, console)
    except (DataError, ContractError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1


def _recipe(args: argparse.Namespace) -> Recipe | None:
    """The rules that were given, or None where the data set's own hold."""
    given = {
        "outcomes": tuple(args.outcomes) if args.outcomes else None,
        "min_frames": args.min_frames,
        "max_gap_s": args.max_gap,
        "instruction": args.instruction,
        "namespace": args.namespace,
    }
    given = {key: value for key, value in given.items() if value is not None}
    try:
        return Recipe(**given) if given else None
    except ValueError as error:
        raise DataError("command line", str(error)) from error


def _convert(args: argparse.Namespace, console: Console) -> int:
    """Converts, reports, and gives the exit status."""
    # Not above: workers load this module when they are started as `python -m` was.
    from roboalign_training.data.dataset import Converted, build_dataset, find_bags

    contract = load_contract(args.contract) if args.contract else None
    bags = find_bags(args.bags)
    workers = args.workers or (os.cpu_count() or 1 if len(bags) >= PARALLEL_FROM else 1)
    done: list[Converted] = []
    columns = (
        TextColumn("convert"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("convert", total=len(bags))

        def step(result: Converted) -> None:
            done.append(result)
            progress.advance(task)

        index = build_dataset(
            bags,
            contract,
            args.out,
            recipe=_recipe(args),
            workers=workers,
            allow_empty=args.append,
            on_bag=step,
        )
    for result in done:
        for entry in result.skipped:
            text = escape(f"{result.path}: {entry['id']}: {entry['reason']}")
            console.print(f"[yellow]left out:[/] {text}", soft_wrap=True)
        if result.error:
            console.print(f"[red]not read:[/] {escape(result.error)}", soft_wrap=True)
    added = sum(len(result.entries) for result in done)
    held = sum(result.known for result in done)
    print(
        f"{args.out}: {len(index.episodes)} episodes, {index.frames} frames "
        f"({added} new episodes; {held} of {len(bags)} bags were in it before)"
    )
    # A broken bag that was only found on the way is in the list of left-out ones; one that was
    # asked for by name is an error.
    named = set(args.bags)
    return int(any(result.error and result.path in named for result in done))


if __name__ == "__main__":
    sys.exit(main())

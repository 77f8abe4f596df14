"""`roboalign convert`: recorded bags to a data set."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from roboalign_policy.core.contract.contract import ContractError, load_contract
from roboalign_policy.core.instruction import instruction_fault
from roboalign_training.bags.definition_folder import add_definitions
from roboalign_training.bags.errors import DataError, OptionError
from roboalign_training.bags.folders import as_text
from roboalign_training.conversion.allocation import keep_freed_memory
from roboalign_training.conversion.balance_table import balance_tables
from roboalign_training.conversion.build import NothingFitError
from roboalign_training.conversion.kinds import OUTCOME
from roboalign_training.conversion.leaving_out import (
    MOST_REASONS,
    left_out_of,
    phrase,
    reasons_of,
)
from roboalign_training.conversion.memory import (
    DEFAULT_BYTES,
    LEAST_BYTES,
    MB,
    MemoryBudget,
    parse_bytes,
)
from roboalign_training.conversion.target import Converted
from roboalign_training.data.index import INDEX, DatasetIndex
from roboalign_training.episodes.recipe import JUMPS, Recipe
from roboalign_training.images.image_storage import CHOICES
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.left_out import add_strict
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.resumable import say_stopped
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import write_fault

PARALLEL_FROM, PARALLEL_BYTES = 12, 200 * MB
"""Bags, or their bytes, from which on further processes pay for the time that starting takes."""


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
        help="make the data set even where no episode is fit for it yet",
    )
    p.add_argument("--instruction", help="what was asked for; default: what the bag says")
    p.add_argument("--namespace", help="namespace of the recorded topics; default: found out")
    p.add_argument("--outcomes", nargs="+", help="outcomes to take; default: success unknown")
    p.add_argument("--min-frames", type=int, help="least frames; default: half a chunk")
    p.add_argument("--max-gap", type=float, help="longest gap in s; default: 0.5")
    p.add_argument(
        "--jumps",
        choices=JUMPS,
        help="episodes with actions or states that change faster than the contract's max_rate: "
        "leave-out (default), or keep, with a note",
    )
    p.add_argument(
        "--images",
        choices=CHOICES,
        help="how images are stored: auto (default; the camera's own JPEG or PNG where it is what "
        "live sees, else PNG: lossless), png, jpeg, or one video an episode and stream",
    )
    p.add_argument(
        "--quality", type=int, help="of jpeg: 1 .. 100, default 95; of video: CRF, default 23"
    )
    p.add_argument(
        "--workers",
        type=int,
        help=f"processes; default: one a core from {PARALLEL_FROM} bags or "
        f"{PARALLEL_BYTES // MB} MB on, else 1",
    )
    p.add_argument(
        "--max-memory",
        default=f"{DEFAULT_BYTES // MB}MB",
        help=f"of all processes together, e.g. 1.5GB; default: {DEFAULT_BYTES // MB}MB, "
        f"least: {LEAST_BYTES // MB}MB",
    )
    add_definitions(p)
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when the data set holds an episode of the bags; 1 when a bag that was named could not be
        read, none of the bags gave an episode (with --append: for another reason than its
        outcome), or counts do not agree; 2 when bags, options and --out do not fit; with --strict
        3 when anything was left out; 130 after ctrl-C.
    """
    args = parser().parse_args(argv)
    console = Console(stderr=True)
    keep_freed_memory()
    try:
        return _convert(args, console)
    except (DataError, ContractError, OutputError, OSError) as error:
        fault = write_fault(error, [str(args.out)]) if isinstance(error, OSError) else None
        console.print(f"[red]error:[/] {escape(as_text(fault or str(error)))}", soft_wrap=True)
        return status_of(error)
    except KeyboardInterrupt:
        return say_stopped(console)


def _recipe(args: argparse.Namespace) -> Recipe | None:
    """The rules that were given, or None where the data set's own hold."""
    given = {
        "outcomes": tuple(args.outcomes) if args.outcomes else None,
        "min_frames": args.min_frames,
        "max_gap_s": args.max_gap,
        "instruction": args.instruction,
        "namespace": args.namespace,
        "jumps": args.jumps,
        "images": args.images,
        "quality": args.quality,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if args.instruction is not None and (fault := instruction_fault(args.instruction)):
        raise OptionError("command line", f"--instruction: {fault}")
    try:
        return Recipe(**given) if given else None
    except ValueError as error:
        raise OptionError("command line", str(error)) from error


def _convert(args: argparse.Namespace, console: Console) -> int:
    """Converts, reports, and gives the exit status."""
    # Not above: workers load this module when they are started as `python -m` was.
    from roboalign_training.conversion.build import build_dataset, find_bags
    from roboalign_training.conversion.run import bag_bytes

    contract = load_contract(args.contract) if args.contract else None
    recipe = _recipe(args)
    bags = find_bags(args.bags)
    sizes = {path: bag_bytes(path) for path in bags}
    many = len(bags) >= PARALLEL_FROM or sum(sizes.values()) >= PARALLEL_BYTES
    workers = args.workers
    if workers is None:
        workers = (os.cpu_count() or 1) if many else 1
    if workers < 1:
        raise OptionError("command line", f"--workers: found {workers}, expected at least 1")
    try:
        max_memory = parse_bytes(args.max_memory)
        MemoryBudget(max_memory, workers)
    except ValueError as error:
        raise OptionError("command line", f"--max-memory: {error}") from error
    done: list[Converted] = []
    began = time.monotonic()
    with _progress(console) as progress:
        task = progress.add_task(_short(bags[0]), total=max(1, sum(sizes.values())))
        shares: dict[Path, float] = dict.fromkeys(bags, 0.0)

        def tell(path: Path, share: float) -> None:
            progress.advance(task, (share - shares[path]) * sizes[path])
            shares[path] = share
            progress.update(task, description=_short(path))

        nothing = ""
        try:
            index = build_dataset(
                bags,
                contract,
                args.out,
                recipe=recipe,
                workers=workers,
                max_memory=max_memory,
                allow_empty=args.append,
                on_bag=done.append,
                on_progress=tell,
            )
        except NothingFitError as error:
            index, nothing = error.index, as_text(str(error))
    if nothing:  # told below the bar, whose end writes a line
        console.print(f"[red]error:[/] {escape(nothing)}", soft_wrap=True)
        return _end(done, index, args)
    _say_reasons(done, index, console)
    for table in balance_tables([result.balance for result in done if result.balance]):
        print_whole(console, table)
    added = sum(len(result.entries) for result in done)
    held = sum(result.known for result in done)
    read = sum(sizes[result.path] for result in done if not result.known) / MB
    seconds = time.monotonic() - began
    if read:
        console.print(f"{read:.1f} MB of recordings in {seconds:.1f} s: {read / seconds:.1f} MB/s")
    print(
        f"{args.out}: {len(index.episodes)} episodes, {index.frames} frames "
        f"({added} new episodes; {held} of {len(bags)} bags were in it before)"
    )
    return _end(done, index, args)


def _say_reasons(done: Sequence[Converted], index: DatasetIndex, console: Console) -> None:
    """Says what was left out or noted now, and why: like reasons once."""
    skipped = [{**e, "source": as_text(str(r.path))} for r in done for e in r.skipped]
    taken = {(e["source"], e["id"]) for e in index.episodes.values()}
    lost = [e for r in done for e in r.entries if (e["source"], e["id"]) not in taken]
    held = {(e["source"], e["id"]): e["reason"] for e in index.skipped}
    skipped += [{**e, "reason": held.get((e["source"], e["id"]), "")} for e in lost]
    noted = [{**e, "reason": note} for r in done for e in r.entries for note in e.get("notes", ())]
    for word, entries in (("left out", skipped), ("noted", noted)):
        reasons = reasons_of(entries)
        for reason in reasons[:MOST_REASONS]:
            console.print(f"[yellow]{word}:[/] {escape(str(reason))}", soft_wrap=True)
        if len(reasons) > MOST_REASONS:
            console.print(f"... {len(reasons) - MOST_REASONS} more, see {INDEX} of the data set")
    for result in done:
        if result.error:
            console.print(f"[red]not read:[/] {escape(as_text(result.error))}", soft_wrap=True)


def _end(done: Sequence[Converted], index: DatasetIndex | None, args: argparse.Namespace) -> int:
    """Prints the last line, and gives the exit status."""
    left = left_out_of(done, index)
    print(left.line())
    bags = {r.bag_sha256 or (r.balance or {}).get("bag_sha256") for r in done}
    held = () if index is None else index.episodes.values()
    if not any(entry["bag_sha256"] in bags for entry in held):
        # A recorder appends whatever was recorded: a demonstration that failed is no fault.
        unwanted = {"episode": {phrase(OUTCOME): left.count("episode")}}
        return left.status(args.strict) if args.append and left.to_dict() == unwanted else 1
    # A broken bag that was only found on the way is in the list of left-out ones; one that was
    # asked for by name is an error.
    named = set(args.bags)
    if any(result.error and result.path in named for result in done):
        return 1
    return left.status(args.strict)


def _progress(console: Console) -> Progress:
    """A bar that counts bytes of recordings; nothing of it is left at the end."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _short(path: Path) -> str:
    """A bag's name, no longer than the bar leaves room for."""
    name = as_text(path.name)
    return name if len(name) <= 32 else f"{name[:29]}..."


if __name__ == "__main__":
    sys.exit(main())

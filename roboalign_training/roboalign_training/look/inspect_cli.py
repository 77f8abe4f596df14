"""`roboalign inspect`: what is in a bag or a data set, in the terminal, as a page or in Rerun."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roboalign_policy.core.contract.contract import Contract, ContractError, load_contract
from roboalign_policy.fast.errors import FastError
from roboalign_training.bags.bags import Bag, read_bag
from roboalign_training.bags.definition_folder import add_definitions
from roboalign_training.bags.errors import DataError
from roboalign_training.data.index import INDEX, load_index
from roboalign_training.episodes.episodes import bag_contract
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.look.inspect import inspect_bag
from roboalign_training.look.inspect_views import MOST_PICTURES, View, bag_view, dataset_view
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.outputs import (
    OutputError,
    add_overwrite,
    beside,
    publish_files,
    refuse_existing,
)
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import writing

MOST_ROWS = 20
"""Rows of a table, and faults, that are shown without --all."""
_NOUNS = {
    "balance": "lines of balance", "left out": "lines of what was left out",
    "actions": "dimensions",
}  # fmt: skip
"""What the rows of a table are, where its caption does not say it."""
VIEWER = ""  # what --rerun without a file stands for


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign inspect",
        description="Show counts, rates and gaps of a bag, or the content of a data set.",
    )
    p.add_argument("path", type=Path, help="a bag, or the folder of a data set")
    p.add_argument(
        "--contract", help="contract: a file or a packaged name; default: the bag's own"
    )
    p.add_argument("--instruction", help="what was asked for; default: what the bag says")
    p.add_argument("--namespace", help="namespace of the recorded topics; default: found out")
    p.add_argument(
        "--all",
        action="store_true",
        help=f"every row and fault, not only the first {MOST_ROWS} of each kind",
    )
    p.add_argument("--out", type=Path, help="folder for pictures of actions and first frames")
    p.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="a page with everything in it: images, plots, gaps, FAST tokens; opens without "
        "network in any browser; of more than 100 episodes further pages beside it, FILE-2 ...",
    )
    p.add_argument(
        "--rerun",
        metavar="FILE.rrd",
        nargs="?",
        const=VIEWER,
        help="write a recording of the Rerun viewer, or open the viewer where no file is named",
    )
    p.add_argument(
        "--episode",
        action="append",
        default=[],
        metavar="ID",
        help="with --html or --rerun: show this episode only; may be given several times",
    )
    p.add_argument(
        "--max-frames",
        type=_at_least_one,
        metavar="N",
        help="with --html: images of each camera in an episode, at most (default 300)",
    )
    add_definitions(p)
    add_overwrite(p)
    return p


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected at least 1")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 1 when the path cannot be read, a bag is not what its contract says, or an episode in
        it is not fit for training for another reason than its outcome.
    """
    options = parser()
    args = options.parse_args(argv)
    if (args.episode or args.max_frames) and args.html is None and args.rerun is None:
        options.error("--episode and --max-frames are for --html and --rerun: neither is given")
    console, errors = Console(), Console(stderr=True)
    try:
        with errors.status(escape(f"reading {args.path}")) as status:

            def tell(text: str) -> None:
                status.update(escape(f"{args.path}: {text}"))

            view, written = inspect(args, tell)
            if args.out is not None:
                fresh = beside(args.out)
                with writing(args.out, "pictures"):
                    save_pictures(view, fresh)
                    written += publish_files(fresh, args.out, overwrite=args.overwrite)
    except (DataError, ContractError, FastError, OutputError, OSError) as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return status_of(error)
    unshown = show(view, console, None if args.all else MOST_ROWS)
    for path in written:
        console.print(f"written: {escape(str(path))}", soft_wrap=True)
    if unshown:
        console.print(f"not shown: {', '.join(unshown)} (--all shows them)", soft_wrap=True)
    return int(bool(view.faults))


def inspect(args: argparse.Namespace, tell: Callable[[str], None]) -> tuple[View, list[Path]]:
    """Reads the path, and writes the page and the Rerun recording where they are asked for.

    Returns:
        What to show in the terminal, and the files written.

    Raises:
        DataError, ContractError, FastError: When the path cannot be read.
    """
    if args.html is None and args.rerun is None:
        if _is_dataset(args.path):
            return dataset_view(load_index(args.path), tell=tell), []
        bag, contract, recipe = _bag(args)
        return bag_view(inspect_bag(bag, contract, recipe, tell=tell), contract), []
    # Here, because only the page and the viewer need them.
    from roboalign_training.look.bag_source import look_at_bag
    from roboalign_training.look.dataset_source import look_at_dataset
    from roboalign_training.look.look import Selection
    from roboalign_training.look.page import check_target, page_path, write_page
    from roboalign_training.look.rerun_sink import RerunLog

    log = None
    if args.rerun:
        refuse_existing(Path(args.rerun), args.overwrite)
    if args.rerun is not None:
        log = RerunLog(args.path, Path(args.rerun) if args.rerun != VIEWER else None)
    more = (lambda name: ()) if log is None else log.sinks
    choice = Selection(tuple(args.episode), args.max_frames, more, tell)
    if args.html is not None:
        check_target(args.html)
    if _is_dataset(args.path):
        looks = look_at_dataset(args.path, choice)
    else:
        looks = look_at_bag(*_bag(args), choice)
    view, written, fresh = None, [], None
    if args.html is not None:
        fresh = beside(args.html)
        fresh.mkdir()
    try:
        for look in looks:
            view = view or look.view
            if fresh is not None:
                tell(f"writing page {look.part.number}")
                check_target(page_path(args.html, look.part.number))
                with writing(args.html, "the page"):
                    write_page(fresh / args.html.name, look)
        if log is not None:
            written += log.close()
        if fresh is not None:
            written += publish_files(fresh, args.html.parent, overwrite=args.overwrite)
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)
    return view, written


def _is_dataset(path: Path) -> bool:
    return (path / INDEX).is_file()


def _bag(args: argparse.Namespace) -> tuple[Bag, Contract | None, Recipe]:
    """The recording, what it should be, and by which rules it is judged."""
    bag = read_bag(args.path)
    contract = load_contract(args.contract) if args.contract else bag_contract(bag)
    return bag, contract, Recipe(instruction=args.instruction, namespace=args.namespace)


def show(view: View, console: Console, most: int | None) -> list[str]:
    """Prints a view, of each table and of the faults at most so many.

    Args:
        view: What is shown.
        console: Where.
        most: How many rows; None for all.

    Returns:
        What was not shown, with its count; empty where all was.
    """
    unshown = []

    def first(rows: list, noun: str) -> list:
        if (more := len(rows[:most])) < len(rows):
            unshown.append(f"{len(rows) - more:,} of {len(rows):,} {noun}")
        return rows[:most]

    console.print(f"[bold]{escape(view.title)}[/]", soft_wrap=True)
    for fact in view.facts:
        console.print(escape(fact), soft_wrap=True)
    for caption, (header, *rows) in view.tables:
        table = Table(title=escape(caption), title_justify="left", title_style="bold")
        for name in header:
            table.add_column(escape(name), overflow="fold")
        for row in first(rows, _NOUNS.get(caption, caption)):
            table.add_row(*map(escape, row))
        print_whole(console, table)
    for fault in first(view.faults, "faults"):
        console.print(f"[red]fault:[/] {escape(fault)}", soft_wrap=True)
    return unshown


def save_pictures(view: View, folder: Path) -> list[Path]:
    """Writes `actions.png`, `first_frames.png` and `index.html`; returns the files written."""
    from roboalign_training.look.plots import plot_actions, save_mosaic, write_page

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if view.actions:
        plot_actions(folder / "actions.png", view.contract, view.actions, view.title)
        written.append(folder / "actions.png")
    if view.images:
        save_mosaic(folder / "first_frames.png", view.images[:MOST_PICTURES])
        written.append(folder / "first_frames.png")
    facts = [["summary"], *([fact] for fact in (*view.facts, *view.faults))]
    tables = [("summary", facts), *view.tables]
    write_page(folder / "index.html", view.title, tables, [path.name for path in written])
    return [*written, folder / "index.html"]


if __name__ == "__main__":
    sys.exit(main())

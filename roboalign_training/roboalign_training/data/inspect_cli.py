"""`roboalign inspect`: what is in a bag or a data set, in the terminal and as pictures."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roboalign_policy.core.contract import Contract, ContractError, load_contract
from roboalign_training.data.bags import read_bag
from roboalign_training.data.balance_table import balance_rows
from roboalign_training.data.episodes import bag_contract
from roboalign_training.data.errors import DataError
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.data.index import INDEX
from roboalign_training.data.inspect import BagReport, inspect_bag
from roboalign_training.data.recipe import Recipe

MOST_ROWS = 60
MOST_PICTURES = 48


@dataclass
class View:
    """What is shown of a bag or a data set.

    Attributes:
        title: One line.
        facts: Lines below it.
        tables: (caption, rows) with the header first; cells are plain text.
        faults: What is wrong, one line each.
        contract: For the names of the action dimensions; None draws nothing.
        actions: (N_i, A) float32 of each episode.
        images: (H, W, 3) uint8, first frames.
    """

    title: str
    facts: list[str] = field(default_factory=list)
    tables: list[tuple[str, list[list[str]]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    contract: Contract | None = None
    actions: list[np.ndarray] = field(default_factory=list)
    images: list[np.ndarray] = field(default_factory=list)


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
    p.add_argument("--out", type=Path, help="folder for pictures of actions and first frames")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 1 when the path cannot be read, or a bag is not what its contract says.
    """
    args = parser().parse_args(argv)
    console, errors = Console(), Console(stderr=True)
    try:
        with errors.status(f"reading {args.path}"):
            view = dataset_view(load_frames(args.path)) if _is_dataset(args.path) else _bag(args)
            if args.out is not None:
                pictures = save_pictures(view, args.out)
    except (DataError, ContractError) as error:
        errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return 1
    show(view, console)
    if args.out is not None:
        console.print(f"pictures: {', '.join(map(str, pictures))}", soft_wrap=True)
    return int(bool(view.faults))


def _is_dataset(path: Path) -> bool:
    return (path / INDEX).is_file()


def _bag(args: argparse.Namespace) -> View:
    bag = read_bag(args.path)
    contract = load_contract(args.contract) if args.contract else bag_contract(bag)
    recipe = Recipe(instruction=args.instruction, namespace=args.namespace)
    return bag_view(inspect_bag(bag, contract, recipe), contract)


def bag_view(report: BagReport, contract: Contract | None) -> View:
    """What is shown of a bag."""
    bag = report.bag
    view = View(f"bag {bag.path}", contract=contract)
    view.facts.append(
        f"{bag.message_count} messages on {len(bag.topics)} topics in {bag.duration_s:.2f} s, "
        f"{len(bag.files)} files"
    )
    name = (
        f"{contract.name} ({contract.hash[:12]}), {contract.rate_hz:g} Hz" if contract else "none"
    )
    view.facts.append(f"contract: {name}")
    rows = [["topic", "type", "messages", "Hz", "longest gap [s]", "use", "remarks"]]
    for t in report.topics:
        remarks = "; ".join(t.faults)
        rows.append([t.name, t.type, str(t.count), _number(t.rate_hz), _number(t.max_gap_s, 3),
                     t.role, remarks])  # fmt: skip
        if t.role:
            view.faults += [f"{t.name}: {fault}" for fault in t.faults]
    view.tables.append(("topics", rows))
    if report.fault:
        view.faults.append(report.fault)
    rows = [["episode", "instruction", "outcome", "frames", "s", "left out frames", "verdict"]]
    for episode in report.episodes:
        frames, span = episode.frames, episode.span
        lost = Counter(frames.dropped) + Counter(frames.trimmed)
        rows.append([
            span.episode_id, span.instruction, span.outcome, str(len(frames)),
            _number(len(frames) / contract.rate_hz),
            ", ".join(f"{why}: {n}" for why, n in sorted(lost.items())) or "none",
            episode.fault or "fit",
        ])  # fmt: skip
        if len(frames):
            view.actions.append(frames.actions)
            view.images += [frames.values[s.key][0] for s in contract.images]
    if report.episodes:
        view.tables.append(("episodes", rows))
        view.tables.append(_action_table(contract, view.actions))
    return view


def dataset_view(data: FrameDataset) -> View:
    """What is shown of a data set."""
    index, contract = data.index, data.contract
    view = View(f"data set {data.folder}", contract=contract)
    minutes = len(data) / contract.rate_hz / 60
    view.facts.append(
        f"{len(data.episodes)} episodes, {len(data)} frames ({minutes:.1f} min at "
        f"{contract.rate_hz:g} Hz), {int(data.usable.sum())} whole chunks of "
        f"{contract.action.horizon}"
    )
    view.facts.append(f"contract: {contract.name} ({contract.hash[:12]})")
    images, quality = index.recipe["images"], index.recipe["quality"]
    view.facts.append(
        f"images: {images}" + (f", quality {quality}" if quality is not None else "")
    )
    fitted = index.fitted
    if fitted:
        tokens = fitted["tokens_per_chunk"]
        stale = "" if fitted["dataset"] == data.hashes["dataset"] else " (before the last change)"
        view.facts.append(
            f"tokenizer: {fitted['vocab_size']} tokens, {tokens['mean']:.2f} a chunk, "
            f"95 %: {tokens['p95']:g}, most: {tokens['max']}{stale}"
        )
    else:
        view.facts.append("tokenizer: none yet (roboalign fit-tokenizer)")
    tasks = Counter(e.instruction for e in data.episodes)
    view.tables.append(
        (
            "instructions",
            [["instruction", "episodes"], *[[t, str(n)] for t, n in tasks.most_common()]],
        )
    )
    rows = [["episode", "frames", "outcome", "instruction", "left out frames", "source"]]
    for e in data.episodes:
        entry = index.episodes[e.id]
        lost = Counter(entry["dropped"]) + Counter(entry["trimmed"])
        rows.append([
            e.id, str(len(e)), e.outcome, e.instruction,
            ", ".join(f"{why}: {n}" for why, n in sorted(lost.items())) or "none", entry["source"],
        ])  # fmt: skip
        view.actions.append(data.actions[e.start : e.stop])
    view.tables.append(("episodes", rows))
    if index.balance:
        sheets = sorted(index.balance.values(), key=lambda sheet: sheet["source"])
        view.tables.append(("balance", balance_rows(sheets)))
    if index.skipped:
        skipped = [[s["source"], s["id"], s["reason"]] for s in index.skipped]
        view.tables.append(("left out", [["source", "episode", "reason"], *skipped]))
    view.tables.append(_action_table(contract, view.actions))
    for e in data.episodes[:MOST_PICTURES]:
        view.images += [data.image(e.start, key) for key in data.image_keys]
    return view


def _action_table(contract: Contract, actions: list[np.ndarray]) -> tuple[str, list[list[str]]]:
    """Ranges of the action dimensions over all episodes."""
    rows = [["dimension", "unit", "least", "1 %", "mean", "99 %", "greatest", "limits"]]
    whole = np.concatenate(actions) if actions else np.zeros((0, len(contract.action.dims)))
    for d, dim in enumerate(contract.action.dims if len(whole) else ()):
        column = whole[:, d]
        figures = (column.min(), np.quantile(column, 0.01), column.mean(),
                   np.quantile(column, 0.99), column.max())  # fmt: skip
        limits = f"{dim.limits[0]:g} .. {dim.limits[1]:g}"
        rows.append([dim.name, dim.unit, *(f"{x:.3f}" for x in figures), limits])
    return "actions", rows


def show(view: View, console: Console) -> None:
    """Prints a view; long tables are cut, with a word about it."""
    console.print(f"[bold]{escape(view.title)}[/]", soft_wrap=True)
    for fact in view.facts:
        console.print(escape(fact), soft_wrap=True)
    for caption, (header, *rows) in view.tables:
        table = Table(title=caption, title_justify="left", title_style="bold")
        for name in header:
            table.add_column(escape(name), overflow="fold")
        for row in rows[:MOST_ROWS]:
            table.add_row(*map(escape, row))
        console.print(table)
        if len(rows) > MOST_ROWS:
            console.print(f"... and {len(rows) - MOST_ROWS} more")
    for fault in view.faults:
        console.print(f"[red]fault:[/] {escape(fault)}", soft_wrap=True)


def save_pictures(view: View, folder: Path) -> list[Path]:
    """Writes `actions.png`, `first_frames.png` and `index.html`; returns the files written."""
    from roboalign_training.data.plots import plot_actions, save_mosaic, write_page

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


def _number(value: float, digits: int = 1) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())

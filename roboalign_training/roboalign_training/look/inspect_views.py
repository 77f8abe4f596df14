"""What `roboalign inspect` says of a bag or a data set: facts, tables and faults as plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.conversion.balance_table import balance_rows
from roboalign_training.data.frame_dataset import FrameDataset
from roboalign_training.data.index import DatasetIndex
from roboalign_training.look.inspect import BagReport

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
    rows = [["topic", "type", "messages", "Hz", "expected", "longest gap [s]", "use", "remarks"]]
    for t in report.topics:
        remarks = "; ".join(filter(None, [*t.faults, t.note]))
        expected = f"{t.expected_hz:g}" if t.expected_hz else ""
        rows.append([t.name, t.type, str(t.count), _number(t.rate_hz), expected,
                     _number(t.max_gap_s, 3), t.role, remarks])  # fmt: skip
        if t.role:
            view.faults += [f"{t.name}: {fault}" for fault in t.faults]
    view.tables.append(("topics", rows))
    view.faults += [f"{name}: {fault}" for name, fault in bag.undecodable().items()]
    if report.fault:
        view.faults.append(report.fault)
    header = ["episode", "instruction", "outcome", "frames", "s", "left out frames", "verdict"]
    rows = [[*header, "remarks"]]
    for episode in report.episodes:
        frames, span = episode.frames, episode.span
        count = 0 if frames is None else len(frames)
        rows.append([
            span.episode_id, span.instruction, span.outcome, str(count),
            _number(count / contract.rate_hz),
            "-" if frames is None else lost_frames(frames.dropped, frames.trimmed),
            episode.fault or "fit", "; ".join(episode.notes),
        ])  # fmt: skip
        if episode.wrong:
            view.faults.append(f"episode {span.episode_id}: {episode.wrong}")
        if count:
            view.actions.append(frames.actions)
            first = episode.first_images
            view.images += [first[s.key] for s in contract.images if s.key in first]
    if report.episodes:
        if (count := len(report.episodes)) > 1:
            fit = sum(episode.fault is None for episode in report.episodes)
            view.facts.append(f"{count} episodes, {fit} fit for training")
        view.tables.append(("episodes", rows))
        view.tables.append(_action_table(contract, view.actions))
    return view


def dataset_view(
    index: DatasetIndex,
    *,
    visit: Callable[[FrameDataset], None] = lambda part: None,
    tell: Callable[[str], None] = lambda text: None,
) -> View:
    """What is shown of a data set, read episode by episode.

    Args:
        index: From `load_index`.
        visit: Is given each episode as a data set of its own; nobody keeps it.
        tell: Is told of the progress, in words.

    Raises:
        DatasetError: When an episode's file is missing or damaged.
    """
    contract = index.contract
    view = View(f"data set {index.folder}", contract=contract)
    usable = 0
    rows = [
        ["episode", "frames", "outcome", "instruction", "left out frames", "source", "remarks"]
    ]
    for number, name in enumerate(sorted(index.episodes)):
        tell(f"reading episode {number + 1} of {len(index.episodes)}: {name}")
        entry, part = index.episodes[name], FrameDataset(index, [name])
        usable += int(part.usable.sum())
        lost = lost_frames(entry["dropped"], entry["trimmed"])
        row = [name, str(len(part)), entry["outcome"], entry["instruction"], lost, entry["source"]]
        rows.append([*row, "; ".join(entry.get("notes", ()))])
        view.actions.append(part.actions)
        if number < MOST_PICTURES and len(part):
            view.images += [part.image(0, key) for key in part.image_keys]
        visit(part)
    minutes = index.frames / contract.rate_hz / 60
    view.facts.append(
        f"{len(index.episodes)} episodes, {index.frames} frames ({minutes:.1f} min at "
        f"{contract.rate_hz:g} Hz), {usable} whole chunks of {contract.action.horizon}"
    )
    view.facts.append(f"contract: {contract.name} ({contract.hash[:12]})")
    images, quality = index.recipe["images"], index.recipe["quality"]
    view.facts.append(
        f"images: {images}" + (f", quality {quality}" if quality is not None else "")
    )
    view.facts.append(_tokenizer_fact(index))
    tasks = Counter(entry["instruction"] for entry in index.episodes.values())
    tasks_rows = [[task, str(number)] for task, number in tasks.most_common()]
    view.tables.append(("instructions", [["instruction", "episodes"], *tasks_rows]))
    view.tables.append(("episodes", rows))
    if index.balance:
        sheets = sorted(index.balance.values(), key=lambda sheet: sheet["source"])
        header, *lines = balance_rows(sheets)
        # The sum first: of many only the first lines are shown.
        view.tables.append(("balance", [header, *lines[len(sheets) :], *lines[: len(sheets)]]))
    if index.skipped:
        skipped = [[s["source"], s["id"], s["reason"]] for s in index.skipped]
        view.tables.append(("left out", [["source", "episode", "reason"], *skipped]))
    view.tables.append(_action_table(contract, view.actions))
    return view


def _tokenizer_fact(index: DatasetIndex) -> str:
    """One line on the tokenizer."""
    fitted = index.fitted
    if not fitted:
        return "tokenizer: none yet (roboalign fit-tokenizer)"
    tokens = fitted["tokens_per_chunk"]
    stale = "" if fitted["dataset"] == index.hashes["dataset"] else " (before the last change)"
    return (
        f"tokenizer: {fitted['vocab_size']} tokens, {tokens['mean']:.2f} a chunk, "
        f"95 %: {tokens['p95']:g}, most: {tokens['max']}{stale}"
    )


def lost_frames(dropped: dict[str, int], trimmed: dict[str, int]) -> str:
    """Frames that were left out, by reason, or "none"."""
    lost = Counter(dropped) + Counter(trimmed)
    return ", ".join(f"{why}: {n}" for why, n in sorted(lost.items())) or "none"


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


def _number(value: float, digits: int = 1) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"

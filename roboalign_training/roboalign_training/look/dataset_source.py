"""A data set as it is shown: its view, a scene of each episode, the tokens of its chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.fast import FastTokenizer
from roboalign_training.data.fit import load_action_stats
from roboalign_training.data.frame_dataset import FrameDataset
from roboalign_training.data.index import STATS, TOKENIZER, DatasetIndex, load_index
from roboalign_training.episodes.channels import (
    ACTION,
    Axis,
    Channel,
    Moment,
    Sink,
    dataset_channels,
)
from roboalign_training.look.budget import share
from roboalign_training.look.inspect_views import dataset_view, lost_frames
from roboalign_training.look.look import Look, Part, Selection, in_pages, not_all, without_tables
from roboalign_training.look.scene import ERROR, ShownEpisode
from roboalign_training.look.tokens import chunk_tokens, overall, token_figures

_IN_SUMMARY = ("id", "instruction", "outcome", "frames", "dropped", "trimmed")


def look_at_dataset(folder: Path, choice: Selection) -> Iterator[Look]:
    """Reads a data set episode by episode, and yields what is shown, page by page.

    What is kept is that of one page: the episodes behind the first page are read when it is done.

    Raises:
        DatasetError: When it is missing or damaged.
        DataError: When an episode is asked for that is not there.
        FastError: When its tokenizer is damaged.
    """
    index = load_index(folder)
    names = choice.of(folder, sorted(index.episodes))
    fast = None
    if index.fitted:
        fast = (FastTokenizer.load(folder / TOKENIZER), load_action_stats(folder / STATS))
    pages = in_pages(names)
    first = set(pages[0]) if pages else set()
    scenes: list[ShownEpisode] = []

    def visit(part: FrameDataset) -> None:
        if part.episodes[0].id in first:
            scenes.append(_scene(part, pages[0], fast, choice))

    view = dataset_view(index, visit=visit, tell=choice.tell)
    if fast is not None and fast[0].hash != index.fitted["tokenizer"]:
        view.faults.append(
            f"{TOKENIZER}/ is not the tokenizer that dataset.json names: found hash "
            f"{fast[0].hash[:12]}, expected {index.fitted['tokenizer'][:12]}"
        )
    notes = not_all(len(names), len(index.episodes))
    if fast is not None and index.fitted["dataset"] != index.hashes["dataset"]:
        notes.append("the tokenizer was fitted before the data set's last change")
    look = Look(view, scenes, _provenance(folder, index), notes, part=Part(1, pages))
    view.tables += _errors(index, scenes)
    yield look
    for number, ids in enumerate(pages[1:], 2):
        scenes = []
        for name in ids:
            choice.tell(f"page {number} of {len(pages)}: episode {name}")
            scenes.append(_scene(FrameDataset(index, [name]), ids, fast, choice))
        other = replace(look, view=without_tables(view), scenes=scenes, part=Part(number, pages))
        other.view.tables += _errors(index, scenes)
        yield other


def _scene(
    part: FrameDataset,
    page: Sequence[str],
    fast: tuple[FastTokenizer, QuantileStats] | None,
    choice: Selection,
) -> ShownEpisode:
    """One episode as it is shown.

    Args:
        part: The episode as a data set of its own.
        page: The episodes that share the page.
        fast: Tokenizer and statistics, where there are any.
        choice: What to show.
    """
    (episode,) = part.episodes
    contract, entries = part.contract, part.index.episodes
    curves = sum(len(s.fields) for s in contract.states) + 3 * len(contract.action.dims)
    share_of_page = len(part) / max(sum(entries[name]["frames"] for name in page), 1)
    budget = share(share_of_page, len(contract.images), curves, choice.frames)
    scene = ShownEpisode(episode.id, episode.instruction, episode.outcome, budget, verdict="")
    for sink in (scene, *choice.more(episode.id)):
        _feed(part, sink)
    _frames(part, scene)
    if fast is not None:
        _tokens(part, scene, *fast)
    return scene


def _errors(
    index: DatasetIndex, scenes: Sequence[ShownEpisode]
) -> list[tuple[str, list[list[str]]]]:
    """The table of what FAST loses in the episodes of a page; none without tokens."""
    found = overall(scene.tokens for scene in scenes if scene.tokens)
    if found is None:
        return []
    chunks, rms, greatest = found
    rows = [["dimension", "unit", "RMS error", "greatest error"]]
    for d, dim in enumerate(index.contract.action.dims):
        rows.append([dim.name, dim.unit, f"{rms[d]:.5f}", f"{greatest[d]:.5f}"])
    return [(f"FAST reconstruction over {chunks} chunks of the episodes shown", rows)]


def _feed(part: FrameDataset, sink: Sink) -> None:
    """Gives a sink the frames of one episode."""
    contract = part.contract
    for channel in dataset_channels(contract):
        sink.declare(channel)
    for i, stamp in enumerate(part.stamps_ns.tolist()):
        when = Moment(stamp, stamp)
        for key in part.image_keys:
            sink.image(key, when, lambda i=i, key=key: part.image(i, key))
        for stream in contract.states:
            sink.vector(stream.key, when, part.states[stream.key][i])
        sink.vector(ACTION, when, part.actions[i])


def _frames(part: FrameDataset, scene: ShownEpisode) -> None:
    """Tells a scene about its frames: times, holes, and where they came from."""
    scene.frame_times_ns = part.stamps_ns
    broken = np.flatnonzero(np.diff(part.frame_indices) > 1)
    stamps = part.stamps_ns
    scene.holes = [(int(stamps[i]), int(stamps[i + 1])) for i in broken]
    entry = part.index.episodes[scene.episode_id]
    scene.about += [
        ("frames", str(entry["frames"])),
        ("left out between frames", lost_frames(entry["dropped"], {})),
        ("left out at the ends", lost_frames({}, entry["trimmed"])),
        ("chunks without a hole", f"{int(part.usable.sum())} of {len(part)}"),
    ]
    scene.about += [(k, str(v)) for k, v in entry.items() if k not in _IN_SUMMARY]


def _tokens(
    part: FrameDataset, scene: ShownEpisode, tokenizer: FastTokenizer, stats: QuantileStats
) -> None:
    """Encodes a scene's chunks; the error of each is a curve like any other."""
    found = chunk_tokens(tokenizer, stats, part.chunks(), part.usable)
    scene.tokens = token_figures(found, scene.budget)
    dims = part.contract.action.dims
    axes = tuple(Axis(dim.name, dim.unit) for dim in dims)
    for key, errors in (("RMS", found.rms), ("greatest", found.greatest)):
        channel = f"error {key}"
        scene.declare(Channel(channel, key, ERROR, axes))
        for stamp, row in zip(part.stamps_ns.tolist(), errors, strict=True):
            scene.vector(channel, Moment(stamp, stamp), row)


def _provenance(folder: Path, index: DatasetIndex) -> list[tuple[str, str]]:
    """What a data set was made of and by which rules."""
    rows = [("data set", str(folder))]
    rows += [(f"SHA-256 of {name}", value) for name, value in index.hashes.items()]
    rows += [(f"rule {name}", str(value)) for name, value in index.recipe.items()]
    options = index.fitted.get("options", {})
    return rows + [(f"tokenizer {name}", str(value)) for name, value in options.items()]

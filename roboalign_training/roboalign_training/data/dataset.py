"""Bags to a data set of Parquet files: one file an episode, resumable, appendable, in parallel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from os.path import relpath
from pathlib import Path

from roboalign_policy.core.contract import Contract
from roboalign_training.data.bags import read_bag
from roboalign_training.data.episodes import bag_contract, find_spans, frames_from_bag
from roboalign_training.data.errors import BagError, DataError, DatasetError, EpisodeError
from roboalign_training.data.folders import recordings, storage_of
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.data.index import (
    DATA,
    INDEX,
    DatasetIndex,
    load_index,
    locked,
)
from roboalign_training.data.recipe import Recipe, frames_fault, span_fault
from roboalign_training.data.table import content_hash, read_entry, write_episode
from roboalign_training.data.topics import map_topics

__all__ = [
    "Converted",
    "FrameDataset",
    "Recipe",
    "append_bag",
    "build_dataset",
    "find_bags",
    "load_frames",
]

_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


@dataclass(frozen=True)
class Converted:
    """What became of one bag.

    Attributes:
        path: The bag.
        entries: Episodes that were written, as in `dataset.json`, and `pending`, the file's name
            until it has its place.
        skipped: Episodes that were left out, with the reason.
        error: Why the bag could not be read at all, or "".
        known: The data set had it already.
    """

    path: Path
    entries: tuple[dict, ...] = ()
    skipped: tuple[dict, ...] = ()
    error: str = ""
    known: bool = False


def find_bags(paths: Sequence[str | Path]) -> list[Path]:
    """Lists the bags that `paths` name or hold.

    Args:
        paths: Bag folders, storage files, or folders with bags at any depth below.

    Returns:
        Bag folders and files, without duplicates. A folder with a storage file in it counts as a
        bag also when its metadata is missing: what a killed recorder left must be reported.

    Raises:
        BagError: When a path does not exist, or there is no bag below it.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise BagError(path, "does not exist")
        below = list(_bags_below(path)) if path.is_dir() else [path]
        if not below:
            raise BagError(path, "no bag in it: no metadata.yaml, .mcap or .db3 file at any depth")
        found.update(dict.fromkeys(below))
    return list(found)


def _bags_below(folder: Path) -> Iterator[Path]:
    """The folder itself if it is a bag, else the bags below it, by name."""
    children = sorted(folder.iterdir())
    if any(c.name == "metadata.yaml" or storage_of(c) for c in children):
        parts = [] if (folder / "metadata.yaml").exists() else recordings(folder)
        apart = len(parts) > 1 and all(len(files) == 1 for files in parts)  # bags of their own
        yield from ([files[0] for files in parts] if apart else [folder])
        return
    for child in children:
        if child.is_dir() and not child.name.startswith("."):
            yield from _bags_below(child)


def build_dataset(
    bags: Sequence[str | Path],
    contract: Contract | None,
    out: str | Path,
    *,
    recipe: Recipe | None = None,
    workers: int = 1,
    allow_empty: bool = False,
    on_bag: Callable[[Converted], None] | None = None,
) -> DatasetIndex:
    """Converts bags to episodes of a data set; bags that it holds already are not converted again.

    Args:
        bags: Bag folders or files, as from `find_bags`.
        contract: The robot; None takes the data set's, or the one in the first bag.
        out: The data set's folder; made where it does not exist, else the episodes are added.
        recipe: Which episodes are taken; None for the data set's own rules, or the defaults.
        workers: Processes. With more than one the caller needs `if __name__ == "__main__"`.
        allow_empty: Whether a data set without an episode is made where all are left out.
        on_bag: Called after each bag.

    Returns:
        The data set's index, already saved. Unreadable bags are in its list of skipped ones.

    Raises:
        DatasetError: When `out` holds a data set of another contract or recipe, or when it would
            hold no episode in the end; the text has the reasons.
        EpisodeError: When `contract` is None and no bag has one.
    """
    out = Path(out)
    with locked(out):
        index = open_index(out, contract, bags, recipe)
        recipe = Recipe.from_dict(index.recipe)
        failed = []
        for done in _convert_all(bags, index, recipe, workers):
            enter_episodes(index, done)
            if done.error:
                failed.append({"id": "", "source": relpath(done.path, out), "bag_sha256": "",
                               "reason": done.error})  # fmt: skip
            if on_bag is not None:
                on_bag(done)
        # A bag without a hash could not be read; it may be repaired and tried again.
        named = {entry["source"] for entry in failed}
        index.skipped = [
            e for e in index.skipped if e["bag_sha256"] or e["source"] not in named
        ] + failed
        if not index.episodes and not allow_empty:
            why = "; ".join(f"{e['source']}: {e['reason']}" for e in index.skipped[:10])
            raise DatasetError(out, f"no episode to put in it: {why or 'no bags given'}")
        index.save()
    return index


def append_bag(bag: str | Path, out: str | Path, contract: Contract | None = None) -> Converted:
    """Adds one bag to a data set.

    Returns:
        What became of it; see `build_dataset` for arguments and errors.
    """
    seen: list[Converted] = []
    build_dataset([bag], contract, out, allow_empty=True, on_bag=seen.append)
    return seen[0]


def open_index(
    out: Path, contract: Contract | None, bags: Sequence[str | Path], recipe: Recipe | None
) -> DatasetIndex:
    """The data set at `out`, new where there is none, with every finished episode in its index.

    Arguments and errors are those of `build_dataset`; the caller holds the lock.
    """
    if (out / INDEX).exists():
        index = load_index(out)
        if contract is not None and contract.hash != index.contract.hash:
            raise DatasetError(
                out,
                f"holds episodes of contract {index.contract.name} ({index.contract.hash[:12]}), "
                f"found {contract.name} ({contract.hash[:12]}): use another folder",
            )
        if recipe is not None and recipe.to_dict() != index.recipe:
            raise DatasetError(
                out, f"was made with the rules {index.recipe}, found {recipe.to_dict()}"
            )
    else:
        index = DatasetIndex(
            out, contract or _first_contract(bags), (recipe or Recipe()).to_dict()
        )
    for unfinished in (out / DATA).glob(".*"):
        unfinished.unlink()
    # Files that an interrupted run finished are in no index yet.
    for path in sorted((out / DATA).glob("episode-*.parquet")):
        entry = read_entry(path)
        if (entry["contract"], entry["recipe"]) != (index.contract.hash, index.recipe):
            raise DatasetError(path, "was made with another contract or other rules")
        index.episodes.setdefault(entry["id"], _listed(entry))
    for name, entry in list(index.episodes.items()):
        if not (out / entry["file"]).is_file():
            del index.episodes[name]
    return index


def _first_contract(bags: Sequence[str | Path]) -> Contract:
    """The contract in the first bag that has one."""
    for path in bags:
        try:
            contract = bag_contract(read_bag(path))
        except BagError:
            continue  # reported when it is converted
        if contract is not None:
            return contract
    shown = ", ".join(map(str, bags[:3]))
    raise EpisodeError(shown or "no bags", "no contract in any bag: name one with --contract")


def _convert_all(
    bags: Sequence[str | Path], index: DatasetIndex, recipe: Recipe, workers: int
) -> Iterator[Converted]:
    """Converts each bag, here or in other processes; results come as they are done."""
    out, contract, known = index.folder, index.contract, index.known_bags()
    jobs = [(Path(bag), out, contract, recipe, known) for bag in bags]
    if workers <= 1 or len(jobs) < 2:
        yield from map(_convert, jobs)
        return
    # Spawned, not forked: Arrow and a node's middleware have threads that a fork would break.
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_convert, job) for job in jobs]):
            yield future.result()


def _convert(job: tuple) -> Converted:
    """Converts one bag; files get pending names: only the parent knows which ids are taken."""
    path, out, contract, recipe, known = job
    entries, skipped = [], []
    base = {"source": relpath(path, out)}
    try:
        bag = read_bag(path)
        base["bag_sha256"] = bag.sha256
        if bag.sha256 in known:
            return Converted(path, known=True)
        recorded = bag_contract(bag)
        if recorded is not None and recorded.hash != contract.hash:
            base["recorded_contract"] = recorded.hash
        topics = map_topics(bag, contract, recipe.namespace)
        spans = find_spans(bag, topics, recipe.instruction)
        for number, span in enumerate(spans):
            reason = span_fault(span, recipe)
            frames = None
            if reason is None:
                try:
                    frames = frames_from_bag(bag, contract, span, topics=topics)
                    reason = frames_fault(frames, contract, recipe)
                except BagError as error:
                    if len(spans) == 1:
                        raise
                    reason = error.cause  # the other episodes may be whole
            if reason is not None:
                skipped.append({"id": span.episode_id, **base, "reason": reason})
                continue
            entry = {
                "id": span.episode_id,
                "file": f"{DATA}/episode-{_UNSAFE_IN_NAMES.sub('_', span.episode_id)}.parquet",
                "frames": len(frames),
                "instruction": span.instruction,
                "outcome": span.outcome,
                **base,
                "content_sha256": content_hash(frames),
                "dropped": frames.dropped,
                "trimmed": frames.trimmed,
                "contract": contract.hash,
                "recipe": recipe.to_dict(),
            }
            pending = out / DATA / f".pending-{bag.sha256[:16]}-{number}.parquet"
            write_episode(pending, frames, contract, entry)
            entries.append({**entry, "pending": str(pending)})
    except EpisodeError as error:
        skipped.append({"id": "", **base, "reason": error.cause})
    except DataError as error:
        return Converted(path, tuple(entries), tuple(skipped), error=str(error))
    return Converted(path, tuple(entries), tuple(skipped))


def _listed(entry: dict) -> dict:
    """An episode's entry without what `dataset.json` says once for all of them."""
    return {k: v for k, v in entry.items() if k not in ("pending", "contract", "recipe")}


def enter_episodes(index: DatasetIndex, done: Converted) -> None:
    """Gives a bag's episodes their names in the data set; two of one name are not both kept.

    Until the index is saved, the episodes are found again by the footers of their files.
    """
    index.skipped += done.skipped
    for entry in done.entries:
        pending = Path(entry["pending"])
        entry = _listed(entry)
        held = next((e for e in index.episodes.values() if e["file"] == entry["file"]), None)
        if held is not None and held["source"] != entry["source"]:
            pending.unlink()
            reason = f"episode id {entry['id']!r} is already that of {held['source']}"
            keys = ("id", "source", "bag_sha256")
            index.skipped.append({**{k: entry[k] for k in keys}, "reason": reason})
            continue
        pending.replace(index.folder / entry["file"])
        if held is not None:
            del index.episodes[held["id"]]
        index.episodes[entry["id"]] = entry

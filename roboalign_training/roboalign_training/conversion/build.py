"""Bags to a data set of Parquet files: one file an episode, resumable, appendable, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from os.path import relpath
from pathlib import Path

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.bags.errors import DatasetError, NoBagError
from roboalign_training.bags.folders import as_text, recordings, storage_of
from roboalign_training.conversion.entering import (
    check_balance,
    enter_episodes,
    listed,
    remove_unnamed_videos,
)
from roboalign_training.conversion.leaving_out import reasons_of
from roboalign_training.conversion.leftovers import enter_finished, forget_missing, sources_of
from roboalign_training.conversion.memory import DEFAULT_BYTES, SEGMENT_BYTES, MemoryBudget
from roboalign_training.conversion.opening import check_images, checked_index, refuse_other_making
from roboalign_training.conversion.run import converted_bags
from roboalign_training.conversion.target import Converted, Target
from roboalign_training.conversion.work_folder import (
    remove_done,
    remove_unfitting,
    unfinished_bags,
)
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.data.index import DATA, INDEX, LOCK, DatasetIndex, locked
from roboalign_training.data.table import read_entry
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.shared.places import DATASET, check_place

MOST_SAID = 10
"""Reasons that an error names."""

__all__ = [
    "Converted",
    "FrameDataset",
    "Recipe",
    "append_bag",
    "build_dataset",
    "enter_episodes",
    "find_bags",
    "load_frames",
    "open_index",
]


class NothingFitError(DatasetError):
    """A data set that would hold no episode: all that was given was left out.

    Attributes:
        index: The data set without one, which says why; None where nobody tells.
    """

    index: DatasetIndex | None = None


def find_bags(paths: Sequence[str | Path]) -> list[Path]:
    """Lists the bags that `paths` name or hold.

    Args:
        paths: Bag folders, storage files, or folders with bags at any depth below.

    Returns:
        Bag folders and files, without duplicates. A folder with a storage file in it counts as a
        bag also when its metadata is missing: what a killed recorder left must be reported.

    Raises:
        NoBagError: When a path does not exist, or there is no bag below it.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise NoBagError(path, "does not exist")
        below = list(_bags_below(path)) if path.is_dir() else [path]
        if not below:
            cause = "no bag in it: no metadata.yaml, .mcap or .db3 file at any depth"
            raise NoBagError(path, cause)
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
    max_memory: int = DEFAULT_BYTES,
    segment_bytes: int = SEGMENT_BYTES,
    allow_empty: bool = False,
    on_bag: Callable[[Converted], None] | None = None,
    on_progress: Callable[[Path, float], None] | None = None,
) -> DatasetIndex:
    """Converts bags to episodes of a data set; bags that it holds already are not converted again.

    What a run that was stopped had finished is not done again.

    Args:
        bags: Bag folders or files, as from `find_bags`.
        contract: The robot; None takes the data set's, or the one in the first bag.
        out: The data set's folder; made where it does not exist, else the episodes are added.
        recipe: Which episodes are taken, and how images are stored; None for the data set's own
            rules, or the defaults.
        workers: Processes. With more than one the caller needs `if __name__ == "__main__"`.
        max_memory: Bytes that all processes together may take.
        segment_bytes: Bytes of messages that are one job, about.
        allow_empty: Whether a data set without an episode is made where all are left out.
        on_bag: Called after each bag.
        on_progress: Called with a bag and the share of it that is done, 0 .. 1.

    Returns:
        The data set's index, already saved. Unreadable bags are in its list of skipped ones.

    Raises:
        OutputError: When `out` and a bag lie in each other, or it is another kind of result.
        DatasetError: When `out` holds a data set of another contract or recipe, when it would
            hold no episode in the end (the text has the reasons), when it has lost the files of
            episodes of other bags, or when the counts of a bag and of the data set do not agree.
        EpisodeError: When `contract` is None and no bag has one.
        ValueError: When `workers` or `max_memory` is too small.
    """
    out, budget = Path(out), MemoryBudget(max_memory, workers, segment_bytes=segment_bytes)
    # Before anything is touched: a refused call leaves no trace.
    check_place("--out", out, DATASET, (("bag", bag) for bag in bags))
    check_images(checked_index(out, contract, bags, recipe))
    made = not out.exists()
    try:
        return _built(out, contract, bags, recipe, budget, allow_empty, on_bag, on_progress)
    except NothingFitError:
        if made and [path.name for path in out.iterdir()] == [LOCK]:
            (out / LOCK).unlink()
            out.rmdir()
        raise


def _built(
    out: Path,
    contract: Contract | None,
    bags: Sequence[str | Path],
    recipe: Recipe | None,
    budget: MemoryBudget,
    allow_empty: bool,
    on_bag: Callable[[Converted], None] | None,
    on_progress: Callable[[Path, float], None] | None,
) -> DatasetIndex:
    """As `build_dataset`, of what was checked."""
    with locked(out):
        index, known = _opened(out, contract, bags, recipe)
        recipe = Recipe.from_dict(index.recipe)
        sources = frozenset(e["source"] for e in (*index.episodes.values(), *index.skipped))
        target = Target(out, index.contract, recipe, known, sources, budget)
        failed, entered = [], set()
        for done in converted_bags(list(map(Path, bags)), target, on_progress):
            sha256 = done.bag_sha256 or (done.balance or {}).get("bag_sha256")
            if sha256 in entered:  # the same recording under another name
                done = Converted(done.path, known=done.known, copy=True, bag_sha256=sha256)
            else:
                enter_episodes(index, done)
            entered |= {sha256} if sha256 else set()
            if done.error:
                source = as_text(relpath(done.path, out))
                failed.append({"id": "", "source": source, "bag_sha256": "", "reason": done.error})
            if on_bag is not None:
                on_bag(done)
        # A bag without a hash could not be read; it may be repaired and tried again.
        named = {entry["source"] for entry in failed}
        index.skipped = [
            e for e in index.skipped if e["bag_sha256"] or e["source"] not in named
        ] + failed
        if not index.episodes and not allow_empty:
            if (out / INDEX).exists():  # an episode may have gone
                index.save()
            remove_done(index, sources_of(bags, out))
            reasons = reasons_of(index.skipped)
            why = "; ".join(map(str, reasons[:MOST_SAID]))
            if len(reasons) > MOST_SAID:
                why += f"; and {len(reasons) - MOST_SAID} more reasons"
            error = NothingFitError(out, f"no episode to put in it: {why or 'no bags given'}")
            error.index = index
            raise error
        index.save()
        remove_done(index, sources_of(bags, out))
        remove_unnamed_videos(index)
        check_balance(index)
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
    out: Path,
    contract: Contract | None,
    bags: Sequence[str | Path],
    recipe: Recipe | None,
    again: Collection[str] = (),
) -> DatasetIndex:
    """The data set at `out`, new where there is none, with every finished episode in its index.

    The caller holds the lock.

    Args:
        out: As of `build_dataset`.
        contract: As of `build_dataset`.
        bags: As of `build_dataset`.
        recipe: As of `build_dataset`.
        again: Other sources that are read again, as entries name them: where files of theirs are
            missing, these episodes are forgotten.

    Raises:
        DatasetError: As `build_dataset` does.
    """
    return _opened(out, contract, bags, recipe, again)[0]


def _opened(
    out: Path,
    contract: Contract | None,
    bags: Sequence[str | Path],
    recipe: Recipe | None,
    again: Collection[str] = (),
) -> tuple[DatasetIndex, frozenset[str]]:
    """As `open_index`; also the SHA-256 of all bags that need not be looked at again."""
    index = checked_index(out, contract, bags, recipe, again)
    forgotten = forget_missing(index)
    left_out = {(e["source"], e["id"]) for e in index.skipped}
    # Files that an interrupted run finished are in no index yet.
    for path in sorted((out / DATA).glob("episode-*.parquet")):
        entry = read_entry(path)
        rules = Recipe.from_dict(entry["recipe"]).to_dict()
        held, wanted = entry["contract"][:12], index.contract.hash[:12]
        refuse_other_making(path, (held, rules), (wanted, index.recipe))
        if "origin" in entry and (entry["source"], entry["id"]) in left_out:
            continue  # removed by an import that was killed before its file went
        entry["file"] = f"{DATA}/{path.name}"
        index.episodes.setdefault(entry["id"], listed(entry))
    for unfinished in (*(out / DATA).glob(".*"), *out.glob(".*.part")):
        unfinished.unlink()
    # Of a bag with parts and without a sheet perhaps not all episodes have their places.
    half = unfinished_bags(out)
    remove_unfitting(index)
    enter_finished(index, sources_of(bags, out))
    return index, index.known_bags() - forgotten - (half - index.balance.keys())

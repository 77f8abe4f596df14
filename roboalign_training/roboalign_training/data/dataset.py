"""Bags to a data set of Parquet files: one file an episode, resumable, appendable, in parallel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from os.path import relpath
from pathlib import Path

from roboalign_policy.core.contract import Contract
from roboalign_training.conversion.entering import (
    check_balance,
    enter_episodes,
    listed,
    remove_unnamed_videos,
)
from roboalign_training.conversion.memory import DEFAULT_BYTES, SEGMENT_BYTES, Budget
from roboalign_training.conversion.run import converted_bags
from roboalign_training.conversion.target import Converted, Target
from roboalign_training.conversion.work_folder import (
    made_with,
    remove_all,
    remove_unfitting,
    unfinished_bags,
)
from roboalign_training.data.bags import read_bag
from roboalign_training.data.episodes import bag_contract
from roboalign_training.data.errors import BagError, DatasetError, EpisodeError
from roboalign_training.data.folders import recordings, storage_of
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.data.image_storage import VIDEO
from roboalign_training.data.index import DATA, INDEX, DatasetIndex, load_index, locked
from roboalign_training.data.recipe import Recipe
from roboalign_training.data.table import read_entry

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
        DatasetError: When `out` holds a data set of another contract or recipe, when it would
            hold no episode in the end (the text has the reasons), or when the counts of a bag and
            of the data set do not agree.
        EpisodeError: When `contract` is None and no bag has one.
        ValueError: When `workers` or `max_memory` is too small.
    """
    out, budget = Path(out), Budget(max_memory, workers, segment_bytes=segment_bytes)
    with locked(out):
        index, known = _opened(out, contract, bags, recipe)
        _check_images(index)
        recipe = Recipe.from_dict(index.recipe)
        sources = frozenset(e["source"] for e in (*index.episodes.values(), *index.skipped))
        target = Target(out, index.contract, recipe, known, sources, budget)
        failed = []
        for done in converted_bags(list(map(Path, bags)), target, on_progress):
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
            remove_all(out)
            why = "; ".join(f"{e['source']}: {e['reason']}" for e in index.skipped[:10])
            raise DatasetError(out, f"no episode to put in it: {why or 'no bags given'}")
        index.save()
        remove_all(out)
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
    out: Path, contract: Contract | None, bags: Sequence[str | Path], recipe: Recipe | None
) -> DatasetIndex:
    """The data set at `out`, new where there is none, with every finished episode in its index.

    Arguments and errors are those of `build_dataset`; the caller holds the lock.
    """
    return _opened(out, contract, bags, recipe)[0]


def _opened(
    out: Path, contract: Contract | None, bags: Sequence[str | Path], recipe: Recipe | None
) -> tuple[DatasetIndex, frozenset[str]]:
    """As `open_index`; also the SHA-256 of all bags that need not be looked at again."""
    if (out / INDEX).exists():
        index = load_index(out)
        if contract is not None and contract.hash != index.contract.hash:
            raise DatasetError(
                out,
                f"contract: found {contract.name} ({contract.hash[:12]}), expected that of its "
                f"episodes, {index.contract.name} ({index.contract.hash[:12]}): name that one, or "
                "another folder",
            )
        if recipe is not None and recipe.to_dict() != index.recipe:
            raise DatasetError(out, _other_rules(recipe.to_dict(), index.recipe))
    else:
        index = DatasetIndex(
            out, contract or _first_contract(bags), (recipe or Recipe()).to_dict()
        )
    for unfinished in (*(out / DATA).glob(".*"), *out.glob(".*.part")):
        unfinished.unlink()
    remove_unfitting(out, made_with(index.contract.hash, index.recipe))
    saved = index.known_bags()
    # Files that an interrupted run finished are in no index yet.
    for path in sorted((out / DATA).glob("episode-*.parquet")):
        entry = read_entry(path)
        rules = Recipe.from_dict(entry["recipe"]).to_dict()
        if (entry["contract"], rules) != (index.contract.hash, index.recipe):
            raise DatasetError(path, "was made with another contract or other rules")
        index.episodes.setdefault(entry["id"], listed(entry))
    for name, entry in list(index.episodes.items()):
        if not (out / entry["file"]).is_file():
            del index.episodes[name]
    return index, saved | (index.known_bags() - unfinished_bags(out))


def _other_rules(found: dict, held: dict) -> str:
    """Says which rules of a data set are not those that are wanted now."""
    for key in ("images", "quality"):
        if found[key] != held[key]:
            wanted, stored = ([r["images"], r["quality"]] for r in (found, held))
            described = [
                f"images as {choice}" + (f" of quality {quality}" if quality is not None else "")
                for choice, quality in (stored, wanted)
            ]
            return (
                f"was made with {described[0]}, found {described[1]}: one data set stores all "
                "images alike; leave the option out, or use another folder"
            )
    return f"was made with the rules {held}, found {found}"


def _check_images(index: DatasetIndex) -> None:
    """Refuses images that a video cannot hold, before any bag is read."""
    odd = [s for s in index.contract.images if s.shape[0] % 2 or s.shape[1] % 2]
    if index.recipe["images"] == VIDEO and odd:
        raise DatasetError(
            index.folder,
            f"{odd[0].key}: {odd[0].shape[:2]} pixels, but videos take even numbers: store images "
            "as auto, png or jpeg",
        )


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

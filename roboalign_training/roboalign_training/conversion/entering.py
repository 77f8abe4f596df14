"""Episodes get their places in a data set, and the counts of bags and data set are compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion.balance import balance_faults, turn_down
from roboalign_training.conversion.target import VIDEOS, Converted, name_digest
from roboalign_training.data.index import DATA, DUPLICATE_ID, DatasetIndex

_NOT_LISTED = ("pending", "pending_videos", "contract", "recipe")


def listed(entry: dict) -> dict:
    """An episode's entry without what `dataset.json` says once for all of them."""
    return {k: v for k, v in entry.items() if k not in _NOT_LISTED}


def enter_episodes(index: DatasetIndex, done: Converted) -> None:
    """Gives a bag's episodes their names in the data set; two of one name are not both kept.

    Until the index is saved, the episodes are found again by the footers of their files. Where a
    run was killed in between, some of the files have their places already.
    """
    judged = {(e["source"], e["id"]) for e in (*done.skipped, *done.entries)}
    if done.balance is not None:  # the bag as a whole: while a type was unknown it had no ids
        judged.add((done.balance["source"], ""))
    index.skipped = [s for s in index.skipped if (s["source"], s["id"]) not in judged]
    index.skipped += done.skipped
    for skipped in done.skipped:
        _take_back(index, skipped)
    if done.balance is not None:
        index.balance[done.balance["bag_sha256"]] = done.balance
    for found in done.entries:
        pending = index.folder / found["pending"]
        videos = {n: index.folder / p for n, p in found.get("pending_videos", {}).items()}
        entry = listed(found)
        held = index.episodes.get(entry["id"])
        if held is not None and held["source"] != entry["source"]:
            for path in (pending, *videos.values()):
                path.unlink(missing_ok=True)
            reason = f"episode id {entry['id']!r} {DUPLICATE_ID} {held['source']}"
            keys = ("id", "source", "bag_sha256")
            index.skipped.append({**{k: entry[k] for k in keys}, "reason": reason})
            if done.balance is not None:
                turn_down(done.balance, entry)
            continue
        entry["file"] = _free_file(index, entry)
        if held is not None and held["file"] != entry["file"]:  # named as older versions did
            (index.folder / held["file"]).unlink(missing_ok=True)
        for name, path in videos.items():  # before the table that names them
            target = index.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                path.replace(target)
        target = index.folder / entry["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        if pending.exists():
            pending.replace(target)
        if held is not None:
            del index.episodes[held["id"]]
            if held["bag_sha256"] != entry["bag_sha256"]:
                index.balance.pop(held["bag_sha256"], None)
        index.episodes[entry["id"]] = entry


def _free_file(index: DatasetIndex, entry: dict) -> str:
    """The file of an episode; another one where an id of an older version has taken its name."""
    taken = {e["file"] for e in index.episodes.values() if e["id"] != entry["id"]}
    if entry["file"] not in taken:
        return entry["file"]
    return f"{DATA}/{Path(entry['file']).stem}-{name_digest(entry['id'])}.parquet"


def _take_back(index: DatasetIndex, skipped: dict) -> None:
    """Removes an episode whose bag was judged again since, and is not wanted any more."""
    held = index.episodes.get(skipped["id"])
    if held is None or held["source"] != skipped["source"]:
        return
    if held["bag_sha256"] != skipped["bag_sha256"]:
        (index.folder / held["file"]).unlink(missing_ok=True)
        del index.episodes[held["id"]]
        index.balance.pop(held["bag_sha256"], None)


def remove_unnamed_videos(index: DatasetIndex) -> None:
    """Removes videos of episodes that were replaced, or that a killed run left."""
    named = {Path(v).parent for e in index.episodes.values() for v in e.get("videos", {}).values()}
    for folder in (index.folder / VIDEOS).glob("episode-*"):
        if folder.relative_to(index.folder) not in named:
            shutil.rmtree(folder)


def check_balance(index: DatasetIndex) -> None:
    """Compares what bags promised with what is in the data set.

    Raises:
        DatasetError: Naming every sum that does not agree.
    """
    rows: dict[str, int] = {}
    for entry in index.episodes.values():
        if entry["bag_sha256"] in index.balance:
            count = _rows(index.folder / entry["file"])
            rows[entry["bag_sha256"]] = rows.get(entry["bag_sha256"], 0) + count
    faults = [
        fault
        for bag, sheet in index.balance.items()
        for fault in balance_faults(sheet, rows.get(bag, 0))
    ]
    if faults:
        raise DatasetError(
            index.folder,
            f"its balance sheet does not agree, so something was lost: {'; '.join(faults)}",
        )


def _rows(path: Path) -> int:
    try:
        return pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error

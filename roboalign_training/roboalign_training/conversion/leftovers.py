"""What a run that was stopped left, or somebody removed: finished bags, entries without a file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from os.path import relpath
from pathlib import Path

from roboalign_training.bags.errors import RefusedError
from roboalign_training.bags.folders import as_text
from roboalign_training.conversion.bag_job import from_result
from roboalign_training.conversion.entering import enter_episodes
from roboalign_training.conversion.work_folder import finished_bags
from roboalign_training.data.index import INDEX, DatasetIndex

_NAMED = 3


def sources_of(bags: Sequence[str | Path], out: Path) -> frozenset[str]:
    """The bags as entries of the data set at `out` name them."""
    return frozenset(as_text(relpath(path, out)) for path in bags)


def enter_finished(index: DatasetIndex, given: Collection[str]) -> None:
    """Enters the bags that a run had finished and that are not given again.

    Some of their episodes may have their places already, and are found by the footers of their
    files. What was left out of them stands in their results alone.

    Args:
        index: Gets them.
        given: The bags of this call, which come in their turn.
    """
    for done in map(from_result, finished_bags(index)):
        if done.balance["source"] not in given and done.balance["bag_sha256"] not in index.balance:
            enter_episodes(index, done)


def refuse_missing(index: DatasetIndex, given: Collection[str]) -> None:
    """Refuses a data set whose episodes have lost files that this call does not make again.

    Args:
        index: The data set, as it was saved.
        given: The bags of this call, and other sources that are read again.

    Raises:
        RefusedError: Naming the files.
    """
    missing = [entry for entry in _missing(index) if entry["source"] not in given]
    if not missing:
        return
    judged_anew = {  # by a run that was stopped when it had removed the older version
        (entry["source"], entry["id"]): entry["bag_sha256"]
        for result in finished_bags(index)
        for entry in (*result["entries"], *result["skipped"])
    }
    lost = [
        entry
        for entry in missing
        if judged_anew.get((entry["source"], entry["id"])) in (None, entry["bag_sha256"])
    ]
    if lost:
        files = _some([entry["file"] for entry in lost])
        sources = _some(list(dict.fromkeys(entry["source"] for entry in lost)))
        raise RefusedError(
            index.folder,
            f"{INDEX} names files that are missing: {files}; nothing was changed: put them back, "
            f"give what they were made of again ({sources}), or name a new folder",
        )


def forget_missing(index: DatasetIndex) -> frozenset[str]:
    """Takes the episodes whose files are missing out of the index.

    Returns:
        SHA-256 of their bags, which have to be read again.
    """
    missing = _missing(index)
    for entry in missing:
        del index.episodes[entry["id"]]
        index.balance.pop(entry["bag_sha256"], None)
    return frozenset(entry["bag_sha256"] for entry in missing)


def _missing(index: DatasetIndex) -> list[dict]:
    return [e for e in index.episodes.values() if not (index.folder / e["file"]).is_file()]


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

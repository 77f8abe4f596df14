"""Walks back from a file to the bags it came from, and looks whether they have changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import DataError, DatasetError
from roboalign_training.data.index import INDEX, load_index
from roboalign_training.data.table import read_entry
from roboalign_training.lerobot.layout import INFO
from roboalign_training.origins.provenance import (
    FILE,
    WEIGHTS,
    Origin,
    load_origin,
    origin_from_record,
)
from roboalign_training.origins.trace_lerobot import (
    imported_step,
    lerobot_root,
    lerobot_step,
    there,
)
from roboalign_training.origins.trace_step import (
    AS_IT_WAS,
    CHANGED,
    GONE,
    LEROBOT,
    UNCHECKED,
    Step,
    TraceError,
    TraceFiles,
)
from roboalign_training.shared.run_layout import POLICY, RESULT

__all__ = [
    "AS_IT_WAS", "CHANGED", "GONE", "LEROBOT", "UNCHECKED", "Step", "TraceError", "trace",
]  # fmt: skip


def trace(path: Path, verify: bool = True) -> Step:
    """Walk back from a checkpoint or a file in one, a data set, an episode, a report or a bag.

    Also from a LeRobot data set, or a file in one.

    Args:
        path: file or folder.
        verify: hash weights and bags that are there and compare.

    Raises:
        TraceError: nothing is known of it.
        DataError: a record on the way is damaged.
        FileNotFoundError: there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return _trace(path, TraceFiles(verify))


def _trace(path: Path, look: TraceFiles) -> Step:
    folder = path if path.is_dir() else path.parent
    lerobot = lerobot_root(path)
    if path.suffix == ".parquet" and (lerobot is None or (folder.parent / INDEX).is_file()):
        return _episode(folder.parent, read_entry(path), look)
    if path.suffix == ".json" and (report := _report(path, look)) is not None:
        return report
    for place in (folder, *list(folder.parents)[:2]):
        if (origin := load_origin(place)) is not None:
            return _checkpoint(origin, look)
        if (place / INDEX).is_file():
            return _dataset(place, look)
        if (place / "metadata.yaml").is_file() or path.suffix in (".mcap", ".db3"):
            return _bag(path if path.suffix in (".mcap", ".db3") else place, {}, look)
        if (place / INFO).is_file():
            return lerobot_step(place)
    if lerobot is not None:
        return lerobot_step(lerobot)
    wanted = f"no {FILE}, {INDEX}, {INFO} or bag there or above"
    raise TraceError(path, f"nothing is known of it: {wanted}")


def _checkpoint(origin: Origin, look: TraceFiles) -> Step:
    step = Step(
        "checkpoint",
        str(origin.folder),
        {"made by": f"{origin.kind}, {origin.tool}", "on": origin.created},
        _weights(origin.folder, origin.weights_sha256, look),
    )
    step.children.append(_base(origin.folder, origin.base, look))
    step.children.append(_known_dataset(origin.folder, origin.dataset, look))
    return step


def _base(folder: Path, base: dict[str, Any], look: TraceFiles) -> Step:
    if "path" not in base:
        return Step("base model", base["name"])
    path = folder / base["path"]
    state = _weights(path, base.get("weights_sha256", ""), look)
    step = Step("checkpoint", str(path.resolve()), {"trained further": "yes"}, state)
    if base.get("origin"):
        inner = origin_from_record(folder, base["origin"])
        step.facts |= {"made by": f"{inner.kind}, {inner.tool}", "on": inner.created}
        step.children.append(_base(folder, inner.base, look))
        step.children.append(_known_dataset(folder, inner.dataset, look))
    return step


def _known_dataset(folder: Path, dataset: dict[str, Any], look: TraceFiles) -> Step:
    """The data set of a checkpoint, by what the checkpoint remembers of it."""
    path = folder / dataset["path"]
    step = Step(
        "data set",
        str(path.resolve()),
        {"contract": dataset["contract_name"], "hash": dataset["hashes"]["dataset"][:12]},
        GONE,
    )
    if path.is_dir():
        try:
            same = load_index(path).hashes["dataset"] == dataset["hashes"]["dataset"]
            step.state = AS_IT_WAS if same else CHANGED
        except DatasetError as error:
            step.state = f"{CHANGED}: {error.cause}"
    for episode in dataset["episodes"]:
        step.children.append(_episode(path, episode, look))
    return step


def _dataset(folder: Path, look: TraceFiles) -> Step:
    index = load_index(folder)
    step = Step(
        "data set",
        str(folder.resolve()),
        {"contract": index.contract.name, "hash": index.hashes["dataset"][:12]},
    )
    for name in sorted(index.episodes):
        step.children.append(_episode(folder, index.episodes[name], look))
    return step


def _episode(dataset: Path, entry: dict[str, Any], look: TraceFiles) -> Step:
    facts = {}
    if "start_ns" in entry:
        seconds = (entry["end_ns"] - entry["start_ns"]) / 1e9
        facts["time"] = f"{entry['start_ns']} to {entry['end_ns']} ns ({seconds:.1f} s)"
    if entry.get("held_out"):
        facts["held out"] = "not trained on"
    source = dataset / entry["source"]
    way = imported_step if "origin" in entry else _bag
    return Step("episode", entry["id"], facts, "", [way(source, entry, look)])


def _bag(path: Path, entry: dict[str, Any], look: TraceFiles) -> Step:
    """A bag; compared with the hash that is known of it."""
    known, path = entry.get("bag_sha256", ""), there(path)
    step = Step("bag", str(path.resolve()), {"sha256": known[:12]} if known else {}, GONE)
    if not path.exists():
        return step
    if known and not look.verify:
        step.state = UNCHECKED
        return step
    try:
        bag = read_bag(path)
    except DataError as error:
        step.state = f"{CHANGED}: {error.cause}"
        return step
    step.state = "" if not known else AS_IT_WAS if bag.sha256 == known else CHANGED
    step.facts["sha256"] = bag.sha256[:12]
    step.facts["messages"] = str(bag.message_count)
    step.facts |= {
        key.removeprefix("roboalign."): value
        for key, value in bag.custom.items()
        if key in ("roboalign.instruction", "roboalign.outcome", "roboalign.tool")
    }
    return step


def _report(path: Path, look: TraceFiles) -> Step | None:
    """A result file that names a checkpoint; None for any other JSON."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = document.get("policy") if isinstance(document, dict) else None
    if not isinstance(named, str) or not named:
        return None
    step = Step("report", str(path.resolve()), {"checkpoint": named}, GONE)
    # Told from the file. Older ones tell it from where the command was called; of a run's result
    # the policy lies beside it all the same.
    beside = [path.parent / POLICY] if path.name == RESULT else []
    places = (path.parent / named, *beside, Path(named))
    folder = next((place for place in places if place.is_dir()), None)
    if folder is not None:
        step.state = ""
        folder = folder.resolve() if ".." in folder.parts else folder
        step.children.append(_trace(folder, look))
    return step


def _weights(folder: Path, known: str, look: TraceFiles) -> str:
    file = folder / WEIGHTS
    if not file.is_file():
        return GONE
    if not look.verify or not known:
        return UNCHECKED
    return AS_IT_WAS if look.sha256(file) == known else CHANGED

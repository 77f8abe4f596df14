"""Walks back from a file to the bags it came from, and looks whether they have changed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.data.bags import read_bag
from roboalign_training.data.errors import DataError, DatasetError
from roboalign_training.data.index import INDEX, load_index
from roboalign_training.data.table import read_entry
from roboalign_training.provenance import (
    FILE,
    WEIGHTS,
    Origin,
    load_origin,
    origin_from_record,
)

LEROBOT = "LeRobot data set"
AS_IT_WAS, CHANGED, GONE, UNCHECKED = "as it was", "CHANGED", "not there any more", "not checked"


class TraceError(DataError):
    """A file of which nothing is known."""


@dataclass
class Step:
    """One thing on the way back.

    Attributes:
        kind: checkpoint, base model, data set, episode, bag, LeRobot data set or report.
        name: what to call it.
        facts: what is known of it, by name.
        state: whether it is still there, one of the words of this module; empty: not asked.
        children: what it came from.
    """

    kind: str
    name: str
    facts: dict[str, str] = field(default_factory=dict)
    state: str = ""
    children: list[Step] = field(default_factory=list)

    def walk(self) -> Iterator[Step]:
        """This step and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def trace(path: Path, verify: bool = True) -> Step:
    """Walk back from a checkpoint or a file in one, a data set, an episode, a report or a bag.

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
    folder = path if path.is_dir() else path.parent
    if path.suffix == ".parquet":
        return _episode_file(path, verify)
    if path.suffix == ".json" and (report := _report(path, verify)) is not None:
        return report
    for place in (folder, *list(folder.parents)[:2]):
        if (origin := load_origin(place)) is not None:
            return _checkpoint(origin, verify)
        if (place / INDEX).is_file():
            return _dataset(place, verify)
        if (place / "metadata.yaml").is_file() or path.suffix in (".mcap", ".db3"):
            return _bag(path if path.suffix in (".mcap", ".db3") else place, {}, verify)
    raise TraceError(path, f"nothing is known of it: no {FILE}, {INDEX} or bag there or above")


def _checkpoint(origin: Origin, verify: bool) -> Step:
    step = Step(
        "checkpoint",
        str(origin.folder),
        {"made by": f"{origin.kind}, {origin.tool}", "on": origin.created},
        _weights(origin.folder, origin.weights_sha256, verify),
    )
    step.children.append(_base(origin.folder, origin.base, verify))
    step.children.append(_known_dataset(origin.folder, origin.dataset, verify))
    return step


def _base(folder: Path, base: dict[str, Any], verify: bool) -> Step:
    if "path" not in base:
        return Step("base model", base["name"])
    path = folder / base["path"]
    state = _weights(path, base.get("weights_sha256", ""), verify)
    step = Step("checkpoint", str(path.resolve()), {"trained further": "yes"}, state)
    if base.get("origin"):
        inner = origin_from_record(folder, base["origin"])
        step.facts |= {"made by": f"{inner.kind}, {inner.tool}", "on": inner.created}
        step.children.append(_base(folder, inner.base, verify))
        step.children.append(_known_dataset(folder, inner.dataset, verify))
    return step


def _known_dataset(folder: Path, dataset: dict[str, Any], verify: bool) -> Step:
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
        step.children.append(_episode(path, episode, verify))
    return step


def _dataset(folder: Path, verify: bool) -> Step:
    index = load_index(folder)
    step = Step(
        "data set",
        str(folder.resolve()),
        {"contract": index.contract.name, "hash": index.hashes["dataset"][:12]},
    )
    for name in sorted(index.episodes):
        step.children.append(_episode(folder, index.episodes[name], verify))
    return step


def _episode_file(path: Path, verify: bool) -> Step:
    entry = read_entry(path)
    return _episode(path.parent.parent, entry, verify)


def _episode(dataset: Path, entry: dict[str, Any], verify: bool) -> Step:
    facts = {}
    if "start_ns" in entry:
        seconds = (entry["end_ns"] - entry["start_ns"]) / 1e9
        facts["time"] = f"{entry['start_ns']} to {entry['end_ns']} ns ({seconds:.1f} s)"
    if entry.get("held_out"):
        facts["held out"] = "not trained on"
    source = dataset / entry["source"]
    way = _imported if "origin" in entry else _bag
    return Step("episode", entry["id"], facts, "", [way(source, entry, verify)])


def _imported(folder: Path, entry: dict[str, Any], verify: bool) -> Step:
    """A LeRobot data set; compared file by file with what was imported."""
    origin = entry["origin"]
    facts = {"format": origin["format"], "episode": str(origin["episode_index"])}
    facts |= {key: origin[key] for key in ("repo", "revision") if origin.get(key)}
    folder = _there(folder)
    step = Step(LEROBOT, str(folder.resolve()), facts, UNCHECKED)
    files = {folder / name: known for name, known in origin["files"].items()}
    if missing := [file for file in files if not file.is_file()]:
        step.state = GONE if not folder.exists() else f"{CHANGED}: no {missing[0].name}"
    elif verify:
        same = all(sha256_file(file) == known for file, known in files.items())
        step.state = AS_IT_WAS if same else CHANGED
    if "exported" in origin:  # from a data set of this suite: the bag is known by its hash alone
        bag = origin["exported"]
        known = {"sha256": bag.get("bag_sha256", "")[:12]}
        step.children.append(Step("bag", bag.get("source", ""), known, "of another data set"))
    return step


def _there(path: Path) -> Path:
    """The path; "data/../bags" is there also when data is not."""
    return path if path.exists() else Path(os.path.normpath(path))


def _bag(path: Path, entry: dict[str, Any], verify: bool) -> Step:
    """A bag; compared with the hash that is known of it."""
    known, path = entry.get("bag_sha256", ""), _there(path)
    step = Step("bag", str(path.resolve()), {"sha256": known[:12]} if known else {}, GONE)
    if not path.exists():
        return step
    if known and not verify:
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


def _report(path: Path, verify: bool) -> Step | None:
    """A result file that names a checkpoint; None for any other JSON."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = document.get("policy") if isinstance(document, dict) else None
    if not isinstance(named, str):
        return None
    step = Step("report", str(path.resolve()), {"checkpoint": named}, GONE)
    folder = next((f for f in (Path(named), path.parent / named) if f.is_dir()), None)
    if folder is not None:
        step.state = ""
        step.children.append(trace(folder, verify))
    return step


def _weights(folder: Path, known: str, verify: bool) -> str:
    file = folder / WEIGHTS
    if not file.is_file():
        return GONE
    if not verify or not known:
        return UNCHECKED
    return AS_IT_WAS if sha256_file(file) == known else CHANGED

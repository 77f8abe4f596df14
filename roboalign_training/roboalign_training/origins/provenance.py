"""Where a checkpoint came from, written beside it: its base, its data set, and every bag it saw.

The record stands on its own: it still says which bags when data set and base have gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.bags.errors import DataError
from roboalign_training.data.index import load_index, write_json
from roboalign_training.shared.version import tool_version

FILE, SCHEMA = "provenance.json", "roboalign-provenance/1"
WEIGHTS = "model.safetensors"
ORIGIN_KEYS = ("format", "repo", "revision", "episode_index", "files", "exported")
EPISODE_KEYS = ("id", "source", "bag_sha256", "start_ns", "end_ns")


class ProvenanceError(DataError):
    """A record of provenance that cannot be read."""


@dataclass(frozen=True)
class Origin:
    """A record of provenance.

    Attributes:
        folder: where it stands; paths in it are relative to that.
        kind: base, sft or grpo.
        tool: what made it.
        created: when, ISO 8601.
        weights_sha256: of the weights it speaks of.
        base: name, path and, where it has one, the record of what was trained further.
        dataset: path, hashes, contract's name and the episodes.
    """

    folder: Path
    kind: str
    tool: str
    created: str
    weights_sha256: str
    base: dict[str, Any]
    dataset: dict[str, Any]


def write_origin(
    folder: Path, kind: str, base: str, dataset: Path, held_out: Collection[str], git: str
) -> None:
    """Write the record of a checkpoint.

    Args:
        folder: of the checkpoint, with its weights.
        kind: base, sft or grpo.
        base: name or folder of what was trained further.
        dataset: folder of the data set.
        held_out: ids of the episodes that it was not trained on.
        git: commit of the suite; empty outside a checkout.

    Raises:
        DatasetError: the data set's index is damaged.
    """
    record = {
        "schema": SCHEMA,
        "kind": kind,
        "tool": f"{tool_version()}{f', {git}' if git else ''}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "weights_sha256": sha256_file(folder / WEIGHTS),
        "base": _base(folder, base),
        "dataset": _dataset(folder, dataset, held_out),
    }
    write_json(folder / FILE, record)


def load_origin(folder: Path) -> Origin | None:
    """Read the record of a checkpoint; None where it has none.

    Raises:
        ProvenanceError: it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProvenanceError(path, f"cannot be read: {error}") from error
    return origin_from_record(folder, record)


def origin_from_record(folder: Path, record: Any) -> Origin:
    """Check a record, also one that stands within another.

    Raises:
        ProvenanceError: it is not of this schema, or lacks a key.
    """
    found = record.get("schema") if isinstance(record, dict) else type(record).__name__
    if found != SCHEMA:
        raise ProvenanceError(folder / FILE, f"schema: found {found!r}, expected {SCHEMA!r}")
    names = ("kind", "tool", "created", "weights_sha256", "base", "dataset")
    missing = [name for name in names if name not in record]
    if missing:
        raise ProvenanceError(folder / FILE, f"found no {', '.join(missing)}")
    return Origin(folder, *(record[name] for name in names))


def _base(folder: Path, base: str) -> dict[str, Any]:
    """What was trained further, with its own record where it has one."""
    path = Path(base)
    if not path.is_dir():
        return {"name": base}
    found: dict[str, Any] = {"name": path.name, "path": os.path.relpath(path, folder)}
    if (path / WEIGHTS).is_file():
        found["weights_sha256"] = sha256_file(path / WEIGHTS)
    if (path / FILE).is_file():
        origin = load_origin(path)
        record = json.loads((path / FILE).read_text(encoding="utf-8"))
        # Paths were relative to the base; here they are to this folder.
        for part in ("base", "dataset"):
            if "path" in record[part]:
                record[part]["path"] = os.path.relpath(path / record[part]["path"], folder)
        found["origin"] = record if origin is not None else None
    return found


def _dataset(folder: Path, dataset: Path, held_out: Collection[str]) -> dict[str, Any]:
    index = load_index(dataset)
    episodes = []
    for name in sorted(index.episodes):
        entry = index.episodes[name]
        kept = {key: entry[key] for key in EPISODE_KEYS if key in entry}
        if "origin" in entry:
            kept["origin"] = {k: v for k, v in entry["origin"].items() if k in ORIGIN_KEYS}
        if name in held_out:
            kept["held_out"] = True
        episodes.append(kept)
    return {
        "path": os.path.relpath(dataset, folder),
        "contract_name": index.contract.name,
        "hashes": index.hashes,
        "episodes": episodes,
    }

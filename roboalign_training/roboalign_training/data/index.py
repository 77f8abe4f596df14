"""`dataset.json`: the episodes of a data set, where they came from, what was left out and why."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from roboalign_policy.core.contract.contract import Contract, ContractError, contract_from_yaml
from roboalign_training.bags.errors import HAND_IN, DatasetError, RefusedError
from roboalign_training.episodes.recipe import Recipe

SCHEMA = "roboalign-dataset/1"
DUPLICATE_ID = "is already that of"
"""Stands in the reason of an episode that was left out because another one has its id."""
INDEX, CONTRACT, STATS, TOKENIZER, DATA, LOCK = (
    "dataset.json",
    "contract.yaml",
    "stats.json",
    "fast",
    "data",
    ".lock",
)


@dataclass
class DatasetIndex:
    """The content of `dataset.json`.

    Attributes:
        folder: The data set's folder.
        contract: The contract all its episodes were made with.
        recipe: The rules by which episodes were taken, as plain data.
        episodes: By episode id: file, frames, instruction, outcome, source, hashes, counts.
        skipped: Entries of what was left out: id, source, bag_sha256, reason.
        fitted: What `fit-tokenizer` found: hashes of statistics and tokenizer, token counts.
        balance: Balance sheets of the bags, by their SHA-256; see `conversion.balance`.
    """

    folder: Path
    contract: Contract
    recipe: dict = field(default_factory=dict)
    episodes: dict[str, dict] = field(default_factory=dict)
    skipped: list[dict] = field(default_factory=list)
    fitted: dict = field(default_factory=dict)
    balance: dict[str, dict] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Frames over all episodes."""
        return sum(entry["frames"] for entry in self.episodes.values())

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of contract and content; of statistics and tokenizer once they are fitted."""
        digest = hashlib.sha256(self.contract.hash.encode())
        for name in sorted(self.episodes):
            digest.update(f"{name} {self.episodes[name]['content_sha256']}\n".encode())
        fitted = {k: self.fitted[k] for k in ("stats", "tokenizer") if k in self.fitted}
        return {"contract": self.contract.hash, "dataset": digest.hexdigest(), **fitted}

    def known_bags(self) -> frozenset[str]:
        """SHA-256 of every bag that was converted or deliberately left out.

        One that was left out for an id that no episode has (any more), or for a message type
        that was not known, is looked at again.
        """
        held = self.episodes
        judged = (e for e in self.skipped if e["id"] in held or DUPLICATE_ID not in e["reason"])
        unknown = {e["bag_sha256"] for e in self.skipped if HAND_IN in e["reason"]}
        return frozenset(e["bag_sha256"] for e in (*held.values(), *judged)) - unknown

    def save(self) -> None:
        """Writes `contract.yaml` and `dataset.json`, if they differ; each whole or not at all."""
        document = {
            "schema": SCHEMA,
            "contract_name": self.contract.name,
            "hashes": self.hashes,
            "frames": self.frames,
            "recipe": self.recipe,
            "fitted": self.fitted,
            "episodes": [self.episodes[name] for name in sorted(self.episodes)],
            "skipped": sorted(self.skipped, key=lambda e: (e["source"], e["id"])),
            "balance": sorted(self.balance.values(), key=lambda b: (b["source"], b["bag_sha256"])),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / CONTRACT, self.contract.to_yaml())
        write_json(self.folder / INDEX, document)


def load_index(folder: Path) -> DatasetIndex:
    """Reads a data set's index.

    Raises:
        DatasetError: When there is no data set, or its index and contract do not fit together.
    """
    path = folder / INDEX
    try:
        document = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RefusedError(folder, f"is no data set: no {INDEX} in it") from error
    except (OSError, ValueError) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise DatasetError(path, f"schema: found {found!r}, expected {SCHEMA!r}")
    contract = load_dataset_contract(folder)
    try:
        recipe = Recipe.from_dict(document["recipe"]).to_dict()
        index = DatasetIndex(
            folder,
            contract,
            recipe,
            {entry["id"]: entry for entry in document["episodes"]},
            document["skipped"],
            document["fitted"],
            {sheet["bag_sha256"]: sheet for sheet in document.get("balance", ())},
        )
        stored, now = document["hashes"], index.hashes
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(path, f"is damaged: {error!r}") from error
    for name in ("contract", "dataset"):
        if stored.get(name) != now[name]:
            raise DatasetError(
                path, f"hashes.{name}: found {stored.get(name)}, but its content gives {now[name]}"
            )
    return index


def load_dataset_contract(folder: Path) -> Contract:
    """The contract of a data set.

    Raises:
        DatasetError: When it is missing or not valid.
    """
    path = folder / CONTRACT
    try:
        return contract_from_yaml(path.read_text("utf-8"), source=str(path))
    except (OSError, UnicodeDecodeError, ContractError) as error:
        raise DatasetError(path, f"no valid contract: {error}") from error


def write_json(path: Path, document: object) -> None:
    """Writes JSON, whole or not at all."""
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Writes a text file so that readers see the old or the new content, never a part.

    A file that says the same already is not touched.
    """
    with contextlib.suppress(OSError, ValueError):
        if path.read_text("utf-8") == text:
            return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, "utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from changing the data set; waits while one does."""
    while (lock := _locked(folder)) is None:
        pass
    with lock:
        yield


def _locked(folder: Path) -> IO[str] | None:
    """The lock, held; None where the folder was replaced or removed meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack, contextlib.suppress(FileNotFoundError):
        lock = stack.enter_context((folder / LOCK).open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat()):
            stack.pop_all()
            return lock
    return None

"""The folder of an unfinished conversion: parts by bag, and what they were made with."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import PIL

from roboalign_policy.core.hashing import sha256_json
from roboalign_training.bags.folders import as_text
from roboalign_training.data.index import DatasetIndex, write_json
from roboalign_training.images.png import encoder_version
from roboalign_training.shared.version import tool_version

PARTS = ".parts"
_FORMAT = 2  # of parts; another one makes old ones useless
_BAG, _RESULT = "bag.json", "result.json"


def made_with(contract: str, recipe: dict) -> dict:
    """What all parts of a conversion depend on beside the bag: plain data."""
    return {
        "format": _FORMAT,
        "contract": contract,
        "recipe": recipe,
        "tool": tool_version(),
        "pillow": PIL.__version__,
        "png": encoder_version(),
    }


@dataclass(frozen=True)
class WorkFolder:
    """Where the parts of one bag lie.

    Attributes:
        path: The folder.
        made_with: What its parts have to be made with.
        source: The bag, as entries of the data set name it.
    """

    path: Path
    made_with: dict
    source: str

    def open(self) -> str | None:
        """Makes the folder, or keeps the one that is there if its parts fit.

        Returns:
            SHA-256 of the bag that its parts are of; None where there are none, or not known.
        """
        found = read_json(self.path / _BAG)
        if found is None or found.get("made_with") != self.made_with:
            found = None
            _clear(self.path)  # its note stays until there is another one
        self.path.mkdir(parents=True, exist_ok=True)
        for left in self.path.glob(".*"):  # what a killed process was writing
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return None if found is None else found.get("bag_sha256")

    def empty(self) -> None:
        """Throws the parts away."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)

    def is_of(self, bag_sha256: str) -> None:
        """Notes of which bag the parts are."""
        document = {"made_with": self.made_with, "source": self.source}
        write_json(self.path / _BAG, {**document, "bag_sha256": bag_sha256})

    def result(self) -> dict | None:
        """What was found out about the bag, if it was done."""
        return read_json(self.path / _RESULT)

    def set_result(self, result: dict) -> None:
        """Notes that the bag is done."""
        write_json(self.path / _RESULT, result)


def work_folder(out: Path, files: list[Path], base: dict, source: str) -> WorkFolder:
    """The work folder of a bag, by the names, sizes and times of its files.

    Its SHA-256, which is compared before a part is used, takes too long to be the folder's name.
    """
    facts = [
        [as_text(str(file.absolute())), stat.st_size, stat.st_mtime_ns]
        for file in files
        for stat in (file.stat(),)
    ]
    return WorkFolder(out / PARTS / sha256_json(facts)[:32], base, source)


def unfinished_bags(out: Path) -> frozenset[str]:
    """SHA-256 of the bags with parts: perhaps only some of their episodes were entered."""
    found = (read_json(path) for path in (out / PARTS).glob(f"*/{_BAG}"))
    return frozenset(document["bag_sha256"] for document in found if document)


def finished_bags(index: DatasetIndex) -> list[dict]:
    """What was found out about the bags that are done, by their names; see `WorkFolder.result`."""
    base, found = _base_of(index), []
    for folder in (index.folder / PARTS).glob("*"):
        note, result = read_json(folder / _BAG), read_json(folder / _RESULT)
        if result is not None and note is not None and note.get("made_with") == base:
            found.append(result)
    return sorted(found, key=lambda result: result["path"])


def remove_unfitting(index: DatasetIndex) -> None:
    """Throws away the parts that were made with something else."""
    base = _base_of(index)
    for folder, note in _notes(index.folder):
        if note.get("made_with") != base:
            _remove(folder, note, index)


def remove_done(index: DatasetIndex, sources: Collection[str]) -> None:
    """Throws away the parts of a call that has ended, and of bags that the data set has.

    Those of other bags, which another call had begun, stay.

    Args:
        index: The data set.
        sources: The bags of the call, as entries name them.
    """
    for folder, note in _notes(index.folder):
        done = note.get("bag_sha256") in index.balance
        if not note or done or note.get("source") in sources:
            _remove(folder, note, index)
    with contextlib.suppress(OSError):  # not there, or not empty
        (index.folder / PARTS).rmdir()


def _base_of(index: DatasetIndex) -> dict:
    return made_with(index.contract.hash, index.recipe)


def _notes(out: Path) -> list[tuple[Path, dict]]:
    """The folders of all bags, and which bag it is; {} where that is not known."""
    return [(folder, read_json(folder / _BAG) or {}) for folder in (out / PARTS).glob("*")]


def _remove(folder: Path, note: dict, index: DatasetIndex) -> None:
    """Throws parts away.

    Of a bag that has episodes in the data set and no sheet, the note stays: there may be more in
    it, so it is no bag that need not be read again.
    """
    half = {entry["bag_sha256"] for entry in index.episodes.values()} - index.balance.keys()
    if note.get("bag_sha256") in half:
        _clear(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _clear(folder: Path) -> None:
    """Throws away all but the note of which bag it is."""
    for path in folder.glob("*"):
        if path.name != _BAG:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def read_json(path: Path) -> dict | None:
    """A JSON object; None where there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

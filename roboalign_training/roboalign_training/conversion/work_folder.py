"""The folder of an unfinished conversion: parts by bag, and what they were made with."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import PIL

from roboalign_policy.core.hashing import sha256_json
from roboalign_training.data.folders import as_text
from roboalign_training.data.index import write_json
from roboalign_training.data.png import encoder_version
from roboalign_training.provenance import tool_version

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
    """

    path: Path
    made_with: dict

    def open(self) -> str | None:
        """Makes the folder, or keeps the one that is there if its parts fit.

        Returns:
            SHA-256 of the bag that its parts are of; None where there are none, or not known.
        """
        found = read_json(self.path / _BAG)
        if found is None or found.get("made_with") != self.made_with:
            found = None
            shutil.rmtree(self.path, ignore_errors=True)
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
        document = {"made_with": self.made_with, "bag_sha256": bag_sha256}
        write_json(self.path / _BAG, document)

    def result(self) -> dict | None:
        """What was found out about the bag, if it was done."""
        return read_json(self.path / _RESULT)

    def set_result(self, result: dict) -> None:
        """Notes that the bag is done."""
        write_json(self.path / _RESULT, result)


def work_folder(out: Path, files: list[Path], base: dict) -> WorkFolder:
    """The work folder of a bag, by the names, sizes and times of its files.

    Its SHA-256, which is compared before a part is used, takes too long to be the folder's name.
    """
    facts = [
        [as_text(str(file.absolute())), stat.st_size, stat.st_mtime_ns]
        for file in files
        for stat in (file.stat(),)
    ]
    return WorkFolder(out / PARTS / sha256_json(facts)[:32], base)


def unfinished_bags(out: Path) -> frozenset[str]:
    """SHA-256 of the bags with parts: perhaps only some of their episodes were entered."""
    found = (read_json(path) for path in (out / PARTS).glob(f"*/{_BAG}"))
    return frozenset(document["bag_sha256"] for document in found if document)


def remove_unfitting(out: Path, base: dict) -> None:
    """Throws away the parts that were made with something else."""
    for folder in (out / PARTS).glob("*"):
        found = read_json(folder / _BAG)
        if found is None or found.get("made_with") != base:
            shutil.rmtree(folder, ignore_errors=True)


def remove_all(out: Path) -> None:
    """Throws all parts away: the conversion is finished."""
    shutil.rmtree(out / PARTS, ignore_errors=True)


def read_json(path: Path) -> dict | None:
    """A JSON object; None where there is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None

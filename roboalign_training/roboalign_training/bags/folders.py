"""Which files of a folder make up a bag, where no metadata says so."""

from __future__ import annotations

import re
from pathlib import Path

from roboalign_training.bags.bagmeta import SUFFIXES
from roboalign_training.bags.errors import BagError, NoBagError

ZIPPED = ".zstd"
_STORAGES = {suffix: storage for storage, suffix in SUFFIXES.items()}
_PART = re.compile(r"(.*)_(\d+)")


def as_text(name: str) -> str:
    """A file's name as text that can be written: bytes that are no UTF-8 stand as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def storage_of(file: Path) -> str | None:
    """Tells "mcap" from "sqlite3" by a file's name; None for other files."""
    plain = file.name.removesuffix(ZIPPED)
    return _STORAGES.get(Path(plain).suffix)


def storage_files(folder: Path) -> list[Path]:
    """The storage files of a folder, parts of a split bag in their order."""
    return sorted(
        (p for p in folder.iterdir() if storage_of(p) and p.is_file()),
        key=lambda p: (_part(p)[0], _part(p)[1], p.name),
    )


def recordings(folder: Path) -> list[tuple[Path, ...]]:
    """The storage files of a folder, those of one split recording together."""
    found: dict[tuple[str, int], list[Path]] = {}
    for file in storage_files(folder):
        name, number = _part(file)
        found.setdefault((name, min(number, 0)), []).append(file)
    return [tuple(files) for files in found.values()]


def only_recording(folder: Path) -> tuple[Path, ...]:
    """The files of the one recording that a folder without metadata holds.

    Raises:
        BagError: When there is none or several, or when a part of it is missing.
    """
    found = recordings(folder)
    if not found:
        raise NoBagError(folder, "is no bag: no metadata.yaml and no .mcap or .db3 file in it")
    if len(found) > 1:
        names = ", ".join(files[0].name for files in found[:4])
        raise BagError(
            folder,
            f"metadata.yaml is missing, and its files belong to {len(found)} recordings "
            f"({names}{' ...' if found[4:] else ''}): name one file",
        )
    files = found[0]
    numbers = [_part(file)[1] for file in files]
    if len(files) > 1 and numbers != list(range(len(files))):
        raise BagError(
            folder,
            "metadata.yaml is missing, and its files are not a whole recording: expected parts "
            f"0 to {max(numbers)} once each, found {', '.join(map(str, numbers))}",
        )
    return files


def _part(file: Path) -> tuple[str, int]:
    """Name and number of a part of a split recording; number -1 for a file that has none."""
    plain = file.name.removesuffix(ZIPPED)
    stem, ending = Path(plain).stem, Path(plain).suffix
    match = _PART.fullmatch(stem)
    return (match[1] + ending, int(match[2])) if match else (stem + ending, -1)

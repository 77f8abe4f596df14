"""A finished export that is there: whether it is whole, and what in its folder is not of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from roboalign_training.bags.errors import RefusedError
from roboalign_training.lerobot.layout import CONTRACT, FRAMES, INFO, PASSPORT, STATS, TASKS
from roboalign_training.lerobot.passport import Passport
from roboalign_training.lerobot.source import open_source

_MOST_NAMED = 5
_PATTERNS = (
    *(CONTRACT, FRAMES, INFO, STATS, TASKS),
    "meta/episodes/chunk-*/file-*.parquet",
    "data/chunk-*/file-*.parquet",
    "videos/*/chunk-*/file-*.mp4",
)
"""Files of an export of an older release, which does not list them."""


def check_whole(out: Path, passport: Passport) -> None:
    """Makes sure that every file of an export is there, as long as it was; reads none of them.

    Raises:
        RefusedError: Naming the first one that is not, and how many there are.
    """
    listed: dict[str, int | None] = dict(passport.files or {})
    if passport.files is None:
        source = open_source(out)
        listed = {file: None for e in source.episodes for file in e.files(source.features)}
    faults = [f for f in (_fault(out, *item) for item in sorted(listed.items())) if f]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise RefusedError(
            out,
            f"is the same export, but {len(faults)} of its {len(listed)} files are missing or of "
            f"another size: {faults[0]}{more}: --overwrite makes it anew",
        )


def _fault(out: Path, name: str, size: int | None) -> str | None:
    """What is wrong with a file of an export."""
    path = out / name
    if not path.is_file():
        return f"{name} is missing"
    found = path.stat().st_size
    return None if size in (None, found) else f"{name} has {found} bytes, expected {size}"


def check_only_ours(out: Path, passport: Passport) -> None:
    """Makes sure that nothing is lost with the folder of an export but the export.

    Raises:
        RefusedError: Naming what else is in it.
    """
    listed = None if passport.files is None else {*passport.files, PASSPORT}
    others = [name for name in _files(out) if not _is_ours(name, listed)]
    if others:
        shown = ", ".join(others[:_MOST_NAMED])
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        raise RefusedError(
            out,
            f"holds {shown}{more} beside the export that is to be replaced; nothing was changed: "
            "move that away, or choose another folder",
        )


def _is_ours(name: str, listed: set[str] | None) -> bool:
    if listed is not None:
        return name in listed
    return name == PASSPORT or any(fnmatchcase(name, pattern) for pattern in _PATTERNS)


def _files(out: Path) -> Iterator[str]:
    """All that is in a folder but folders, by name."""
    for place, folders, files in os.walk(out):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted((*files, *links)):
            yield (Path(place) / name).relative_to(out).as_posix()

"""The folder of an unfinished export, `.<name>.partial`: one export at a time writes in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from roboalign_training.bags.errors import RefusedError

_LOCK = ".lock"


def partial_path(out: Path) -> Path:
    """Where an export to `out` works."""
    return out.with_name(f".{out.name}.partial")


@contextlib.contextmanager
def partial_folder(out: Path) -> Iterator[Path]:
    """The folder beside `out` that an export works in, held against other exports.

    It goes when the block ends well; after an error or a kill it stays as it is.

    Raises:
        RefusedError: When another export is writing.
    """
    folder = partial_path(out)
    while (lock := _lock(folder)) is None:
        pass
    with lock:
        yield folder
        shutil.rmtree(folder)


def keep_only(folder: Path, names: Collection[str]) -> None:
    """Removes everything in a folder except its lock and the entries with these names."""
    for found in folder.iterdir():
        if found.name in names or found.name == _LOCK:
            continue
        shutil.rmtree(found) if found.is_dir() else found.unlink()


def _lock(folder: Path) -> IO[str] | None:
    """Makes and locks the folder; None where it went in between, with the export that held it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(lock.fileno()), (folder / _LOCK).stat()):
            return lock
    except BlockingIOError as error:
        lock.close()
        raise RefusedError(folder, "another export is writing it") from error
    except FileNotFoundError:
        pass
    lock.close()
    return None

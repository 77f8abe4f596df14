"""The folder that an import writes into: a data set of ours, or nothing; else it is left alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from roboalign_training.bags.errors import RefusedError
from roboalign_training.conversion.target import VIDEOS
from roboalign_training.data.index import CONTRACT, DATA, INDEX, locked

_LOCK = ".lock"
_OURS = (DATA, VIDEOS, CONTRACT)


@contextlib.contextmanager
def target_folder(out: Path) -> Iterator[None]:
    """Holds the folder of a data set; takes back what was made of it when nothing comes of that.

    Raises:
        RefusedError: When there is something else than a data set, finished or not.
    """
    _check(out)
    had_lock = (out / _LOCK).exists()
    made = next((p for p in (*reversed(out.parents), out) if not p.exists()), None)
    try:
        with locked(out):
            yield
    except BaseException:
        if not (out / INDEX).exists():
            _remove_empty(out, made, had_lock)
        raise


def _check(out: Path) -> None:
    """Makes sure that a folder is empty or of a data set."""
    if not out.exists() or (out / INDEX).exists():
        return
    if not out.is_dir():
        raise RefusedError(out, "is a file, expected a folder for the data set")
    shown = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    others = [name for name in shown if name not in _OURS]
    data = out / DATA
    if data.is_dir() and not others:
        others = [
            f"{DATA}/{path.name}"
            for path in sorted(data.iterdir())
            if not path.name.startswith(("episode-", "."))
        ]
    if others:
        raise RefusedError(
            out, f"holds {others[0]} and is no data set (no {INDEX}): choose another folder"
        )


def _remove_empty(out: Path, made: Path | None, had_lock: bool) -> None:
    """Removes the lock and the folders that were made, as far as nothing is in them."""
    if had_lock or not out.is_dir():
        return
    with contextlib.suppress(OSError):
        (out / DATA).rmdir()
    if [path.name for path in out.iterdir()] != [_LOCK]:
        return
    (out / _LOCK).unlink()
    for path in (out, *out.parents) if made is not None else ():
        with contextlib.suppress(OSError):
            path.rmdir()
        if path == made:
            return

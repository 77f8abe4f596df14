"""A full disk, a place that cannot be written: which file it was, and what it was to hold."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TEXTS = ("No space left on device", "Disk quota exceeded", "File too large")


@contextlib.contextmanager
def writing(path: Path, what: str) -> Iterator[None]:
    """Inside, an error that does not say which file it was about learns it.

    Libraries report a full disk as an `OSError` without a name, or as an exception of their own
    with the system's words in it (safetensors, torch); both leave as an `OSError` that names the
    file.

    Args:
        path: file or folder that is written.
        what: noun, such as "a checkpoint".

    Raises:
        OSError: with `filename` and the attribute `writing`.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        if not hasattr(error, "writing"):
            error.writing = what
        raise
    except Exception as error:
        for number, text in zip(DISK_FULL, _TEXTS, strict=True):
            if text in str(error):
                named = OSError(number, text, str(path))
                named.writing = what
                raise named from error
        raise


def write_fault(error: OSError, argv: Sequence[str] = ()) -> str | None:
    """One line about a place that cannot be written.

    Args:
        error: what a command ended with.
        argv: the command's words: where the error names no file, the full disk is looked for
            among the folders that they name.

    Returns:
        None where the error is about something else.
    """
    number = error.errno
    if number not in (*DISK_FULL, errno.EROFS, errno.EACCES, errno.EPERM):
        return None
    what = getattr(error, "writing", None)
    place = Path(error.filename) if isinstance(error.filename, str) else _full_place(argv)
    said = os.strerror(number)  # a library's own words (Arrow's) say less, and more
    text = f"{place}: {said}" if place else said
    text += f", writing {what}" if what else ""
    if number in DISK_FULL and place is not None:
        text += f" ({_free(place)}); make room and give the same command again"
    return text


def _full_place(argv: Sequence[str]) -> Path | None:
    """The place named on the command line whose disk has least room."""
    places = [Path(word.split("=", 1)[-1]) for word in argv if not word.startswith("-")]
    places = [place for place in places if _there(place) is not None and place.parts]
    return min(places, key=lambda place: shutil.disk_usage(_there(place)).free, default=None)


def _there(place: Path) -> Path | None:
    """The path, or the nearest folder above it that exists."""
    return next((part for part in (place, *place.absolute().parents) if part.exists()), None)


def _free(place: Path) -> str:
    there = _there(place)
    return f"{shutil.disk_usage(there).free / 1e6:.1f} MB free" if there else "no such disk"

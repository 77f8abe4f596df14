"""The one rule about results that are there already, for every command that writes.

What a command finds where it is to write is

- nothing: it begins;
- its own result of the same configuration: it goes on where that ended, and a finished one stays
  as it is, to the byte;
- its own result of another configuration, or anything else under the names it would write: it
  refuses, and names what differs;
- any of these and `--overwrite`: it removes what it would write itself, and nothing else.

Everything else about the command is checked before anything is removed or written.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from roboalign_training.shared.differences import differences

MOST_DIFFERENCES = 8


class OutputError(ValueError):
    """A result is in the way; the text names it, what differs and what can be done."""


class Found(Enum):
    """What is there already."""

    NOTHING = "nothing"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the option `--overwrite` to a command's parser."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="remove an earlier result of this command that is in the way",
    )


def judge(
    folder: Path,
    record: str,
    wanted: Mapping[str, Any],
    products: Sequence[str],
    *,
    finished: bool,
    overwrite: bool = False,
    ignored: Iterable[str] = (),
) -> Found:
    """Decide what a command may do in a folder; changes nothing.

    Args:
        folder: where it is to write; need not exist.
        record: JSON file in it with the configuration of the result that is there.
        wanted: the configuration now, JSON values.
        products: names or patterns of everything the command writes into the folder.
        finished: whether the result that is there is whole.
        overwrite: the user agreed to lose it; the caller then calls `remove`.
        ignored: keys, dotted, that do not change the result.

    Raises:
        OutputError: something else is there, or is there under the names it would write.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: found a file, expected a folder or nothing")
    there = existing(folder, products)
    if overwrite or not there:
        return Found.NOTHING
    found = read_record(folder / record)
    if found is None:
        names = ", ".join(sorted(path.name for path in there)[:4])
        raise OutputError(
            f"{folder}: found {names} without a readable {record}, so nobody can tell what it is "
            "the result of; nothing was changed: choose another folder, or add --overwrite"
        )
    refuse_differences(folder, found, wanted, ignored)
    return Found.FINISHED if finished else Found.UNFINISHED


def refuse_differences(
    place: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], ignored: Iterable[str] = ()
) -> None:
    """Refuse a result of another configuration, naming every key with both values.

    Raises:
        OutputError: they differ.
    """
    if lines := differences(found, wanted, ignored):
        more = len(lines) - MOST_DIFFERENCES
        shown = lines[:MOST_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])
        raise OutputError(
            f"{place}: holds the result of another configuration: {'; '.join(shown)}; nothing was "
            "changed: choose another folder, or add --overwrite"
        )


def existing(folder: Path, products: Sequence[str]) -> list[Path]:
    """What is in the folder under the names that a command writes."""
    return [path for pattern in products for path in folder.glob(pattern)]


def remove(folder: Path, products: Sequence[str]) -> None:
    """Remove what a command made, and nothing else that lies in the folder."""
    for path in existing(folder, products):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def read_record(path: Path) -> dict[str, Any] | None:
    """A JSON object of a file; None where there is none, or it cannot be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def publish(fresh: Path, target: Path, *, overwrite: bool = False) -> bool:
    """Put a finished file or folder in its place, by the rule; for results without a record.

    Args:
        fresh: the new result, on the same disk as `target`; gone afterwards.
        target: its place.
        overwrite: the user agreed to lose what is there.

    Returns:
        Whether anything changed: False where the same bytes were there.

    Raises:
        OutputError: something else is there, or a link.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        refuse_link(target)
        if target.exists() and content_hash(target) == content_hash(fresh):
            return False
        if target.exists():
            refuse_other(target, overwrite)
        if target.is_dir():
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.rename(old)
            try:
                fresh.rename(target)
            except BaseException:
                if not target.exists():
                    old.rename(target)
                raise
            shutil.rmtree(old)
        else:
            os.replace(fresh, target)
        return True
    finally:
        if fresh.is_dir():
            shutil.rmtree(fresh)
        else:
            fresh.unlink(missing_ok=True)


def publish_files(fresh: Path, folder: Path, *, overwrite: bool = False) -> list[Path]:
    """Put the files of a folder into another one, all or none, by the rule of `publish`.

    Args:
        fresh: folder with the new files, beside `folder`; gone afterwards.
        folder: their place; what else is in it stays.
        overwrite: the user agreed to lose those of the same names.

    Returns:
        The files in their place.

    Raises:
        OutputError: one of them is there and is another.
    """
    try:
        names = sorted(path.name for path in fresh.iterdir())
        for name in names:
            there = folder / name
            refuse_link(there)
            if there.exists() and content_hash(there) != content_hash(fresh / name):
                refuse_other(there, overwrite)
        for name in names:
            publish(fresh / name, folder / name, overwrite=overwrite)
        return [folder / name for name in names]
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def refuse_other(path: Path, overwrite: bool) -> None:
    """Refuse a file or folder that is there and is another than the one to be written.

    Raises:
        OutputError: unless `overwrite`.
    """
    if not overwrite:
        raise OutputError(
            f"{path}: exists and is not what this command would write now; nothing was changed: "
            "choose another name, or add --overwrite"
        )


def refuse_link(path: Path) -> None:
    """Refuse a place that is a link: the new result would take the link's place, not the file's.

    Raises:
        OutputError: it is one.
    """
    if path.is_symlink():
        raise OutputError(
            f"{path}: found a link to {path.readlink()}, expected the place itself; nothing was "
            "changed: name where it leads"
        )


def beside(path: Path) -> Path:
    """Temporary name in the same folder, for a file in progress."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse a place that holds anything: for results that are never twice the same.

    Raises:
        OutputError: there is something, and `overwrite` is false.
    """
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path}: exists; nothing was changed: choose another name, or add --overwrite"
        )


def content_hash(path: Path) -> str:
    """SHA-256 over names and bytes of a file, or of all that is in a folder."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        name = "" if file == path else file.relative_to(path).as_posix()
        digest.update(f"{name}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Inside, no other process of this suite writes into the folder; leaves no file behind.

    Raises:
        OutputError: another one does.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"{folder}: another process is writing there; wait for its end, or choose another "
                "folder"
            ) from None
        yield
    finally:
        os.close(handle)

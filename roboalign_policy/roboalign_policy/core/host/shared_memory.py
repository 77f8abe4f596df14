"""Files of Fast DDS in shared memory, and which of them a killed process has left behind.

A process that is killed leaves its segment (64 MB with the packaged profile) and its ports. The
segments fill /dev/shm until every program of the machine runs out of memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable
from pathlib import Path

_PATTERNS = ("fastrtps_*", "fastdds_*", "sem.fastrtps_*", "sem.fastdds_*")
_NAME = re.compile(r"(?:sem\.)?(.+?)(?:_(?:el|sl|mutex))?")


def shared_memory_files(root: Path = Path("/")) -> set[Path]:
    """Files of Fast DDS in /dev/shm below ``root``."""
    folder = root / "dev/shm"
    return {path for pattern in _PATTERNS for path in folder.glob(pattern)}


def files_of(pid: int, root: Path = Path("/")) -> set[Path]:
    """Those that a process has open or mapped; none where it has ended."""
    used: set[str] = set()
    process, folder = root / f"proc/{pid}", root / "dev/shm"
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        # First the open ones: what is just being mapped is still open, or mapped already.
        for file in process.joinpath("fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                used.add(os.readlink(file))
        lines = process.joinpath("maps").read_text(encoding="utf-8").splitlines()
        used.update(line.rpartition(" ")[2] for line in lines)
    paths = {Path(path) for path in used if path.startswith(f"{folder}/")}
    return {p for p in paths if p.parent == folder and any(p.match(x) for x in _PATTERNS)}


def abandoned(paths: Iterable[Path] | None = None, root: Path = Path("/")) -> set[Path]:
    """Those of the files that no living process uses.

    A file counts as used while a process has it or one of its group (segment or port, its locks
    and its mutex) open or mapped, or holds a lock on one of the group, as processes of other
    containers and other users do whose files cannot be seen.

    Args:
        paths: files to look at; None: all.
        root: of the file system; another one in tests.
    """
    there = shared_memory_files(root)
    groups: dict[str, set[Path]] = {}
    wanted = there if paths is None else there.intersection(paths)
    asked = {_group(path) for path in wanted}
    for path in there:
        if _group(path) in asked:
            groups.setdefault(_group(path), set()).add(path)
    for process in root.glob("proc/[0-9]*"):
        if not groups:
            break
        for path in files_of(int(process.name), root):
            groups.pop(_group(path), None)
    return wanted & {path for g in groups.values() if not _any_locked(g) for path in g}


def total_bytes(paths: Iterable[Path]) -> int:
    """Sum of the sizes of files; one that is gone counts nothing."""
    total = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def remove(paths: Iterable[Path]) -> int:
    """Remove files that `abandoned` has named; returns the bytes set free."""
    freed = 0
    for path in paths:
        with contextlib.suppress(FileNotFoundError, PermissionError):  # gone, or another user's
            size = path.stat().st_size
            path.unlink()
            freed += size
    return freed


def _group(path: Path) -> str:
    """Name of the segment or port that a file belongs to."""
    return _NAME.fullmatch(path.name)[1]


def _any_locked(files: Iterable[Path]) -> bool:
    """Whether a process holds one of Fast DDS's lock files; Source: its RobustExclusiveLock."""
    return any(_locked(path) for path in files if path.name.endswith(("_el", "_sl")))


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # another user's: not ours to judge
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False

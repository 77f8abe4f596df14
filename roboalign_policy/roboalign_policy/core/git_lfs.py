"""Git LFS pointers: a few lines of text where a large file should be, in a clone without git-lfs.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
"""

from __future__ import annotations

import re
from pathlib import Path

_LONGEST = 1024  # bytes of a pointer
_POINTER = re.compile(
    rb"version https://[\w./-]+/spec/v1\r?\n(?:[a-z0-9.-]+ [^\r\n]*(?:\r?\n|$))+"
)
_SIZE = re.compile(rb"^size (\d+)", re.MULTILINE)


def pointer_fault(path: Path) -> str | None:
    """Says that a file is a pointer, and what to do about it.

    Args:
        path: Any path, also of what is not there.

    Returns:
        One line without the path; None for every other file.
    """
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return None
        text = path.read_bytes()
    except OSError:
        return None  # whoever reads it says why
    if not _POINTER.fullmatch(text) or b"\noid " not in text:
        return None
    size = _SIZE.search(text)
    held = f" of {int(size[1]):,} bytes" if size else ""
    return (
        f"is a Git LFS pointer, the file{held} it stands for was not downloaded: run "
        "`git lfs pull` in its repository"
    )


def first_pointer(folder: Path) -> tuple[Path, str] | None:
    """The first pointer among the files right in a folder, and its fault; None without any."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if fault := pointer_fault(path):
            return path, fault
    return None

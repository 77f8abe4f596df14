"""Two folders change places in one step: at no moment is one of them not there."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # Source: <fcntl.h>, <linux/fs.h>
_LIBC = ctypes.CDLL(None, use_errno=True)


def exchanged(one: Path, other: Path) -> bool:
    """Has two paths of one file system change places.

    Source: renameat2(2), RENAME_EXCHANGE.

    Returns:
        False where system or file system cannot do it; nothing was changed then.
    """
    if not hasattr(_LIBC, "renameat2"):
        return False
    paths = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    return _LIBC.renameat2(*paths, _RENAME_EXCHANGE) == 0

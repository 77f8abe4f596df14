"""Tells the C library to keep freed memory for the next image instead of giving it back.

A conversion takes and frees buffers of an image's or chunk's size thousands of times. By default
glibc returns them to the kernel each time, which hands out zeroed pages anew: a third of the time
of a conversion went there.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # Source: malloc.h of glibc
_KEPT_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20


def keep_freed_memory() -> None:
    """Does it for the present process; nothing where the C library has no such choice."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)

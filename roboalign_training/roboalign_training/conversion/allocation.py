"""Tells the C library what to do with memory: keep it for the next image, or hand it out as zeros.

A conversion takes and frees buffers of an image's or chunk's size thousands of times. By default
glibc returns them to the kernel each time, which hands out zeroed pages anew: a third of the time
of a conversion went there.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_PERTURB = -1, -3, -6  # Source: malloc.h of glibc
_KEPT_BYTES = 64 << 20
_LARGE_BYTES = 16 << 20


def keep_freed_memory() -> None:
    """Does it for the present process; nothing where the C library has no such choice."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@contextlib.contextmanager
def zeroed_memory() -> Iterator[None]:
    """Has memory handed out as zeros while the block runs, where the C library can do that.

    With its own defaults x264 looks at memory that it has not written (its macroblock tree and
    weighted prediction do), so that the same images became other bytes in another place of a run.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_PERTURB, 0xFF)  # new memory is filled with the complement
    try:
        yield
    finally:
        mallopt(_M_PERTURB, 0)

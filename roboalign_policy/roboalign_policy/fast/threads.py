"""Pieces of a batch on all cores; the work has to give the GIL back where it takes long."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

_Piece, _Result = TypeVar("_Piece"), TypeVar("_Result")
# More do not help: what needs the GIL is about a fifth of encoding.
_MOST = 4


def cores() -> int:
    """Threads that are worth using in this process."""
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST, len(os.sched_getaffinity(0)))
    return min(_MOST, os.cpu_count() or 1)


def spread(function: Callable[[_Piece], _Result], pieces: Sequence[_Piece]) -> list[_Result]:
    """Results of the pieces in their order; the first error in that order is raised."""
    if len(pieces) == 1:
        return [function(pieces[0])]
    return list(_pool(os.getpid()).map(function, pieces))


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process: those of a parent do not exist in its forks."""
    return ThreadPoolExecutor(cores(), thread_name_prefix="fast")

"""Python's own pauses in a process that has to answer within milliseconds."""

from __future__ import annotations

import gc
import sys

_SWITCH_S = 5e-4


def prompt_threads() -> None:
    """Let no thread keep another waiting for the interpreter for Python's usual 5 ms."""
    sys.setswitchinterval(_SWITCH_S)


def freeze_garbage() -> None:
    """Collect once, then leave all that is loaded by now out of later collections.

    With torch loaded a full collection takes tens of milliseconds, and finds nothing there.
    """
    gc.collect()
    gc.freeze()


def thaw_garbage() -> None:
    """Collect what `freeze_garbage` left out: it may be garbage now."""
    gc.unfreeze()
    gc.collect()

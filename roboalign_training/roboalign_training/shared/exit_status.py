"""Exit statuses of commands: one rule for all of them, see docs/commands.md."""

from __future__ import annotations

FAILED, REFUSED = 1, 2


def status_of(error: Exception) -> int:
    """The exit status of a command that ends with an error.

    Args:
        error: what it ended with. An error may say by an attribute `refused` which it is.

    Returns:
        REFUSED where nothing was begun, because what the command line says cannot be used: an
        option, a value, an input that does not exist or is another thing, a result in the way.
        FAILED where it went wrong on the way: damaged data, a full disk, a program that ended.
    """
    return REFUSED if getattr(error, "refused", isinstance(error, ValueError)) else FAILED

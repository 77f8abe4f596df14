"""Errors of the data part: what is wrong with a bag or a data set, and where."""

from __future__ import annotations

import re
from pathlib import Path

from roboalign_policy.core.git_lfs import pointer_fault

RESCUE = "`roboalign recover` can rescue what is in it"
HAND_IN = "with --definitions FOLDER"
"""Ends what is said of a message type that is not known; a bag left out for it is read again."""


class DataError(ValueError):
    """Something about recorded data or a data set that the user has to know.

    A Git LFS pointer in place of the file is the cause, whatever reading it ran into.

    Attributes:
        refused: Whether nothing was begun because what was asked for cannot be done; see
            `shared.exit_status`. Else the data are at fault.

    Args:
        path: The file or folder the fault is in.
        cause: What was found and what was expected; where it names the path too, as errors of the
            system do, that is left out.
    """

    refused = False

    def __init__(self, path: Path | str, cause: str) -> None:
        cause = pointer_fault(Path(path)) or _without(str(path), cause)
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause

    def __reduce__(self) -> tuple:
        # Exceptions cross process borders when a data set is built in parallel.
        return (type(self), (self.path, self.cause))


class OptionError(DataError):
    """An invalid option; the text names the option in place of a path."""

    refused = True


class BagError(DataError):
    """A bag that cannot be read, with the file and the true reason."""


class NoBagError(BagError):
    """A path that was named for a bag and does not exist, or is none."""

    refused = True


class EpisodeError(DataError):
    """A bag that was read but cannot become the episode that was asked for."""


class NoContractError(EpisodeError):
    """Bags without a contract, and none was named."""

    refused = True


class DatasetError(DataError):
    """A data set folder that is missing something, broken, or made with another contract."""


class RefusedError(DatasetError):
    """A data set that is none, or may not be used or written in the way that was asked for."""

    refused = True


def _without(path: str, cause: str) -> str:
    """A cause without the path that will stand before it."""
    for name in dict.fromkeys((path, Path(path).name)):
        if name:
            cause = re.sub(rf"(^|; ){re.escape(name)}: ", r"\1", cause)
    # As OSError and, of absolute paths, Arrow say it.
    cause = cause.replace(f": {path!r}", "")
    return cause.replace(f" {path!r}", "") if "/" in path else cause

"""Errors of the data part: what is wrong with a bag or a data set, and where."""

from __future__ import annotations

from pathlib import Path

RESCUE = "`roboalign recover` can rescue what is in it"


class DataError(ValueError):
    """Something about recorded data or a data set that the user has to know.

    Args:
        path: The file or folder the fault is in.
        cause: What was found and what was expected.
    """

    def __init__(self, path: Path | str, cause: str) -> None:
        super().__init__(f"{path}: {cause}")
        self.path = str(path)
        self.cause = cause

    def __reduce__(self) -> tuple:
        # Exceptions cross process borders when a data set is built in parallel.
        return (type(self), (self.path, self.cause))


class BagError(DataError):
    """A bag that cannot be read, with the file and the true reason."""


class EpisodeError(DataError):
    """A bag that was read but cannot become the episode that was asked for."""


class DatasetError(DataError):
    """A data set folder that is missing something, broken, or made with another contract."""


class NothingFitError(DatasetError):
    """A data set that would hold no episode: all that was given was left out."""

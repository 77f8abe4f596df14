"""Why a message could not be read; in a file of its own to keep imports acyclic."""

from __future__ import annotations

from collections.abc import Sequence


class SelectorError(ValueError):
    """A message that does not hold what the contract says it holds."""


class MissingJointError(SelectorError):
    """A message that does not name a joint that is looked for.

    Attributes:
        names: the joints that it names.
    """

    def __init__(self, text: str, names: Sequence[str]) -> None:
        """Say what is wrong in `text`."""
        super().__init__(text)
        self.names = tuple(names)

"""One source in the tree from a policy back to its bags, and the result of checking it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.bags.errors import DataError

LEROBOT = "LeRobot data set"
AS_IT_WAS, CHANGED, GONE, UNCHECKED = "as it was", "CHANGED", "not there any more", "not checked"
OF_ANOTHER = "of another data set"
"""Where a record of somewhere else names it: nobody knows where it lies."""


class TraceError(DataError):
    """A file of which nothing is known."""


@dataclass
class Step:
    """One thing on the way back.

    Attributes:
        kind: checkpoint, base model, data set, episode, bag, LeRobot data set or report.
        name: what to call it.
        facts: what is known of it, by name.
        state: whether it is still there, one of the words of this module; empty: not asked.
        children: what it came from.
    """

    kind: str
    name: str
    facts: dict[str, str] = field(default_factory=dict)
    state: str = ""
    children: list[Step] = field(default_factory=list)

    def walk(self) -> Iterator[Step]:
        """This step and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass
class TraceFiles:
    """How closely to look; each file is read once, however many episodes are in it.

    Attributes:
        verify: hash weights, bags and files that are there, and compare.
    """

    verify: bool
    _hashes: dict[Path, str] = field(default_factory=dict)
    _found: dict[Path, dict[str, str]] = field(default_factory=dict)

    def sha256(self, file: Path) -> str:
        """SHA-256 of a file, hex."""
        if file not in self._hashes:
            self._hashes[file] = sha256_file(file)
        return self._hashes[file]

    def once(self, folder: Path, facts: Callable[[Path], dict[str, str]]) -> dict[str, str]:
        """What `facts` finds of a folder."""
        if folder not in self._found:
            self._found[folder] = facts(folder)
        return self._found[folder]

"""The paths of a contract to the values in a message, and why one cannot be read.

A path is a walk over attributes: `pose.position.x`, `points[0].positions[1]`, and by joint name
`position[finger_joint1]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

_PART = re.compile(r"([A-Za-z][A-Za-z0-9_]*)((?:\[[^\[\]]+\])*)\Z")
_INDEX = re.compile(r"\[([^\[\]]+)\]")


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


@lru_cache(maxsize=1024)
def parse_path(path: str) -> tuple[str | int | tuple[str], ...]:
    """Split a path into steps: attribute (str), index (int) or joint name (tuple of one str).

    Raises:
        SelectorError: the path is not attributes joined by dots, each with optional [indexes].
    """
    steps: list[str | int | tuple[str]] = []
    # Joint names may hold dots, so only dots outside of brackets separate.
    for part in re.split(r"\.(?![^\[]*\])", path):
        match = _PART.match(part)
        if match is None or part.startswith("_"):
            raise SelectorError(
                f"path {path!r}: {part!r} is not a field name with optional "
                "[index] or [joint name]"
            )
        steps.append(match.group(1))
        for index in _INDEX.findall(match.group(2)):
            steps.append(int(index) if index.isdigit() and index.isascii() else (index,))
    return tuple(steps)

"""What a command leaves out: counted by cause, said in its last line, a status with --strict."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping

STRICT_STATUS = 3
"""Exit status of a command that did its work, left something out and was called with --strict."""


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add the option `--strict` to a command's parser."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help=f"end with status {STRICT_STATUS} when anything was left out",
    )


class LeftOut:
    """The one place through which every skip of a conversion, import, export or training goes.

    A cause is a short phrase without the numbers of the single case, so that equal causes add up:
    "shorter than one chunk", not "3 frames are fewer than 8".
    """

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, what: str, cause: str, count: int = 1) -> None:
        """Count something that is left out.

        Args:
            what: singular noun of what is left out, such as "episode", "frame", "topic", "file".
            cause: why, without the numbers of the single case.
            count: how many; 0 adds nothing.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"found count={count} of {what} ({cause}), expected 0 or more")
        if count:
            self._counts.setdefault(what, Counter())[cause] += count

    def update(self, other: LeftOut) -> None:
        """Add all that another one counted, such as that of a worker process."""
        for what, causes in other._counts.items():
            for cause, count in causes.items():
                self.add(what, cause, count)

    def __bool__(self) -> bool:
        """Whether anything was left out."""
        return bool(self._counts)

    def count(self, what: str) -> int:
        """How many of `what` were left out."""
        return self._counts.get(what, Counter()).total()

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Counts by noun and cause, for a report in JSON."""
        return {what: dict(causes) for what, causes in self._counts.items()}

    @classmethod
    def from_dict(cls, counts: Mapping[str, Mapping[str, int]]) -> LeftOut:
        """What `to_dict` gave."""
        left = cls()
        for what, causes in counts.items():
            for cause, count in causes.items():
                left.add(what, cause, count)
        return left

    def line(self) -> str:
        """The last line of the command.

        Returns:
            "left out: nothing", or "left out: 3 episodes (2 shorter than one chunk, 1 marked
            failure), 1 topic (no ROS 2 channel)"; the most frequent cause first.
        """
        if not self:
            return "left out: nothing"
        parts = []
        for what, causes in self._counts.items():
            why = ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
            total = causes.total()
            noun = what if total == 1 else f"{what}s"
            detail = next(iter(causes)) if len(causes) == 1 else why
            parts.append(f"{total:,} {noun} ({detail})")
        return "left out: " + ", ".join(parts)

    def status(self, strict: bool) -> int:
        """Exit status of a command that otherwise succeeded: 0, or STRICT_STATUS."""
        return STRICT_STATUS if strict and self else 0

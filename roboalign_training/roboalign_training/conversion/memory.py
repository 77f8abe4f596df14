"""How a limit of memory is shared out: how many processes, and what each may hold at once."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_training.bags.errors import DataError
from roboalign_training.bags.merging import OPEN_BYTES

MB = 10**6
DEFAULT_BYTES = 1000 * MB
LEAST_BYTES = 400 * MB
PARENT_BYTES = 280 * MB
"""What the process with the data set takes: interpreter, Arrow, `datasets`, row groups."""
WORKER_BYTES = 130 * MB
"""What a further process takes before it holds anything of a bag."""
SEGMENT_BYTES = 64 << 20
"""Bytes of messages that are one job, about: always the same, so that parts fit again later."""
_COPIES = 3  # of the largest chunk: as stored, decompressed, and a message of it
_LEAST_OPEN = 8 * MB
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class NoRoomError(DataError):
    """A bag that takes more memory than it may."""


@dataclass(frozen=True)
class MemoryBudget:
    """A limit of memory, and what it means for a bag.

    Attributes:
        total: Bytes that all processes together may take.
        workers: Processes wanted.
        split: How many that each work on a bag of their own share it.
        segment_bytes: Bytes of messages that are one job, about.
    """

    total: int = DEFAULT_BYTES
    workers: int = 1
    split: int = 1
    segment_bytes: int = SEGMENT_BYTES

    def __post_init__(self) -> None:
        if self.total < LEAST_BYTES:
            raise ValueError(
                f"max_memory: found {self.total / MB:.0f} MB, expected at least "
                f"{LEAST_BYTES / MB:.0f} MB"
            )
        if self.workers < 1:
            raise ValueError(f"workers: found {self.workers}, expected at least 1")

    @property
    def processes(self) -> int:
        """Processes that there is room for; 1 is the present one alone."""
        room = (self.total - PARENT_BYTES) // (WORKER_BYTES + _LEAST_OPEN)
        return max(1, min(self.workers, int(room)))

    @property
    def bags_at_once(self) -> int:
        """Processes that there is room for where each converts a bag of its own."""
        return max(1, min(self.workers, self.total // PARENT_BYTES - 1))

    def share(self, largest: int, source: object, processes: int | None = None) -> MemoryShare:
        """What the processes may hold of a bag.

        Args:
            largest: Bytes that have to be in memory at once to read it, see `storage.Weights`.
            source: The bag, for errors.
            processes: At most so many; None for `processes`.

        Raises:
            NoRoomError: When there is no room for one.
        """
        need = _COPIES * largest + _LEAST_OPEN
        for count in range(processes or self.processes, 0, -1):
            # One process is the parent itself; more are workers beside it.
            own = PARENT_BYTES if count == 1 else PARENT_BYTES + count * WORKER_BYTES
            room = (self.total // self.split - own) // count - _COPIES * largest
            if room >= _LEAST_OPEN:
                return MemoryShare(count, min(OPEN_BYTES, room))
        raise NoRoomError(
            source,
            f"its largest chunk or message takes {largest / MB:.0f} MB: give --max-memory at "
            f"least {(PARENT_BYTES + need) / MB + 1:.0f}MB",
        )


@dataclass(frozen=True)
class MemoryShare:
    """How many processes may work on a bag, and bytes of overlapping chunks that each holds."""

    processes: int
    open_bytes: int


def parse_bytes(text: str) -> int:
    """Reads a size, as in `800MB`, `1.5 GB`; a bare number is of bytes.

    Raises:
        ValueError: When it is none.
    """
    clean = text.strip().upper().replace(" ", "")
    unit = next((u for u in ("KB", "MB", "GB", "B") if clean.endswith(u)), "")
    try:
        return int(float(clean.removesuffix(unit)) * _UNITS.get(unit, 1))
    except (ValueError, OverflowError):
        raise ValueError(f"found {text!r}, expected a size such as 800MB or 1.5GB") from None

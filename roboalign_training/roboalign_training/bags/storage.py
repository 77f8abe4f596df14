"""What a storage file offers, whatever its format: topics, counts, segments to merge by time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

ALL_TIMES = (0, 2**64 - 1)
"""ns; from the first to the last moment there is."""


class Message(NamedTuple):
    """One message: topic as recorded, receive (log) time in ns, CDR bytes or decoded object."""

    topic: str
    receive_ns: int
    message: Any


@dataclass(frozen=True)
class StoredTopic:
    """One topic of one file.

    Attributes:
        name: As recorded.
        type: ROS 2 type name; "" where the file does not say.
        encoding: Of its messages; "cdr" in ROS 2.
        form: "MSG" or "IDL", the language of its definition; "" where the file has none.
        definition: Text of the type and of those it is made of, or "".
        type_hash: RIHS01 hash of the type, or "".
        qos: YAML of the profiles offered on it, or "".
        foreign: Why ROS 2 has no such topic, or "".
    """

    name: str
    type: str
    encoding: str
    form: str
    definition: str
    type_hash: str
    qos: str
    foreign: str = ""


class Segment(Protocol):
    """A part of a file whose messages can be read in order of time.

    Attributes:
        start_ns, end_ns: No message is earlier or later.
        size: Bytes it takes while it is read.
    """

    start_ns: int
    end_ns: int
    size: int

    def messages(self) -> Iterator[Message]:
        """Its messages as bytes, by log time.

        Raises:
            BagError: When it is damaged.
        """


@dataclass(frozen=True)
class Weights:
    """How the bytes of messages spread over time; enough to cut a recording into even parts.

    Attributes:
        times_ns: (N,) int64, ns, rising.
        sizes: (N,) int64; bytes from each time on to the next one.
        largest: Bytes that have to be in memory at once to read it.
    """

    times_ns: np.ndarray
    sizes: np.ndarray
    largest: int


class StorageFile(Protocol):
    """One storage file whose structure was checked.

    Attributes:
        path: The file that is read.
        source: The file that errors name; another one where it had to be decompressed.
        topics: By number within the file.
        counts: Messages by number; also numbers that no topic has, where the file is damaged.
        span: ns; log time of the first and of the last message, None without messages.
        information: The metadata of the bag as the file repeats it (YAML), or "".
    """

    path: Path
    source: Path
    topics: dict[int, StoredTopic]
    counts: dict[int, int]
    span: tuple[int, int] | None
    information: str

    def segments(self, wanted: Collection[str], times: tuple[int, int]) -> list[Segment]:
        """The parts that hold messages of topics `wanted` within `times` (ns, both included)."""

    def weights(self) -> Weights:
        """How the bytes of its messages spread over time, roughly."""

    def verify(self) -> None:
        """Checks what only a second story about the content would tell: used without metadata.

        Raises:
            BagError: When the file is damaged.
        """

"""Segments of one or many files as one stream in order of time, with bounded memory."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct

from roboalign_training.bags.errors import BagError
from roboalign_training.bags.storage import Message, Segment
from roboalign_training.bags.unpacking import check_space

OPEN_BYTES = 1 << 27
"""Most bytes of segments that lie over each other in time and are held in memory at once."""
_HEAD = Struct("<HQQ")  # number of the topic, log time, bytes


def merged(segments: Sequence[Segment], limit: int = OPEN_BYTES) -> Iterator[Message]:
    """Yields the messages of all segments by log time.

    A segment is opened when its time has come. Mostly one is open at a time; those that lie over
    each other are merged, and what exceeds `limit` goes through a temporary file.

    Args:
        segments: In the order in which messages of the same time are wanted.
        limit: Bytes of open segments to hold in memory.

    Raises:
        BagError: When a segment is damaged, or the disk has no room for the temporary file.
    """
    waiting = sorted(segments, key=lambda segment: segment.start_ns)
    spill = _Spill()
    # (time, number, message, the rest of its segment, bytes that are held for it)
    heads: list[tuple[int, int, Message, Iterator[Message], int]] = []
    held = number = 0
    try:
        while number < len(waiting) or heads:
            while number < len(waiting) and (not heads or waiting[number].start_ns <= heads[0][0]):
                segment = waiting[number]
                number += 1
                alone = number == len(waiting) or segment.end_ns <= waiting[number].start_ns
                if alone and not heads:
                    yield from segment.messages()
                    continue
                size, messages = segment.size, segment.messages()
                if heads and held + size > limit:
                    size, messages = 0, spill.through(messages)
                if (first := next(messages, None)) is not None:
                    heapq.heappush(heads, (first.receive_ns, number, first, messages, size))
                    held += size
            if heads:
                _, order, message, rest, size = heads[0]
                yield message
                if (following := next(rest, None)) is not None:
                    heapq.heapreplace(heads, (following.receive_ns, order, following, rest, size))
                else:
                    heapq.heappop(heads)
                    held -= size
    finally:
        spill.close()


class _Spill:
    """A temporary file for segments that find no room in memory; each was sorted before."""

    def __init__(self) -> None:
        self._file = None
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def close(self) -> None:
        """Removes the file."""
        if self._file is not None:
            self._file.close()

    def through(self, messages: Iterator[Message]) -> Iterator[Message]:
        """Writes all messages out, and gives them back one by one."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="roboalign-merge-")
            start = self._file.seek(0, os.SEEK_END)
            for topic, stamp, data in messages:
                number = self._numbers.setdefault(topic, len(self._names))
                if number == len(self._names):
                    self._names.append(topic)
                self._file.write(_HEAD.pack(number, stamp, len(data)) + data)
            self._file.flush()
            check_space(Path(tempfile.gettempdir()), 0)
            return self._back(start, self._file.tell())
        except OSError as error:
            cause = f"merging overlapping chunks: {error}"
            raise BagError(tempfile.gettempdir(), cause) from error

    def _back(self, at: int, end: int) -> Iterator[Message]:
        """The messages that stand between two places of the file."""
        descriptor = self._file.fileno()
        while at < end:
            number, stamp, length = _HEAD.unpack(os.pread(descriptor, _HEAD.size, at))
            at += _HEAD.size
            yield Message(self._names[number], stamp, os.pread(descriptor, length, at))
            at += length

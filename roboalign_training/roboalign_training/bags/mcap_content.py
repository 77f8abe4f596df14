"""Messages out of an MCAP file's chunks, and out of files without chunks, in order of time."""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from zlib import crc32

import numpy as np

from roboalign_training.bags import mcap_records as mcap
from roboalign_training.bags.errors import RESCUE, BagError
from roboalign_training.bags.mcap_records import FileBytes, McapChunk, McapRecordError
from roboalign_training.bags.storage import ALL_TIMES, Message, Weights
from roboalign_training.bags.unpacking import UnpackError, unpack_chunk

_BLOCK_BYTES = 1 << 20


def content(data: FileBytes, chunk: McapChunk) -> bytes:
    """A chunk's content, decompressed and compared with its CRC.

    Raises:
        McapRecordError: When it is damaged.
    """
    try:
        raw = unpack_chunk(
            data.read(chunk.data_at, chunk.data_length), chunk.compression, chunk.size
        )
    except UnpackError as error:
        raise McapRecordError(str(error)) from error
    if chunk.crc and crc32(raw) != chunk.crc:
        raise McapRecordError("does not fit its CRC")
    return raw


def split(raw: bytes) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of every record within a chunk's content.

    Raises:
        McapRecordError: When one is cut off.
    """
    view, at, end = memoryview(raw), 0, len(raw)
    while at < end:
        if end - at < mcap.PREFIX.size:
            raise McapRecordError(f"holds a record that is cut off at byte {at}")
        opcode, length = mcap.PREFIX.unpack_from(raw, at)
        body, at = at + mcap.PREFIX.size, at + mcap.PREFIX.size + length
        if at > end or (opcode == mcap.MESSAGE and length < mcap.MESSAGE_FIELDS):
            raise McapRecordError(f"holds a record of a wrong length at byte {body}")
        yield opcode, view[body:at]


def records(data: FileBytes, chunk: McapChunk) -> Iterator[tuple[int, memoryview]]:
    """Opcode and content of every record of a chunk.

    Raises:
        McapRecordError: When it is damaged.
    """
    try:
        yield from split(content(data, chunk))
    except McapRecordError as error:
        raise McapRecordError(f"the chunk at byte {chunk.at} {error}") from error


@dataclass(frozen=True)
class ChunkSegment:
    """One chunk; see `storage.Segment`.

    Attributes:
        path, source: The file that is read, and that errors name.
        chunk: Which part of it.
        names: Topic by channel, of the channels that are wanted.
        expected: Messages of these, by the chunk's index.
        times: ns; first and last log time wanted.
    """

    path: Path
    source: Path
    chunk: McapChunk
    names: Mapping[int, str]
    expected: int
    times: tuple[int, int] = ALL_TIMES

    @property
    def start_ns(self) -> int:
        """ns; by the chunk's header."""
        return self.chunk.start_ns

    @property
    def end_ns(self) -> int:
        """ns; by the chunk's header."""
        return self.chunk.end_ns

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return self.chunk.size

    def messages(self) -> Iterator[Message]:
        """See `storage.Segment`."""
        try:
            with FileBytes(self.path) as data:
                raw = content(data, self.chunk)
            rows, ordered = _rows(raw, self.names)
        except (McapRecordError, OSError, MemoryError) as error:
            place = f"the chunk at byte {self.chunk.at}"
            raise BagError(self.source, f"is damaged: {place} {error}: {RESCUE}") from error
        if not ordered:
            rows.sort(key=itemgetter(0))
        first, last = self.times
        if len(rows) != self.expected or (
            rows and not self.start_ns <= rows[0][0] <= rows[-1][0] <= self.end_ns
        ):
            raise BagError(
                self.source,
                f"is damaged: the chunk at byte {self.chunk.at} does not hold what it says: "
                f"{len(rows)} messages, expected {self.expected} between {self.start_ns} and "
                f"{self.end_ns} ns: {RESCUE}",
            )
        if rows and (rows[0][0] < first or rows[-1][0] > last):
            rows = [row for row in rows if first <= row[0] <= last]
        names = self.names
        for log_ns, channel, begin, end in rows:
            yield Message(names[channel], log_ns, raw[begin:end])


def _rows(raw: bytes, names: Container[int]) -> tuple[list[tuple[int, int, int, int]], bool]:
    """(log time, channel, begin, end) of the messages wanted; whether they rise in time."""
    rows: list[tuple[int, int, int, int]] = []
    unpack, fields = mcap.MESSAGE_HEAD.unpack_from, mcap.MESSAGE_FIELDS
    at, newest, ordered = 0, 0, True
    end, last_head = len(raw), len(raw) - mcap.MESSAGE_HEAD.size
    while at <= last_head:
        opcode, length, channel, _, log_ns, _ = unpack(raw, at)
        begin = at + mcap.PREFIX.size
        at = begin + length
        if opcode == mcap.MESSAGE:
            if at > end or length < fields:
                raise McapRecordError(
                    f"holds a message of {length} bytes at byte {begin} of {end}"
                )
            if channel in names:
                ordered = ordered and log_ns >= newest
                newest = log_ns
                rows.append((log_ns, channel, begin + fields, at))
    if at > end:
        raise McapRecordError(f"holds a record that ends at byte {at} of {end}")
    for _ in split(raw[at:]):  # what is left is shorter than the shortest message
        pass
    return rows, ordered


@dataclass(frozen=True)
class LooseMessages:
    """Messages outside of chunks: channel, log time, place and length of each, in file order."""

    channels: array
    times: array
    places: array
    lengths: array

    def add(self, channel: int, log_ns: int, place: int, length: int) -> None:
        """Notes one message."""
        self.channels.append(channel)
        self.times.append(log_ns)
        self.places.append(place)
        self.lengths.append(length)

    def span(self) -> tuple[int, ...]:
        """First and last log time; empty without messages."""
        return (min(self.times), max(self.times)) if self.times else ()


class LooseSegment:
    """The messages of a file that stand outside of chunks; see `storage.Segment`.

    Args:
        path, source: The file that is read, and that errors name.
        loose: All such messages of it.
        names: Topic by channel, of the channels that are wanted.
        times: ns; first and last log time wanted.
    """

    size = _BLOCK_BYTES

    def __init__(
        self,
        path: Path,
        source: Path,
        loose: LooseMessages,
        names: Mapping[int, str],
        times: tuple[int, int],
    ) -> None:
        self._path, self._source, self._loose, self._names = path, source, loose, names
        stamps = np.frombuffer(loose.times, np.uint64)
        wanted = np.isin(np.frombuffer(loose.channels, np.uint16), list(names))
        wanted &= (stamps >= times[0]) & (stamps <= times[1])
        chosen = np.flatnonzero(wanted)
        self._order = chosen[np.argsort(stamps[chosen], kind="stable")]
        ends = stamps[self._order[[0, -1]]] if len(chosen) else (0, 0)
        self.start_ns, self.end_ns = int(ends[0]), int(ends[1])

    def messages(self) -> Iterator[Message]:
        """See `storage.Segment`."""
        loose, block, block_at = self._loose, b"", 0
        try:
            with FileBytes(self._path) as data:
                for number in self._order:
                    place, length = loose.places[number], loose.lengths[number]
                    offset = place - block_at
                    if offset < 0 or offset + length > len(block):
                        ahead = min(max(length, _BLOCK_BYTES), data.size - place)
                        block, block_at, offset = data.read(place, ahead), place, 0
                    topic = self._names[loose.channels[number]]
                    yield Message(topic, loose.times[number], block[offset : offset + length])
        except (McapRecordError, OSError, MemoryError) as error:
            raise BagError(self._source, f"is damaged: {error}: {RESCUE}") from error


def mcap_weights(chunks: Sequence[McapChunk], loose: LooseMessages) -> Weights:
    """How the messages of an MCAP file, in chunks and outside, spread over time."""
    chunks = [chunk for chunk in chunks if chunk.size]
    times = np.array([chunk.start_ns for chunk in chunks], np.int64)
    sizes = np.array([chunk.size for chunk in chunks], np.int64)
    largest = max((chunk.size + chunk.data_length for chunk in chunks), default=0)
    if loose.times:
        lengths = np.frombuffer(loose.lengths, np.uint64).astype(np.int64)
        seconds = np.frombuffer(loose.times, np.uint64).astype(np.int64) // 1_000_000_000
        found, place = np.unique(seconds, return_inverse=True)
        times = np.concatenate([times, found * 1_000_000_000])
        sizes = np.concatenate([sizes, np.bincount(place, lengths).astype(np.int64)])
        largest = max(largest, int(lengths.max()))
    order = np.argsort(times, kind="stable")
    return Weights(times[order], sizes[order], largest)

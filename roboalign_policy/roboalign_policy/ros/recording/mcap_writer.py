"""Writes MCAP files at the rate of raw cameras: what is large is neither copied nor compressed.

`mcap`'s own writer has one open chunk and one compression a file, and copies every message four
times. Here channels of one compression share an open chunk (a *lane*), so that small messages are
compressed while images go to the file as they came. What compression does not make smaller (noise
of a camera) is stored as it is, and only now and then is it tried again. All other records are
written by `mcap`.

Source: MCAP specification, https://mcap.dev/spec.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
from mcap.writer import MCAP0_MAGIC

from roboalign_policy.core.recording.compression import COMPRESSIONS, LZ4, NONE, ZSTD

_ZSTD_LEVEL = 1
_WORTH = 0.9  # share of its size to which compression must bring a chunk
_TRY_EVERY = 16  # chunks, where it did not
_MESSAGE = struct.Struct("<BQHIQQ")  # opcode, length, channel, sequence, log, publish time
_CHUNK = struct.Struct("<BQQQQII")  # opcode, length, first, last, size, CRC, length of the name
_INDEX = struct.Struct("<BQHI")  # opcode, length, channel, bytes of the entries
_U64 = struct.Struct("<Q")


class _Lane:
    """The open chunk of the channels of one compression."""

    def __init__(self, name: str) -> None:
        self.name = "" if name == NONE else name
        self._untried = 0  # chunks that are stored without a try
        self.compress: Callable[[bytes], bytes] | None = {
            NONE: None,
            LZ4: lz4.frame.compress,
            ZSTD: zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress,
        }[name]
        self.clear()

    def clear(self) -> None:
        """Begin the next chunk."""
        self.parts: list[bytes] = []
        self.size = 0
        self.first_ns, self.last_ns = 2**64 - 1, 0
        self.entries: dict[int, list[int]] = {}

    def packed(self) -> tuple[str, list[bytes]]:
        """Compression of the chunk's content, and the content in parts."""
        if self.compress is None or self._untried:
            self._untried = max(0, self._untried - 1)
            return "", self.parts
        data = self.compress(b"".join(self.parts))
        if len(data) <= _WORTH * self.size:
            return self.name, [data]
        self._untried = _TRY_EVERY - 1
        return "", self.parts

    def add(self, channel: int, log_ns: int, header: bytes, data: bytes) -> None:
        """Take one message record."""
        self.entries.setdefault(channel, []).extend((log_ns, self.size))
        self.parts += (header, data)
        self.size += len(header) + len(data)
        self.first_ns, self.last_ns = min(self.first_ns, log_ns), max(self.last_ns, log_ns)


class McapWriter:
    """One MCAP file in the making.

    Attributes:
        open_bytes: bytes of messages that are in no finished chunk yet.
    """

    def __init__(self, stream: BinaryIO, chunk_bytes: int) -> None:
        """Write the head of the file.

        Args:
            stream: buffered, empty, at its start; closed by the caller.
            chunk_bytes: bytes of messages at which a chunk is finished.

        Raises:
            OSError: the disk is full or gone; so of all methods that write.
        """
        self._stream, self._chunk_bytes = stream, chunk_bytes
        self._at = 0
        self._lanes: dict[str, _Lane] = {}
        self._lane_of: list[_Lane] = []
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._counts: list[int] = []
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self.open_bytes = 0
        self._put(MCAP0_MAGIC)
        self._record(Header(profile="ros2", library="roboalign"))

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """Write a schema; returns its id."""
        self._schemas.append(
            Schema(id=len(self._schemas) + 1, data=data, encoding=encoding, name=name)
        )
        self._record(self._schemas[-1])
        return self._schemas[-1].id

    def add_channel(
        self, topic: str, schema_id: int, metadata: dict[str, str], compression: str
    ) -> int:
        """Write a channel of CDR messages; returns its id.

        Raises:
            ValueError: the compression is none of `COMPRESSIONS`.
        """
        if compression not in COMPRESSIONS:
            raise ValueError(
                f"compression: found {compression!r}, expected one of {', '.join(COMPRESSIONS)}"
            )
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding="cdr",
            metadata=metadata,
            schema_id=schema_id,
        )
        self._channels.append(channel)
        self._counts.append(0)
        self._lane_of.append(self._lanes.setdefault(compression, _Lane(compression)))
        self._record(channel)
        return channel.id

    def add_message(
        self, channel_id: int, log_ns: int, publish_ns: int, data: bytes, sequence: int
    ) -> None:
        """Take one message; written with its chunk.

        Args:
            channel_id: of `add_channel`.
            log_ns: ns; under which it is filed.
            publish_ns: ns.
            data: CDR; must not change afterwards.
            sequence: number of the message on its channel.
        """
        header = _MESSAGE.pack(
            Opcode.MESSAGE,
            _MESSAGE.size - 9 + len(data),
            channel_id,
            sequence & 0xFFFFFFFF,
            log_ns,
            publish_ns,
        )
        lane = self._lane_of[channel_id - 1]
        lane.add(channel_id, log_ns, header, data)
        self._counts[channel_id - 1] += 1
        self.open_bytes += len(header) + len(data)
        if lane.size >= self._chunk_bytes:
            self._finish_chunk(lane)

    def add_metadata(self, name: str, metadata: dict[str, str]) -> None:
        """Write a metadata record."""
        begin = self._at
        self._record(Metadata(name=name, metadata=metadata))
        self._metadata.append(MetadataIndex(begin, self._at - begin, name))

    def flush(self) -> None:
        """Finish every open chunk and hand all to the operating system."""
        for lane in self._lanes.values():
            if lane.parts:
                self._finish_chunk(lane)
        self._stream.flush()

    def finish(self) -> None:
        """Write what is open, then index, statistics and footer."""
        self.flush()
        self._record(DataEnd(0))
        begin = self._at
        groups = [
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, self._chunks),
            (Opcode.METADATA_INDEX, self._metadata),
        ]
        summary, offsets = RecordBuilder(), []
        for opcode, records in groups:
            start = summary.count
            for record in records:
                record.write(summary)
            offsets.append(SummaryOffset(opcode, begin + start, summary.count - start))
        offsets_begin = begin + summary.count
        for offset in offsets:
            if offset.group_length:
                offset.write(summary)
        data = summary.end()
        self._put(data)
        # The CRC covers the footer up to itself.
        head = struct.pack("<BQQQ", Opcode.FOOTER, 20, begin, offsets_begin)
        self._record(Footer(begin, offsets_begin, zlib.crc32(head, zlib.crc32(data))))
        self._put(MCAP0_MAGIC)
        self._stream.flush()

    def _finish_chunk(self, lane: _Lane) -> None:
        """Write the lane's chunk and its message index."""
        crc = 0
        for part in lane.parts:
            crc = zlib.crc32(part, crc)
        compression, parts = lane.packed()
        size = sum(map(len, parts))
        name = compression.encode()
        begin = self._at
        length = _CHUNK.size - 9 + len(name) + _U64.size + size
        self._put(
            _CHUNK.pack(
                Opcode.CHUNK, length, lane.first_ns, lane.last_ns, lane.size, crc, len(name)
            )
            + name
            + _U64.pack(size)
        )
        for part in parts:
            self._put(part)
        index_begin, offsets = self._at, {}
        for channel, entries in lane.entries.items():
            offsets[channel] = self._at
            size_of = 8 * len(entries)
            head = _INDEX.pack(Opcode.MESSAGE_INDEX, _INDEX.size - 9 + size_of, channel, size_of)
            self._put(head + struct.pack(f"<{len(entries)}Q", *entries))
        self._chunks.append(
            ChunkIndex(
                chunk_length=index_begin - begin,
                chunk_start_offset=begin,
                compression=compression,
                compressed_size=size,
                message_end_time=lane.last_ns,
                message_index_length=self._at - index_begin,
                message_index_offsets=offsets,
                message_start_time=lane.first_ns,
                uncompressed_size=lane.size,
            )
        )
        self.open_bytes -= lane.size
        lane.clear()

    def _statistics(self) -> Statistics:
        counts = {c.id: n for c, n in zip(self._channels, self._counts, strict=True) if n}
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=counts,
            chunk_count=len(self._chunks),
            message_count=sum(self._counts),
            message_end_time=max((c.message_end_time for c in self._chunks), default=0),
            message_start_time=min((c.message_start_time for c in self._chunks), default=0),
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )

    def _record(self, record: object) -> None:
        builder = RecordBuilder()
        record.write(builder)
        self._put(builder.end())

    def _put(self, data: bytes) -> None:
        self._stream.write(data)
        self._at += len(data)

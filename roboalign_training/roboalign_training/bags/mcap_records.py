"""MCAP records as bytes; every length is checked against what is there before it is used.

Source: https://mcap.dev/spec
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
ATTACHMENT, ATTACHMENT_INDEX, STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET = range(9, 15)
DATA_END = 15

PREFIX = Struct("<BQ")  # opcode, length of what follows
MESSAGE_HEAD = Struct("<BQHIQQ")  # prefix, channel, sequence, log time, publish time
MESSAGE_BODY = Struct("<HIQQ")
MESSAGE_FIELDS = MESSAGE_BODY.size
INDEX_ENTRY = Struct("<QQ")  # log time, offset
INDEX_HEAD = Struct("<HI")  # channel, bytes of 16 a message
FOOTER_BYTES = PREFIX.size + 20
RECORD_LIMIT = 1 << 26
"""Most bytes of a record that is parsed whole: definitions and metadata."""

_CHUNK_HEAD = Struct("<QQQII")  # start, end, size, CRC, length of the compression's name
_CHUNK_INDEX = Struct("<QQQQI")
_STATISTICS = Struct("<QHIIIIQQI")
_FOOTER = Struct("<QQI")
_U16, _U32, _U64 = Struct("<H"), Struct("<I"), Struct("<Q")
_LONGEST_COMPRESSION = 16
HEAD_BYTES = PREFIX.size + _CHUNK_HEAD.size + _LONGEST_COMPRESSION + 8
"""What has to be read of any record to know its kind and where it ends."""


class McapRecordError(ValueError):
    """A record that is cut off or contradicts itself."""


@dataclass(frozen=True)
class Schema:
    """A type's definition: name, "ros2msg" or another encoding, bytes: of ROS 2 a text."""

    id: int
    name: str
    encoding: str
    data: bytes

    @property
    def text(self) -> str:
        """The definition as text; bytes that are none stand in comments."""
        return self.data.decode("utf-8", errors="replace")


@dataclass(frozen=True)
class McapChannel:
    """A topic within one file; schema 0 is none."""

    id: int
    schema: int
    topic: str
    encoding: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class McapChunk:
    """Where a chunk stands and what its header says.

    Attributes:
        at: Offset of its record.
        end: Offset of what follows it.
        start_ns, end_ns: Log times of its first and last message.
        size: Bytes when decompressed.
        crc: CRC-32 of these bytes; 0 for none.
        compression: "", "zstd" or "lz4".
        data_at, data_length: Where its content stands.
    """

    at: int
    end: int
    start_ns: int
    end_ns: int
    size: int
    crc: int
    compression: str
    data_at: int
    data_length: int


@dataclass(frozen=True)
class Statistics:
    """How many messages and chunks the file holds; messages by channel too, unless left empty."""

    messages: int
    chunks: int
    counts: dict[int, int]


class FileBytes:
    """A file's bytes by offset; asks for none that are not there.

    Attributes:
        size: Bytes of the file when it was opened.
    """

    _NEAR, _FAR = 1 << 18, 1 << 12

    def __init__(self, path: Path) -> None:
        self._stream = path.open("rb", buffering=0)
        self._descriptor = self._stream.fileno()
        self.size = os.fstat(self._descriptor).st_size
        self._window, self._window_at = b"", 0

    def __enter__(self) -> FileBytes:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def read(self, at: int, count: int) -> bytes:
        """Exactly `count` bytes.

        Raises:
            McapRecordError: When the file has less.
        """
        if at < 0 or count < 0 or at + count > self.size:
            raise McapRecordError(
                f"{count} bytes at byte {at} are expected, the file has {self.size}"
            )
        try:
            data = os.pread(self._descriptor, count, at)
            while len(data) < count:  # a read returns 2 GiB at most
                more = os.pread(self._descriptor, count - len(data), at + len(data))
                if not more:
                    raise McapRecordError(
                        f"the file became shorter while it was read, at byte {at}"
                    )
                data += more
        except OSError as error:
            raise McapRecordError(f"{count} bytes at byte {at} cannot be read: {error}") from error
        return data

    def peek(self, at: int, count: int) -> bytes:
        """Up to `count` bytes, at most 4096; consecutive small reads come from one large one."""
        offset = at - self._window_at
        if 0 <= offset and offset + count <= len(self._window):
            return self._window[offset : offset + count]
        window_end = self._window_at + len(self._window)
        near = 0 <= at - self._window_at and at - window_end < self._FAR
        length = min(self._NEAR if near else self._FAR, max(self.size - at, 0))
        self._window, self._window_at = self.read(at, length) if length else b"", at
        return self._window[:count]

    def crc(self, start: int, end: int) -> int:
        """CRC-32 of the bytes from `start` to `end`, read in blocks."""
        value = 0
        while start < end:
            block = self.read(start, min(1 << 20, end - start))
            value = zlib.crc32(block, value)
            start += len(block)
        return value


class _Fields:
    """Takes fields off the front of a record."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise McapRecordError(
                f"a field of {count} bytes, {len(self._data) - self._at} are left"
            )
        part, self._at = self._data[self._at : end], end
        return part

    def number(self, form: Struct) -> int:
        """The next number."""
        return form.unpack(self.take(form.size))[0]

    def bytes(self) -> bytes:
        """The next bytes, which their length precedes."""
        return self.take(self.number(_U32))

    def text(self) -> str:
        """The next text, which its length precedes."""
        try:
            return self.bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise McapRecordError(f"a text is no UTF-8: {error}") from error

    def entries(self) -> dict[str, str]:
        """The next map of keys and values; applications put any bytes there."""
        inner = _Fields(self.bytes())
        found = {}
        while inner._at < len(inner._data):
            key = inner.bytes().decode("utf-8", errors="replace")
            found[key] = inner.bytes().decode("utf-8", errors="replace")
        return found

    def finish(self) -> None:
        """Refuses a record with something behind its last field."""
        if self._at != len(self._data):
            raise McapRecordError(f"{len(self._data) - self._at} bytes behind the last field")


def parse_schema(data: bytes) -> Schema:
    """Reads a schema record."""
    fields = _Fields(data)
    number, name, encoding, data = (
        fields.number(_U16),
        fields.text(),
        fields.text(),
        fields.bytes(),
    )
    fields.finish()
    return Schema(number, name, encoding, data)


def parse_channel(data: bytes) -> McapChannel:
    """Reads a channel record."""
    fields = _Fields(data)
    number, schema = fields.number(_U16), fields.number(_U16)
    topic, encoding, metadata = fields.text(), fields.text(), fields.entries()
    fields.finish()
    return McapChannel(number, schema, topic, encoding, metadata)


def parse_metadata(data: bytes) -> tuple[str, dict[str, str]]:
    """Reads a metadata record: its name and its entries."""
    fields = _Fields(data)
    name, entries = fields.text(), fields.entries()
    fields.finish()
    return name, entries


def parse_chunk(head: bytes, at: int, length: int) -> McapChunk:
    """Reads the head of a chunk record.

    Args:
        head: The first HEAD_BYTES from `at` on, less at the end of a file.
        at: Offset of the record.
        length: Its length, by its prefix.
    """
    fields = _Fields(head[PREFIX.size :])
    start, end, size, crc, named = _CHUNK_HEAD.unpack(fields.take(_CHUNK_HEAD.size))
    if named > _LONGEST_COMPRESSION:
        raise McapRecordError(f"a chunk's compression has a name of {named} bytes")
    try:
        compression = fields.take(named).decode("ascii")
    except UnicodeDecodeError as error:
        raise McapRecordError("a chunk's compression is no text") from error
    data_length = fields.number(_U64)
    before = _CHUNK_HEAD.size + named + 8
    if before + data_length != length:
        raise McapRecordError(
            f"a chunk of {length} bytes says that {data_length} of them are data"
        )
    data_at = at + PREFIX.size + before
    following = data_at + data_length
    return McapChunk(at, following, start, end, size, crc, compression, data_at, data_length)


def parse_chunk_index(data: bytes) -> tuple[int, int, int, int, str, int, int]:
    """Reads a chunk index: start, end, offset and length of the record, compression, sizes."""
    fields = _Fields(data)
    start, end, at, length, offsets = _CHUNK_INDEX.unpack(fields.take(_CHUNK_INDEX.size))
    fields.take(offsets)
    fields.number(_U64)
    compression = fields.text()
    stored, size = fields.number(_U64), fields.number(_U64)
    fields.finish()
    return start, end, at, length, compression, stored, size


def parse_statistics(data: bytes) -> Statistics:
    """Reads a statistics record."""
    fields = _Fields(data)
    messages, _, _, _, _, chunks, _, _, size = _STATISTICS.unpack(fields.take(_STATISTICS.size))
    counts = dict(Struct("<HQ").iter_unpack(fields.take(size - size % 10)))
    fields.finish()
    return Statistics(messages, chunks, counts)


def parse_footer(data: bytes) -> tuple[int, int, int]:
    """Reads a footer's content: start of the summary (0: none), of its offsets, CRC (0: none)."""
    return _FOOTER.unpack(data)

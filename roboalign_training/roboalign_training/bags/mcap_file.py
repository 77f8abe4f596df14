"""One MCAP file: walked from record to record when opened, read chunk by chunk.

The walk does not rely on the summary, which only must not contradict it: so files without summary,
index or chunks are read like any other, and a summary that promises more than there is is found.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from roboalign_training.bags import mcap_records as mcap
from roboalign_training.bags.bagmeta import foreign_fault
from roboalign_training.bags.errors import RESCUE, BagError
from roboalign_training.bags.mcap_content import (
    ChunkSegment,
    LooseMessages,
    LooseSegment,
    mcap_weights,
    records,
)
from roboalign_training.bags.mcap_records import (
    FileBytes,
    McapChannel,
    McapChunk,
    McapRecordError,
    Schema,
    Statistics,
)
from roboalign_training.bags.storage import Segment, StoredTopic, Weights

_FORMS = {"ros2msg": "MSG", "ros2idl": "IDL"}
# What rosbag2 writes where it did not find the definition: Humble's plugin, and from Iron on.
_WITHOUT = ("", "unknown")


class McapFile:
    """One MCAP file whose structure was checked; see `storage.StorageFile`.

    Raises:
        BagError: When the file is cut off, damaged, contradicts itself, or holds what ROS 2 cannot
            decode.
    """

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self.source = path, source
        self.information = ""
        self._chunks: list[McapChunk] = []
        self._indexed: list[tuple[tuple[int, int], ...]] = []  # (channel, messages) of each chunk
        self._loose = LooseMessages(array("H"), array("Q"), array("Q"), array("Q"))
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, McapChannel] = {}
        self._statistics: Statistics | None = None
        try:
            with FileBytes(path) as data:
                self._open(data)
        except (McapRecordError, OSError, MemoryError) as error:
            raise BagError(source, f"is no complete MCAP file ({error}): {RESCUE}") from error
        self.topics = self._topics()

    def segments(self, wanted: Collection[str], times: tuple[int, int]) -> list[Segment]:
        """See `storage.StorageFile`."""
        names = {n: topic.name for n, topic in self.topics.items() if topic.name in wanted}
        found: list[Segment] = []
        for chunk, counts in zip(self._chunks, self._indexed, strict=True):
            expected = sum(count for channel, count in counts if channel in names)
            if expected and chunk.start_ns <= times[1] and chunk.end_ns >= times[0]:
                found.append(ChunkSegment(self.path, self.source, chunk, names, expected, times))
        if not names.keys().isdisjoint(self._loose.channels):
            found.append(LooseSegment(self.path, self.source, self._loose, names, times))
        return found

    def weights(self) -> Weights:
        """See `storage.StorageFile`."""
        return mcap_weights(self._chunks, self._loose)

    def verify(self) -> None:
        """Nothing is left to check: chunks are counted by their indexes, and these compared."""

    def _open(self, data: FileBytes) -> None:
        """Walks the file and compares what it says about itself."""
        footer_at = data.size - len(mcap.MAGIC) - mcap.FOOTER_BYTES
        if data.read(0, min(len(mcap.MAGIC), data.size)) != mcap.MAGIC:
            raise McapRecordError("it does not begin as one")
        end = data.read(footer_at, data.size - footer_at) if footer_at >= len(mcap.MAGIC) else b""
        if end[: mcap.PREFIX.size] != mcap.PREFIX.pack(mcap.FOOTER, 20) or not end.endswith(
            mcap.MAGIC
        ):
            raise McapRecordError("it has no footer: was its recorder stopped?")
        summary_at, _, crc = mcap.parse_footer(end[mcap.PREFIX.size : mcap.FOOTER_BYTES])
        summary_at = summary_at or footer_at
        if not len(mcap.MAGIC) < summary_at <= footer_at:
            raise McapRecordError(f"its footer puts the summary at byte {summary_at}")
        if crc and data.crc(summary_at, data.size - len(mcap.MAGIC) - 4) != crc:
            raise McapRecordError("its summary does not fit its CRC")
        self._walk(data, summary_at)
        self._summary(data, summary_at, footer_at)
        self._complete(data)

    def _walk(self, data: FileBytes, end: int) -> None:
        """Notes chunks, definitions and loose messages, up to the end of the data."""
        at, before = len(mcap.MAGIC), 0
        while at < end:
            head = data.peek(at, mcap.HEAD_BYTES)
            if len(head) < mcap.PREFIX.size:
                raise McapRecordError(f"the record at byte {at} is cut off")
            opcode, length = mcap.PREFIX.unpack_from(head)
            following = at + mcap.PREFIX.size + length
            if following > end:
                raise McapRecordError(f"the record at byte {at} would end at byte {following}")
            try:
                if opcode == mcap.DATA_END and length == 4:
                    if following != end:
                        raise McapRecordError(f"data end here, and a summary is at byte {end}")
                    self._check_data(data, at, int.from_bytes(head[9:13], "little"))
                    return
                self._note(data, head, at, opcode, length, before)
            except McapRecordError as error:
                raise McapRecordError(f"record at byte {at}: {error}") from error
            at, before = following, opcode

    def _check_data(self, data: FileBytes, end: int, crc: int) -> None:
        """Compares messages outside of chunks with the CRC of all data; chunks have their own."""
        if not crc or not self._loose.channels:
            return
        # Writers disagree on whether magic and header count.
        header = len(mcap.MAGIC) + mcap.PREFIX.unpack(data.read(len(mcap.MAGIC), 9))[1] + 9
        if all(data.crc(start, end) != crc for start in (0, len(mcap.MAGIC), header)):
            raise McapRecordError("its messages do not fit their CRC")

    def _note(self, data: FileBytes, head: bytes, at: int, opcode: int, length: int, before: int):
        """Takes in one record of the data section."""
        if before == 0:
            if opcode != mcap.HEADER:
                raise McapRecordError(f"opcode {opcode}, expected a header")
        elif opcode == mcap.MESSAGE_INDEX:
            channel, size = mcap.INDEX_HEAD.unpack_from(head, mcap.PREFIX.size)
            if before not in (mcap.CHUNK, mcap.MESSAGE_INDEX) or size != length - 6 or size % 16:
                raise McapRecordError(
                    "a message index that belongs to no chunk or has a wrong length"
                )
            self._indexed[-1] += ((channel, size // 16),)
        elif opcode == mcap.CHUNK:
            self._chunks.append(mcap.parse_chunk(head, at, length))
            self._indexed.append(())
        elif opcode == mcap.MESSAGE:
            if length < mcap.MESSAGE_FIELDS:
                raise McapRecordError(f"a message of {length} bytes")
            _, _, channel, _, log_ns, _ = mcap.MESSAGE_HEAD.unpack_from(head)
            self._loose.add(
                channel, log_ns, at + mcap.MESSAGE_HEAD.size, length - mcap.MESSAGE_FIELDS
            )
        elif opcode in (mcap.SCHEMA, mcap.CHANNEL, mcap.METADATA):
            if length > mcap.RECORD_LIMIT:
                raise McapRecordError(f"a definition of {length} bytes")
            self._define(opcode, data.read(at + mcap.PREFIX.size, length))
        elif opcode < 16 and opcode != mcap.ATTACHMENT:  # later kinds are to be passed over
            raise McapRecordError(f"opcode {opcode} is out of place")

    def _define(self, opcode: int, body: bytes) -> None:
        """Takes in a schema, channel or metadata record; the same one twice says the same."""
        if opcode == mcap.METADATA:
            name, entries = mcap.parse_metadata(body)
            if name == "rosbag2":
                self.information = entries.get("serialized_metadata", "")
            return
        known = self._schemas if opcode == mcap.SCHEMA else self._channels
        record = (mcap.parse_schema if opcode == mcap.SCHEMA else mcap.parse_channel)(body)
        if known.setdefault(record.id, record) != record:
            kind = "schema" if opcode == mcap.SCHEMA else "channel"
            raise McapRecordError(f"{kind} {record.id} is defined twice, and not alike")

    def _summary(self, data: FileBytes, at: int, end: int) -> None:
        """Reads the summary and compares it with what the walk found."""
        chunks = {c.at: (c.start_ns, c.end_ns, c.at, c.end - c.at, c.compression,
                         c.data_length, c.size) for c in self._chunks}  # fmt: skip
        listed = 0
        while at < end:
            head = data.read(at, min(mcap.PREFIX.size, end - at))
            opcode, length = mcap.PREFIX.unpack(head) if len(head) == mcap.PREFIX.size else (0, 0)
            if not opcode or length > min(mcap.RECORD_LIMIT, end - at - len(head)):
                raise McapRecordError(f"record at byte {at} of the summary is cut off or damaged")
            body = data.read(at + mcap.PREFIX.size, length)
            if opcode in (mcap.SCHEMA, mcap.CHANNEL):
                self._define(opcode, body)
            elif opcode == mcap.CHUNK_INDEX:
                index = mcap.parse_chunk_index(body)
                listed += 1
                if chunks.get(index[2]) != index:
                    raise McapRecordError(
                        f"its index and the chunk at byte {index[2]} do not agree"
                    )
            elif opcode == mcap.STATISTICS:
                self._statistics = mcap.parse_statistics(body)
            at += mcap.PREFIX.size + length
        if listed and listed != len(chunks):
            raise McapRecordError(f"its index lists {listed} chunks, it has {len(chunks)}")

    def _complete(self, data: FileBytes) -> None:
        """Counts messages and finds the definitions that only the chunks hold."""
        used = {channel for indexed in self._indexed for channel, _ in indexed}
        used.update(self._loose.channels)
        lacking = self._lacks_definitions(used)
        for number, chunk in enumerate(self._chunks):
            if self._indexed[number] and not lacking:
                continue
            counted: Counter[int] = Counter()
            for opcode, body in records(data, chunk):
                if opcode in (mcap.SCHEMA, mcap.CHANNEL):
                    self._define(opcode, bytes(body))
                elif opcode == mcap.MESSAGE:
                    counted[int.from_bytes(body[:2], "little")] += 1
            if self._indexed[number] and counted != Counter(dict(self._indexed[number])):
                raise McapRecordError(f"the chunk at byte {chunk.at} and its index do not agree")
            self._indexed[number] = tuple(counted.items())
            used.update(counted)
            lacking = self._lacks_definitions(used)
        counts: Counter[int] = Counter(self._loose.channels)
        times = [*self._loose.span()]
        for chunk, indexed in zip(self._chunks, self._indexed, strict=True):
            for channel, count in indexed:
                counts[channel] += count
            if any(count for _, count in indexed):
                times += [chunk.start_ns, chunk.end_ns]
        self.counts = dict(counts)
        self.span = (min(times), max(times)) if times else None
        if self._statistics is not None:
            self._compare(self._statistics, counts)

    def _lacks_definitions(self, used: set[int]) -> bool:
        """Whether a channel with messages is not defined yet, or the schema of any channel."""
        return not used <= self._channels.keys() or any(
            c.schema and c.schema not in self._schemas for c in self._channels.values()
        )

    def _compare(self, stated: Statistics, counts: Counter[int]) -> None:
        """Refuses a file whose statistics do not match its content."""
        found = counts.total()
        if (stated.messages, stated.chunks) != (found, len(self._chunks)):
            raise McapRecordError(
                f"its statistics promise {stated.messages} messages in {stated.chunks} chunks, "
                f"it has {found} in {len(self._chunks)}"
            )
        for channel, count in stated.counts.items():
            if count != counts[channel]:
                raise McapRecordError(
                    f"its statistics promise {count} messages of channel {channel}, "
                    f"it has {counts[channel]}"
                )

    def _topics(self) -> dict[int, StoredTopic]:
        """The channels as topics; those that ROS 2 cannot decode say why."""
        return {
            channel.id: stored_topic(channel, self._schemas.get(channel.schema))
            for channel in self._channels.values()
        }


def stored_topic(channel: McapChannel, schema: Schema | None) -> StoredTopic:
    """A channel and its schema, as a topic."""
    form = _FORMS.get(schema.encoding, "") if schema else ""
    written = bool(form and schema.data.strip())
    return StoredTopic(
        channel.topic,
        schema.name if schema else "",
        channel.encoding,
        form if written else "",
        schema.text if written else "",
        channel.metadata.get("topic_type_hash", ""),
        channel.metadata.get("offered_qos_profiles", ""),
        _foreign(channel, schema),
    )


def _foreign(channel: McapChannel, schema: Schema | None) -> str:
    """Why ROS 2 cannot decode a channel, or ""."""
    if channel.encoding != "cdr":
        told = f", schema encoding {schema.encoding!r}" if schema and schema.encoding else ""
        return f"message encoding {channel.encoding!r}{told}, expected 'cdr'"
    if schema is None:
        return "no schema, so its type is unknown"
    if schema.encoding not in _FORMS and schema.encoding not in _WITHOUT:
        return f"schema encoding {schema.encoding!r}, expected 'ros2msg' or 'ros2idl'"
    return foreign_fault(schema.name, channel.encoding)

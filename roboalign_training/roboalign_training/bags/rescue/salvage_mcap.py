"""What still reads of a damaged or unfinished MCAP file, record by record and without its index.

A record counts when it is consistent in itself and something consistent follows it; else the next
place is looked for at which that is so. A chunk that does not fit its CRC is passed over as a
whole: which of its messages are damaged cannot be told. Of a chunk that the end of the file cuts
off, what decompresses is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from roboalign_policy.core.keys import MCAP_BEGUN
from roboalign_training.bags import mcap_records as mcap
from roboalign_training.bags.losses import Loss
from roboalign_training.bags.mcap_content import content, split
from roboalign_training.bags.mcap_file import stored_topic
from roboalign_training.bags.mcap_records import (
    FileBytes,
    McapChannel,
    McapChunk,
    McapRecordError,
    Schema,
)
from roboalign_training.bags.rescue.mcap_sync import (
    PARSERS,
    UNSURE,
    check,
    checked_summary,
    cut_chunk,
    goes_on,
    has_checked_chunk,
    next_record,
)
from roboalign_training.bags.storage import StoredTopic
from roboalign_training.bags.unpacking import unpack_start

Row = tuple[int, int, int, bytes]
"""McapChannel or number of the topic, log time in ns, publish time in ns, data."""


LEAST_DISORDER_NS = 100_000_000
"""ns; by so much messages may stand out of order at least."""


class McapSalvage:
    """The messages of one MCAP file that still read.

    Attributes:
        name: The file's, for the report.
        size: Bytes of the file.
        topics: By channel; complete when `messages` was read to its end once.
        foreign: As `topics`, of those that ROS 2 does not have.
        sure: The channels whose definition a CRC vouches for.
        promised: Messages by channel, by the file's statistics; None where these are lost.
        information: The metadata of the bag as the file repeats it (YAML), or "".
        begun: Custom data that our recorder knew when it began the file.
        losses: What did not read, of the last time that `messages` was read.
        first, last: ns; first and last log time of what reads first, and last. None before that.
    """

    def __init__(self, path: Path, name: str, on_bytes: Callable[[int], None]) -> None:
        self.name = name
        self.topics: dict[int, StoredTopic] = {}
        self.foreign: dict[int, StoredTopic] = {}
        self.sure: set[int] = set()
        self.promised: dict[int, int] | None = None
        self.information = ""
        self.begun: dict[str, str] = {}
        self.losses: list[Loss] = []
        self.first: tuple[int, int] | None = None
        self.size = path.stat().st_size
        self._path, self._on_bytes = path, on_bytes
        # Definitions, and whether a CRC vouches for them.
        self._schemas: dict[int, tuple[Schema, bool]] = {}
        self._channels: dict[int, tuple[McapChannel, bool]] = {}
        self.last: tuple[int, int] | None = None
        self._open: list[int] = []  # losses after which nothing was read yet
        self._missing: dict[int, Counter[int]] = {}  # messages lost by channel, by loss
        self._claims: dict[
            int, tuple[int, int]
        ] = {}  # ns; first and last by a lost chunk's header
        self._indexed: dict[int, tuple[int, int]] = {}  # ns; the same by its index
        self._newest = self._longest = 0  # ns; latest time, most time from a chunk's first to last
        self._checked: bool | None = None  # whether chunks with CRCs hold the messages
        self._summary_at = 0  # from here on a CRC vouches for definitions
        self._adrift = False  # whether nothing but messages was found since the last damage

    def messages(self) -> Iterator[Row]:
        """Yields the messages in the order of the file."""
        self.losses, self.last, self._open, self._missing = [], None, [], {}
        self._claims, self._indexed, self._newest, self._longest = {}, {}, 0, LEAST_DISORDER_NS
        finished = cut = self._adrift = False
        with FileBytes(self._path) as data:
            if self._checked is None:
                self._checked = has_checked_chunk(data)
                self._summary_at = checked_summary(data)
            at = len(mcap.MAGIC)
            if data.peek(0, at) != mcap.MAGIC:
                at = next_record(data, 0, False, self._on_bytes)
                self._lose(0, at, "it does not begin as an MCAP file")
            while at < data.size and not cut:
                self._on_bytes(at)
                if finished and data.size - at <= len(mcap.MAGIC):
                    break
                try:
                    opcode, end = check(data, at)
                    if opcode in UNSURE and not goes_on(data, end):
                        raise McapRecordError(f"nothing follows the record of opcode {opcode}")
                    if opcode == mcap.MESSAGE and self._adrift and self._checked:
                        raise McapRecordError("messages of a chunk that is damaged")
                except McapRecordError as error:
                    chunk = cut_chunk(data, at)
                    if chunk is not None:
                        found = self._beginning(data, chunk)
                        yield from self._seen(found)
                        cause = f"the file ends within a chunk; {len(found)} of its messages read"
                        self._lose(at, data.size - at, cause)
                        cut = True
                    else:
                        following = next_record(data, at + 1, self._checked, self._on_bytes)
                        cut = following == data.size
                        self._lose(at, following - at, str(error))
                        at, finished, self._adrift = following, False, True
                    continue
                yield from self._record(data, opcode, at, end)
                at, finished = end, finished or opcode == mcap.FOOTER
            self._on_bytes(data.size)
            if not finished and not cut:
                self._lose(data.size, 0, "it has no footer: its recorder was stopped")
        self._finish()

    def _record(self, data: FileBytes, opcode: int, at: int, end: int) -> Iterator[Row]:
        """Takes in one record that is consistent; yields its messages."""
        if opcode not in (mcap.MESSAGE, mcap.SCHEMA, mcap.CHANNEL):  # these are within chunks too
            self._adrift = False
        if opcode == mcap.CHUNK:
            chunk = mcap.parse_chunk(data.peek(at, mcap.HEAD_BYTES), at, end - at - 9)
            found, fault = self._chunk(data, chunk)
            yield from self._seen(found)
            if fault:
                self._lose(at, end - at, fault)
                self._claims[len(self.losses) - 1] = (chunk.start_ns, chunk.end_ns)
        elif opcode == mcap.MESSAGE:
            yield from self._seen([_message(data.read(at + 9, end - at - 9))])
        elif opcode == mcap.MESSAGE_INDEX and self._open:
            self._lost_index(self._open[-1], data.read(at + 9, end - at - 9))
        elif opcode in PARSERS:
            self._define(opcode, data.read(at + 9, end - at - 9), sure=at >= self._summary_at)

    def _lost_index(self, number: int, index: bytes) -> None:
        """Reads the message index after a lost chunk.

        Counts and times of the messages that were lost.
        """
        channel, size = mcap.INDEX_HEAD.unpack_from(index)
        self._missing.setdefault(number, Counter())[channel] += size // 16
        times = [ns for ns, _ in mcap.INDEX_ENTRY.iter_unpack(index[mcap.INDEX_HEAD.size :])]
        if times:
            first, last = self._indexed.get(number, (times[0], times[0]))
            self._indexed[number] = (min(first, *times), max(last, *times))

    def _chunk(self, data: FileBytes, chunk: McapChunk) -> tuple[list[Row], str]:
        """The messages of a chunk, and what is wrong with it or ""."""
        found: list[Row] = []
        try:
            for opcode, body in split(content(data, chunk)):
                if opcode == mcap.MESSAGE:
                    found.append(_message(body))
                elif opcode in (mcap.SCHEMA, mcap.CHANNEL):
                    self._define(opcode, bytes(body), sure=chunk.crc != 0)
        except (McapRecordError, MemoryError) as error:
            return found, f"the chunk {error}"
        return found, ""

    def _beginning(self, data: FileBytes, chunk: McapChunk) -> list[Row]:
        """The messages at the beginning of a chunk that the file's end cuts off."""
        stored = data.read(chunk.data_at, data.size - chunk.data_at)
        found: list[Row] = []
        try:
            for opcode, body in split(unpack_start(stored, chunk.compression, chunk.size)):
                if opcode == mcap.MESSAGE:
                    found.append(_message(body))
                elif opcode in (mcap.SCHEMA, mcap.CHANNEL):
                    self._define(opcode, bytes(body), sure=False)
        except McapRecordError:
            pass  # the record within which it is cut off
        return found

    def _seen(self, found: list[Row]) -> list[Row]:
        """Notes the time of messages that read, and gives them back."""
        if found:
            times = [row[1] for row in found]
            self.last = (min(times), max(times))
            self.first = self.first or self.last
            self._newest = max(self._newest, self.last[1])
            self._longest = max(self._longest, self.last[1] - self.last[0])
            for number in self._open:
                self.losses[number] = replace(self.losses[number], end_ns=self.last[1])
            self._open = []
        return found

    def _lose(self, at: int, size: int, cause: str) -> None:
        """Notes a part that does not read."""
        self.losses.append(Loss(self.name, at, size, cause, self._newest or None))
        self._open.append(len(self.losses) - 1)

    def _define(self, opcode: int, body: bytes, sure: bool) -> None:
        """Takes in a definition; one that a CRC vouches for replaces another."""
        try:
            record = PARSERS[opcode](body)
        except McapRecordError:
            return  # within a chunk without CRC
        if opcode == mcap.METADATA:
            name, entries = record
            if name == MCAP_BEGUN:
                self.begun = dict(entries)
            elif name == "rosbag2":
                self.information = entries.get("serialized_metadata", self.information)
        elif opcode == mcap.STATISTICS:
            self.promised = record.counts or None
        elif opcode in (mcap.SCHEMA, mcap.CHANNEL):
            known = self._schemas if opcode == mcap.SCHEMA else self._channels
            if record.id not in known or (sure and not known[record.id][1]):
                known[record.id] = (record, sure)

    def _finish(self) -> None:
        """Joins channels and schemas, and gives the losses the names of their topics."""
        for number, (channel, sure) in self._channels.items():
            schema, vouched = self._schemas.get(channel.schema, (None, False))
            topic = stored_topic(channel, schema)
            if topic.foreign and (schema or not channel.schema or channel.encoding != "cdr"):
                self.foreign[number] = topic
            elif not topic.foreign:
                self.topics[number] = topic
                if sure and vouched:
                    self.sure.add(number)
        for number, counts in self._missing.items():
            named: Counter[str] = Counter()
            for channel, count in counts.items():
                topic = self.topics.get(channel)
                named[topic.name if topic else f"channel {channel}"] += count
            self.losses[number] = replace(self.losses[number], messages=dict(named))
        for number, loss in enumerate(self.losses):
            self.losses[number] = self._bounded(number, loss)

    def _bounded(self, number: int, loss: Loss) -> Loss:
        """A loss with the times that hold for certain.

        Where header and index of a lost chunk agree, they are taken at their word. Else chunks may
        lie over each other by as much time as the longest of them takes.
        """
        claim = self._claims.get(number)
        if claim is not None and claim == self._indexed.get(number):
            return replace(loss, start_ns=claim[0], end_ns=claim[1])
        start, end = loss.start_ns, loss.end_ns
        return replace(
            loss,
            start_ns=None if start is None else max(start - self._longest, 0),
            end_ns=None if end is None else end + self._longest,
        )


def _message(body: bytes | memoryview) -> Row:
    """(channel, log time, publish time, data) of a message record."""
    channel, _, log_ns, publish_ns = mcap.MESSAGE_BODY.unpack_from(body)
    return channel, log_ns, publish_ns, bytes(body[mcap.MESSAGE_FIELDS :])

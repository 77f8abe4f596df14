"""Reads rosbag2 recordings without ROS: every promised message, or an error with the true reason.

`rosbags` reads each storage file and decodes CDR. The folder's `metadata.yaml` is compared with
the files here: `rosbags` itself matches topics by their QoS text too, and where the two differ in
a detail it yields nothing without a word.
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from rosbags.serde import SerdeError
from rosbags.typesys.store import Typestore

from roboalign_training.data.bagmeta import SUFFIXES, BagMetadata, load_metadata, type_name_fault
from roboalign_training.data.errors import BagError
from roboalign_training.data.storage import check_mcap, guarded, open_storage, plain_files
from roboalign_training.data.typestores import store_for


class Message(NamedTuple):
    """One decoded message: topic as recorded, receive (log) time in ns, the message object."""

    topic: str
    receive_ns: int
    message: Any


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: As recorded.
        type: ROS 2 type name.
        count: Messages the bag holds.
        fault: Why its messages cannot be decoded, or None.
    """

    name: str
    type: str
    count: int
    fault: str | None = None


class Bag:
    """A rosbag2 recording whose structure was checked; made by `read_bag`.

    Attributes:
        path: What was asked for: a folder, or one storage file.
        files: The storage files in recording order.
        topics: By name; topics without a message are included.
        start_ns, end_ns: Receive time of the first and of the last message.
        custom: Custom data of the metadata, empty where there is none.
    """

    def __init__(
        self,
        path: Path,
        files: tuple[Path, ...],
        compression: str,
        topics: dict[str, Topic],
        span_ns: tuple[int, int],
        custom: dict[str, str],
        stores: dict[str, Typestore],
    ) -> None:
        self.path = path
        self.files = files
        self.topics = topics
        self.start_ns, self.end_ns = span_ns
        self.custom = custom
        self._compression = compression
        self._stores = stores

    @property
    def message_count(self) -> int:
        """Messages over all topics."""
        return sum(topic.count for topic in self.topics.values())

    @property
    def duration_s(self) -> float:
        """Time from the first to the last message, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over metadata and storage files: the identity of the recording."""
        digest = hashlib.sha256()
        metadata = self.path / "metadata.yaml"
        for file in ((metadata,) if metadata.is_file() else ()) + self.files:
            digest.update(file.name.encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        return digest.hexdigest()

    def raw_messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Yields messages as CDR bytes in order of receive time.

        Args:
            topics: Names as recorded; None for all.

        Yields:
            `Message` with `bytes`.

        Raises:
            BagError: When the storage is damaged, or, after the last message, when a topic
                yielded another number of messages than the bag promises.
        """
        wanted = set(self.topics if topics is None else topics)
        if unknown := wanted - self.topics.keys():
            raise BagError(self.path, f"no topic {', '.join(sorted(unknown))}; {self._has()}")
        seen: Counter[str] = Counter()
        with contextlib.ExitStack() as stack:
            streams = []
            plain = stack.enter_context(plain_files(self.files, self._compression))
            for file, source in zip(plain, self.files, strict=True):
                reader = stack.enter_context(open_storage(file, source))
                # An empty list of connections would mean "all of them" to rosbags.
                if chosen := [c for c in reader.connections if c.topic in wanted]:
                    streams.append(guarded(self._payloads(reader.messages(chosen)), source))
            for message in heapq.merge(*streams, key=lambda message: message.receive_ns):
                seen[message.topic] += 1
                yield message
        for name in sorted(wanted):
            if seen[name] != self.topics[name].count:
                promised = self.topics[name].count
                raise BagError(
                    self.path, f"topic {name}: {seen[name]} of {promised} messages read"
                )

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """Yields decoded messages in order of receive time.

        Args:
            topics: Names as recorded; None for all that can be decoded.

        Yields:
            `Message` with an object whose attributes are the message's fields; arrays are numpy.

        Raises:
            BagError: As `raw_messages`, and for a topic or message that cannot be decoded.
        """
        if topics is None:
            topics = [t.name for t in self.topics.values() if t.fault is None]
        for name in topics:
            if name in self.topics and (fault := self.topics[name].fault):
                raise BagError(self.path, f"topic {name}: {fault}")
        for index, (name, stamp, data) in enumerate(self.raw_messages(topics)):
            kind = self.topics[name].type
            try:
                message = self._stores[kind].deserialize_cdr(data, kind)
            except (SerdeError, AssertionError, IndexError) as error:
                raise BagError(
                    self.path, f"topic {name}: message {index} does not decode as {kind}: {error}"
                ) from error
            yield Message(name, stamp, message)

    def _payloads(self, items: Iterator[tuple]) -> Iterator[Message]:
        """Messages of one file, decompressed where each one was compressed by itself."""
        unzip = zstandard.ZstdDecompressor() if self._compression == "message" else None
        for connection, stamp, data in items:
            payload = unzip.decompressobj().decompress(data) if unzip else data
            yield Message(connection.topic, stamp, payload)

    def _has(self) -> str:
        return "it has " + (", ".join(sorted(self.topics)) or "no topics")


def read_bag(path: str | Path) -> Bag:
    """Opens a recording and checks that storage and metadata tell the same story.

    Args:
        path: A bag folder, a `.mcap` or a `.db3` file, or a folder with exactly one such file
            and no `metadata.yaml`.

    Returns:
        The bag; its messages are read when asked for.

    Raises:
        BagError: Naming file and cause: no bag, a file missing or truncated, an encoding,
            compression or type name that ROS 2 does not have, counts that disagree, no message.
    """
    path = Path(path)
    metadata = None
    compression = ""
    if path.is_dir():
        if (path / "metadata.yaml").exists():
            metadata = load_metadata(path)
            files, compression = metadata.files, metadata.compression
        else:
            files = _only_file(path)
    elif path.suffix in SUFFIXES.values() and path.is_file():
        files = (path,)
    elif not path.exists():
        raise BagError(path, "does not exist")
    else:
        raise BagError(path, "is no bag: expected a folder, a .mcap or a .db3 file")
    connections, faults, spans, custom = [], [], [], {}
    with plain_files(files, compression) as plain:
        for file, source in zip(plain, files, strict=True):
            if file.suffix == ".mcap":
                check_mcap(file, source)
            with open_storage(file, source) as reader:
                connections += list(reader.connections)
                orphans = reader.message_count - sum(c.msgcount for c in reader.connections)
                if orphans:
                    faults.append(f"{source.name}: {orphans} messages belong to no topic")
                if reader.message_count:
                    spans.append((reader.start_time, reader.end_time - 1))
                custom.update(reader.storage.metadata.custom or {})
    topics, stores = _topics(connections, faults)
    if metadata is not None:
        faults += _disagreements(metadata, topics)
        custom = metadata.custom
    if faults:
        raise BagError(path, "; ".join(dict.fromkeys(faults)))
    if not spans:
        listed = ", ".join(sorted(topics))
        raise BagError(
            path, "holds no message" + (f" on any of its topics ({listed})" if listed else "")
        )
    span = (min(s for s, _ in spans), max(e for _, e in spans))
    return Bag(path, files, compression, topics, span, dict(custom), stores)


def _only_file(folder: Path) -> tuple[Path, ...]:
    """The one storage file of a folder without metadata."""
    found = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES.values())
    if len(found) == 1:
        return (found[0],)
    if not found:
        raise BagError(folder, "is no bag: no metadata.yaml and no .mcap or .db3 file in it")
    raise BagError(
        folder,
        f"metadata.yaml is missing, and with it the order and number of its {len(found)} files: "
        f"run `ros2 bag reindex {folder.name}`, or name one file",
    )


def _topics(connections: list, faults: list[str]) -> tuple[dict[str, Topic], dict[str, Typestore]]:
    """Merges the connections of all files into topics and finds the types that decode them."""
    definitions = frozenset(
        (c.msgtype, c.msgdef.format.name, c.msgdef.data)
        for c in connections
        if c.msgdef.data.strip()
    )
    stores: dict[str, Typestore] = {}
    topics: dict[str, Topic] = {}
    for c in connections:
        if fault := type_name_fault(c.msgtype):
            faults.append(f"topic {c.topic}: {fault}")
            continue
        if c.ext.serialization_format != "cdr":
            faults.append(
                f"topic {c.topic}: encoding {c.ext.serialization_format!r}, expected 'cdr'"
            )
        known = topics.get(c.topic)
        if known and known.type != c.msgtype:
            faults.append(f"topic {c.topic}: has two types, {known.type} and {c.msgtype}")
        store, fault = store_for(c.msgtype, definitions, c.digest)
        if store is not None:
            stores[c.msgtype] = store
        count = c.msgcount + (known.count if known else 0)
        topics[c.topic] = Topic(c.topic, c.msgtype, count, fault)
    return topics, stores


def _disagreements(metadata: BagMetadata, topics: dict[str, Topic]) -> list[str]:
    """What the metadata promises and the storage does not hold."""
    faults = []
    for record in metadata.topics:
        topic = topics.get(record.name)
        if topic is None:
            if record.count:
                faults.append(
                    f"topic {record.name}: metadata promises {record.count}, storage has none"
                )
        elif topic.type != record.type:
            faults.append(
                f"topic {record.name}: metadata says type {record.type}, storage says {topic.type}"
            )
        elif topic.count != record.count:
            faults.append(
                f"topic {record.name}: metadata promises {record.count} messages, "
                f"storage holds {topic.count}"
            )
    return faults

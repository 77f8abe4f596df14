"""Reads rosbag2 recordings without ROS: every promised message, or an error with the true reason.

MCAP and SQLite files are read here, record by record, because the readers at hand trust what a
file says about its sizes, hold unbounded parts of it, or yield nothing without a word where
details differ. `rosbags` knows the message types and decodes CDR.
"""

from __future__ import annotations

import hashlib
import struct
import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys.store import Typestore

from roboalign_training.data.bag_checks import (
    Topic,
    disagreements,
    first_compression,
    join_topics,
    plain_files,
    remove,
    repeated_metadata,
)
from roboalign_training.data.bagmeta import BagMetadata, load_metadata
from roboalign_training.data.cdr_layout import Layouts
from roboalign_training.data.errors import BagError
from roboalign_training.data.folders import only_recording, storage_of
from roboalign_training.data.mcap_file import McapFile
from roboalign_training.data.merging import merged
from roboalign_training.data.sqlite_file import SqliteFile
from roboalign_training.data.storage import ALL_TIMES, Message, StorageFile
from roboalign_training.data.unpacking import UnpackError, unpack_message

__all__ = ["Bag", "Message", "Topic", "read_bag"]

# What a message that is none makes the generated decoders raise.
_DECODE_FAULTS = (
    *(SerdeError, struct.error, ValueError, TypeError, LookupError),
    *(AssertionError, ArithmeticError, RecursionError, MemoryError),
)


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
        opened: Sequence[StorageFile],
        compression: str,
        topics: dict[str, Topic],
        custom: dict[str, str],
        stores: dict[str, Typestore],
    ) -> None:
        self.path = path
        self.files = files
        self.topics = topics
        self.start_ns = min(file.span[0] for file in opened if file.span)
        self.end_ns = max(file.span[1] for file in opened if file.span)
        self.custom = custom
        self._opened = opened
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

    def raw_messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[Message]:
        """Yields messages as CDR bytes in order of receive time.

        Memory holds a chunk at a time, and those that lie over it in time; parts of the bag
        without a wanted message are not read.

        Args:
            topics: Names as recorded; None for all.
            start_ns: Receive time of the earliest message wanted; None for the first.
            end_ns: As `start_ns`, of the latest.

        Yields:
            `Message` with `bytes`.

        Raises:
            BagError: When the storage is damaged, or, after the last message, when a topic
                yielded another number of messages than the bag promises (asked for a part, each
                chunk of it is compared with its own promise).
        """
        wanted = frozenset(self.topics if topics is None else topics)
        if unknown := wanted - self.topics.keys():
            raise BagError(self.path, f"no topic {', '.join(sorted(unknown))}; {self._has()}")
        times = (
            ALL_TIMES[0] if start_ns is None else start_ns,
            ALL_TIMES[1] if end_ns is None else end_ns,
        )
        stream = merged([s for file in self._opened for s in file.segments(wanted, times)])
        if self._compression == "message":
            stream = self._unpacked(stream)
        seen: Counter[str] = Counter()
        for message in stream:
            seen[message.topic] += 1
            yield message
        if times != ALL_TIMES:
            return
        for name in sorted(wanted):
            if seen[name] != self.topics[name].count:
                promised = self.topics[name].count
                raise BagError(
                    self.path, f"topic {name}: {seen[name]} of {promised} messages read"
                )

    def messages(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[Message]:
        """Yields decoded messages in order of receive time.

        Args:
            topics: Names as recorded; None for all that can be decoded.
            start_ns: As in `raw_messages`.
            end_ns: As in `raw_messages`.

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
        stream = self.raw_messages(topics, start_ns=start_ns, end_ns=end_ns)
        for index, (name, stamp, data) in enumerate(stream):
            try:
                message = self.decode(name, data)
            except BagError as error:
                cause = f"topic {name}: message {index} {error.cause}"
                raise BagError(self.path, cause) from error
            yield Message(name, stamp, message)

    def decode(self, topic: str, data: bytes) -> Any:
        """Decodes one message, as from `raw_messages`.

        Raises:
            BagError: When it is no message of the topic's type.
        """
        kind = self.topics[topic].type
        try:
            return self._stores[kind].deserialize_cdr(data, kind)
        except _DECODE_FAULTS as error:
            raise BagError(self.path, f"does not decode as {kind}: {error}") from error

    def layouts(self, topic: str) -> Layouts:
        """The ways in which the messages of a topic are built: to read them without decoding."""
        kind = self.topics[topic].type
        return Layouts(self._stores[kind], kind, lambda data: self.decode(topic, data))

    def _unpacked(self, messages: Iterator[Message]) -> Iterator[Message]:
        """The messages of a bag in which each one was compressed by itself."""
        for topic, stamp, data in messages:
            try:
                yield Message(topic, stamp, unpack_message(data))
            except UnpackError as error:
                cause = f"topic {topic}: message at {stamp} ns {error}"
                raise BagError(self.path, cause) from error

    def _has(self) -> str:
        return "it has " + (", ".join(sorted(self.topics)) or "no topics")


def read_bag(path: str | Path) -> Bag:
    """Opens a recording and checks that storage and metadata tell the same story.

    Args:
        path: A bag folder, a `.mcap` or a `.db3` file (compressed ones end in `.zstd` too), or a
            folder with the files of one recording and no `metadata.yaml`. Nothing is written
            there.

    Returns:
        The bag; its messages are read when asked for.

    Raises:
        BagError: Naming file and cause: no bag, a file missing, cut off or damaged, an encoding,
            compression or type name that ROS 2 does not have, counts that disagree, no message.
    """
    path = Path(path)
    metadata = None
    if path.is_dir():
        if (path / "metadata.yaml").exists():
            metadata = load_metadata(path)
        files = metadata.files if metadata else only_recording(path)
    elif path.is_file() and storage_of(path):
        files = (path,)
    elif not path.exists():
        raise BagError(path, "does not exist")
    else:
        raise BagError(path, "is no bag: expected a folder, a .mcap or a .db3 file")
    plain, folder = plain_files(files, metadata)
    try:
        bag = _opened_bag(path, files, plain, metadata)
    except BaseException:
        remove(folder)
        raise
    if folder:
        weakref.finalize(bag, remove, folder)
    return bag


def _opened_bag(
    path: Path, files: tuple[Path, ...], plain: list[Path], metadata: BagMetadata | None
) -> Bag:
    """Opens the files of a bag, as decompressed, and compares them with its metadata."""
    opened: list[StorageFile] = []
    for file, source in zip(plain, files, strict=True):
        storage = metadata.storage if metadata else storage_of(source)
        opened.append(McapFile(file, source) if storage == "mcap" else SqliteFile(file, source))
    topics, stores, faults = join_topics(opened)
    if metadata is not None:
        faults += disagreements(metadata, topics)
    if faults:
        raise BagError(path, "; ".join(dict.fromkeys(faults)))
    if not any(file.span for file in opened):
        listed = ", ".join(sorted(topics))
        raise BagError(
            path, "holds no message" + (f" on any of its topics ({listed})" if listed else "")
        )
    if metadata is None:
        for file in opened:
            file.verify()
    if metadata is not None and metadata.custom:
        compression, custom = metadata.compression, metadata.custom
    else:  # `ros2 bag reindex` drops custom data that the files repeat
        compression, custom = repeated_metadata(opened)
        if metadata is not None:
            compression = metadata.compression
        compression = compression or ("" if metadata else first_compression(opened))
    return Bag(path, files, opened, compression, topics, custom, stores)

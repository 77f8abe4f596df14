"""A rosbag2 recording that was opened: its messages in order of time, as bytes or decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys.store import Typestore

from roboalign_training.bags.bag_checks import Topic
from roboalign_training.bags.cdr import DecodeError, decode_cdr
from roboalign_training.bags.cdr_layout import Layouts
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.merging import OPEN_BYTES, merged
from roboalign_training.bags.storage import ALL_TIMES, Message, StorageFile, Weights
from roboalign_training.bags.unpacking import UnpackError, unpack_message


class Bag:
    """A rosbag2 recording whose structure was checked; made by `bags.read_bag`.

    Attributes:
        path: What was asked for: a folder, or one storage file.
        files: The storage files in recording order.
        topics: By name; topics without a message are included.
        start_ns, end_ns: Receive time of the first and of the last message.
        custom: Custom data of the metadata, empty where there is none.
        open_bytes: Most bytes of chunks that lie over each other in time and are held in memory.
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
        self.open_bytes = OPEN_BYTES
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

    def foreign_topics(self) -> dict[str, str]:
        """The topics that ROS 2 does not have, and why: no command reads them."""
        return {t.name: t.fault for t in self.topics.values() if t.foreign}

    def undecodable(self) -> dict[str, str]:
        """Why the first message of a topic does not decode, by topic; of those that should."""
        found = {}
        for topic in self.topics.values():
            if topic.count and not topic.fault:
                try:
                    next(self.messages([topic.name]))
                except BagError as error:
                    found[topic.name] = error.cause.removeprefix(f"topic {topic.name}: ")
        return found

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
        stream = self._merged(wanted, times)
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

    def raw_messages_at(self, topics: Collection[str], times_ns: np.ndarray) -> Iterator[Message]:
        """Yields, as `raw_messages`, the messages received at some times, and others near them.

        Chunks in which none of these times lies are not read.

        Args:
            topics: Names as recorded.
            times_ns: (N,) int64, ns, rising; at least one.

        Raises:
            BagError: When the storage is damaged.
        """
        yield from self._merged(frozenset(topics), (int(times_ns[0]), int(times_ns[-1])), times_ns)

    def _merged(
        self,
        topics: frozenset[str],
        times: tuple[int, int],
        wanted_ns: np.ndarray | None = None,
    ) -> Iterator[Message]:
        """The messages of all parts of the storage in which something wanted lies."""
        parts = [s for file in self._opened for s in file.segments(topics, times)]
        if wanted_ns is not None:
            parts = [
                s
                for s in parts
                if np.searchsorted(wanted_ns, s.start_ns)
                < np.searchsorted(wanted_ns, s.end_ns, side="right")
            ]
        stream = merged(parts, self.open_bytes)
        return self._unpacked(stream) if self._compression == "message" else stream

    @property
    def plain_files(self) -> tuple[Path, ...]:
        """The files that are read: the bag's own, or where they were decompressed to."""
        return tuple(file.path for file in self._opened)

    @cached_property
    def file_bytes(self) -> int:
        """Bytes of its files, as they lie there."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def weights(self) -> Weights:
        """How the bytes of its messages spread over time."""
        found = [file.weights() for file in self._opened]
        times = np.concatenate([w.times_ns for w in found])
        order = np.argsort(times, kind="stable")
        sizes = np.concatenate([w.sizes for w in found])[order]
        return Weights(times[order], sizes, max(w.largest for w in found))

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
            return decode_cdr(self._stores[kind], kind, data)
        except DecodeError as error:
            raise BagError(self.path, str(error)) from error

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

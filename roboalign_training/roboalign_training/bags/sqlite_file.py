"""One SQLite file of rosbag2: opened without locks or side files, read in order of time.

SQLite finds a damaged page only when it looks at it, and has no checksums: a flipped bit within a
message cannot be seen by anybody.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from roboalign_training.bags.bagmeta import foreign_fault
from roboalign_training.bags.errors import RESCUE, BagError
from roboalign_training.bags.storage import ALL_TIMES, Message, Segment, StoredTopic, Weights

SIDE_FILES = ("-wal", "-journal")
"""What a recorder that did not finish leaves beside the file: changes that belong into it."""
FAULTS = (sqlite3.Error, sqlite3.Warning, ValueError, TypeError, OverflowError, MemoryError)
"""What reading a damaged file raises."""
_MAGIC = b"SQLite format 3\0"
_FORMS = {"ros2msg": "MSG", "ros2idl": "IDL"}
_LATEST = 2**63 - 1


class SqliteFile:
    """One SQLite file whose structure was checked; see `storage.StorageFile`.

    Raises:
        BagError: When it is damaged, unfinished or no recording, or holds what ROS 2 cannot
            decode.
    """

    def __init__(self, path: Path, source: Path) -> None:
        self.path, self.source = path, source
        self._check_whole()
        with self._connected() as database:
            self.topics = read_topics(database)
            self.information = read_information(database)
            rows = database.execute(
                "SELECT topic_id, count(*), min(timestamp), max(timestamp) "
                "FROM messages NOT INDEXED GROUP BY topic_id"
            ).fetchall()
            if any(not isinstance(value, int) or value < 0 for row in rows for value in row):
                raise ValueError("a time or a topic is no number")
        self.counts = {topic: count for topic, count, _, _ in rows}
        self.span = (min(r[2] for r in rows), max(r[3] for r in rows)) if rows else None

    def segments(self, wanted: Collection[str], times: tuple[int, int]) -> list[Segment]:
        """See `storage.StorageFile`."""
        names = {
            number: topic.name
            for number, topic in self.topics.items()
            if topic.name in wanted and self.counts.get(number)
        }
        if not names or self.span is None or self.span[0] > times[1] or self.span[1] < times[0]:
            return []
        return [SqliteSegment(self.path, self.source, names, self.span, times, self._ordered)]

    @cached_property
    def _ordered(self) -> bool:
        """Whether rows stand in order of time, whatever their topic."""
        with self._connected() as database:
            stamps = database.execute("SELECT timestamp FROM messages NOT INDEXED ORDER BY id")
            return all(before[0] <= after[0] for before, after in pairwise(stamps))

    def weights(self) -> Weights:
        """See `storage.StorageFile`."""
        with self._connected() as database:
            rows = database.execute(
                "SELECT timestamp / 1000000000, sum(length(data)), max(length(data)) "
                "FROM messages NOT INDEXED GROUP BY 1 ORDER BY 1"
            ).fetchall()
        table = np.array(rows, np.int64).reshape(-1, 3)
        return Weights(table[:, 0] * 1_000_000_000, table[:, 1], int(table[:, 2].max(initial=0)))

    def verify(self) -> None:
        """See `storage.StorageFile`; reads the whole file."""
        with self._connected() as database:
            found = [str(row[0]) for row in database.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                raise ValueError("; ".join(" ".join(text.split()) for text in found))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection that writes nothing; whatever SQLite finds becomes a BagError."""
        try:
            with contextlib.closing(connect(self.path)) as database:
                yield database
        except BagError:
            raise
        except FAULTS as error:
            raise BagError(self.source, f"is damaged: {error}: {RESCUE}") from error

    def _check_whole(self) -> None:
        """Refuses what is cut off, and what its recorder did not finish."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as stream:
                head = stream.read(100)
            beside = [self.source.with_name(self.source.name + ending) for ending in SIDE_FILES]
            unfinished = [p.name for p in beside if p.is_file() and p.stat().st_size]
        except OSError as error:
            raise BagError(self.source, f"cannot be opened: {error}") from error
        if unfinished:
            raise BagError(self.source, f"is unfinished: {unfinished[0]} lies beside it: {RESCUE}")
        if head[:16] != _MAGIC or len(head) < 100:
            raise BagError(self.source, "is no SQLite file: it does not begin as one")
        page = int.from_bytes(head[16:18], "big")
        expected = int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page)
        if size < expected:
            raise BagError(self.source, f"is cut off: it has {size} of {expected} bytes: {RESCUE}")


class SqliteSegment:
    """The messages of one file; see `storage.Segment`.

    Args:
        path, source: The file that is read, and that errors name.
        names: Topic by number, of the topics that are wanted.
        span: ns; first and last time in the file.
        times: ns; first and last time wanted.
        ordered: Whether the rows of the file stand in order of time.
    """

    size = 1 << 22  # SQLite's cache of pages

    def __init__(
        self,
        path: Path,
        source: Path,
        names: dict[int, str],
        span: tuple[int, int],
        times: tuple[int, int],
        ordered: bool,
    ) -> None:
        self._path, self._source, self._names, self._ordered = path, source, names, ordered
        self._narrowed = times != ALL_TIMES
        self.start_ns, self.end_ns = max(span[0], times[0]), min(span[1], times[1])

    def messages(self) -> Iterator[Message]:
        """See `storage.Segment`."""
        names, begin, end = self._names, self.start_ns, self.end_ns
        try:
            with contextlib.closing(connect(self._path)) as database:
                for topic, stamp, data in self._rows(database):
                    if type(data) is not bytes or not begin <= stamp <= end:
                        raise ValueError(f"a message of {names[topic]} is none")
                    yield Message(names[topic], stamp, data)
        except BagError:
            raise
        except FAULTS as error:
            raise BagError(self._source, f"is damaged: {error}: {RESCUE}") from error

    def _rows(self, database: sqlite3.Connection) -> Iterator[tuple[int, int, bytes]]:
        """(topic, time, data) by time, and by number where times are equal.

        The file's index of times is not used: it may be missing or damaged. Nearly always rows
        stand in order of time, and are read as they stand, from the first one wanted on, which
        halving finds; else their numbers are sorted by SQLite, which uses temporary files where
        they are many.
        """
        # Numbers, and not taken from a text: they may stand in the statement.
        where = f"FROM messages NOT INDEXED WHERE topic_id IN ({','.join(map(str, self._names))})"
        if self._ordered:
            if self._narrowed:
                first = _first_from(database, self.start_ns)
                behind = _first_from(database, min(self.end_ns, _LATEST) + 1)
                where += f" AND id >= {first} AND id < {behind}"
            yield from database.execute(f"SELECT topic_id, timestamp, data {where} ORDER BY id")
            return
        if self._narrowed:
            where += f" AND timestamp BETWEEN {self.start_ns} AND {min(self.end_ns, _LATEST)}"
        one = database.cursor()
        for (number,) in database.execute(f"SELECT id {where} ORDER BY timestamp, id"):
            yield from one.execute(
                "SELECT topic_id, timestamp, data FROM messages WHERE id = ?", (number,)
            )


def _first_from(database: sqlite3.Connection, stamp: int) -> int:
    """The least id of a row at or after `stamp`, of rows in order of time; one more than any."""
    low, high = database.execute("SELECT min(id), max(id) + 1 FROM messages").fetchone()
    while low < high:
        middle = (low + high) // 2
        row = database.execute(
            "SELECT id, timestamp FROM messages WHERE id >= ? ORDER BY id LIMIT 1", (middle,)
        ).fetchone()
        if row[1] >= stamp:
            high = middle
        else:
            low = row[0] + 1
    return low


def connect(path: Path, *, immutable: bool = True) -> sqlite3.Connection:
    """Opens a database to read.

    Args:
        path: The file.
        immutable: Nothing is written beside it and no lock is taken. A copy may be opened without,
            so that SQLite works in what an unfinished recording has beside it.
    """
    mode = "mode=ro&immutable=1" if immutable else "mode=rw"
    database = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, isolation_level=None)
    # Damaged or foreign files must not run functions, and cells are checked before they are used.
    database.execute("PRAGMA trusted_schema=OFF")
    database.execute("PRAGMA cell_size_check=ON")
    return database


def read_topics(database: sqlite3.Connection) -> dict[int, StoredTopic]:
    """The topics of a database by number.

    Raises:
        ValueError: When it has not the tables of rosbag2, or something in them is no text.
        sqlite3.Error: When it is damaged.
    """
    tables = dict(database.execute("SELECT name, type FROM sqlite_master"))
    if lacking := [n for n in ("topics", "messages") if tables.get(n) != "table"]:
        raise ValueError(f"it has no table {' and no table '.join(lacking)}")
    columns = {row[1] for row in database.execute("PRAGMA table_info(topics)")}
    extra = [
        name if name in columns else f"'' AS {name}"
        for name in ("offered_qos_profiles", "type_description_hash")
    ]
    definitions: dict[str, tuple[str, str]] = {}
    if tables.get("message_definitions") == "table":
        for kind, encoding, text in database.execute(
            "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
        ):
            if encoding in _FORMS and isinstance(text, str) and text.strip():
                definitions.setdefault(kind, (_FORMS[encoding], text))
    topics = {}
    for number, name, kind, encoding, qos, type_hash in database.execute(
        f"SELECT id, name, type, serialization_format, {', '.join(extra)} FROM topics ORDER BY id"
    ):
        texts = (name, kind, encoding, qos, type_hash)
        if not isinstance(number, int) or not all(isinstance(t, str) for t in texts):
            raise ValueError(f"topic {number} is described by {texts}, expected texts")
        form, text = definitions.get(kind, ("", ""))
        foreign = foreign_fault(kind, encoding)
        topics[number] = StoredTopic(name, kind, encoding, form, text, type_hash, qos, foreign)
    return topics


def read_information(database: sqlite3.Connection) -> str:
    """The newest metadata of the bag that the file repeats (rosbag2 of Iron and later), or ""."""
    if not database.execute("PRAGMA table_info(metadata)").fetchall():
        return ""
    row = database.execute("SELECT metadata FROM metadata ORDER BY id DESC LIMIT 1").fetchone()
    return row[0] if row and isinstance(row[0], str) else ""

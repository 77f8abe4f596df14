"""What still reads of a damaged or unfinished SQLite file, row by row, from a copy of it.

SQLite itself works in what an unfinished recording has beside it (write-ahead log, journal). The
rows are then read from the pages of the table, each by itself (`sqlite_pages`), so that one costs
no other.
"""

from __future__ import annotations

import contextlib
import mmap
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from roboalign_training.bags.errors import BagError
from roboalign_training.bags.losses import Loss
from roboalign_training.bags.rescue.salvage_mcap import LEAST_DISORDER_NS, Row
from roboalign_training.bags.rescue.sqlite_pages import SqlitePages, TableRows
from roboalign_training.bags.sqlite_file import (
    FAULTS,
    SIDE_FILES,
    connect,
    read_information,
    read_topics,
)
from roboalign_training.bags.unpacking import check_space

_DAMAGED = "rows on pages that are damaged or missing"


class SqliteSalvage:
    """The messages of one SQLite file that still read; attributes as `McapSalvage`.

    Args:
        path: The file to read.
        source: The file that the recorder wrote; what lies beside it belongs to it.
        folder: Where the copy is made; the caller removes it.
        on_bytes: Told how far reading is.

    Raises:
        BagError: When its list of topics does not read: then nothing says what a row is.
    """

    def __init__(
        self, path: Path, source: Path, folder: Path, on_bytes: Callable[[int], None]
    ) -> None:
        self.name = source.name
        self.sure: set[int] = set()
        self.promised: dict[int, int] | None = None
        self.losses: list[Loss] = []
        self.begun: dict[str, str] = {}
        self.first: tuple[int, int] | None = None
        self._on_bytes = on_bytes
        beside = [source.with_name(source.name + ending) for ending in SIDE_FILES]
        self._beside = [p for p in beside if p.is_file() and p.stat().st_size]
        self._copy = folder / source.name.removesuffix(".zstd")
        self.size = path.stat().st_size
        self.last: tuple[int, int] | None = None
        self._open: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, sum(p.stat().st_size for p in (path, *self._beside)))
        shutil.copyfile(path, self._copy)
        for file, ending in ((source.with_name(source.name + e), e) for e in SIDE_FILES):
            if file in self._beside:
                shutil.copyfile(file, self._copy.with_name(self._copy.name + ending))
        self._rows: TableRows | None = None
        try:
            with self._database() as database:
                topics = read_topics(database)
                try:
                    self.information = read_information(database)
                except FAULTS:
                    self.information = ""  # only a repetition of metadata.yaml
                self._columns, self._root, self._others = _table(database)
                with contextlib.suppress(*FAULTS):  # nothing to work in, or damaged itself
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except FAULTS as error:
            raise BagError(source, f"its list of topics does not read: {error}") from error
        self.topics = {number: topic for number, topic in topics.items() if not topic.foreign}
        self.foreign = {number: topic for number, topic in topics.items() if topic.foreign}

    def messages(self) -> Iterator[Row]:
        """Yields the messages in the order in which they were written."""
        self.losses, self.last, self._open = [], None, []
        with (
            self._copy.open("rb") as stream,
            mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            pages = SqlitePages(data)
            if self._rows is None:
                self._rows = pages.table(self._root, self._others)
            yield from self._messages(pages, self._rows)
        self._on_bytes(self.size)
        if self._beside:
            names = ", ".join(p.name for p in self._beside)
            self._lose(0, 0, f"its recorder was stopped: {names} lies beside it", tail=True)

    def _messages(self, pages: SqlitePages, rows: TableRows) -> Iterator[Row]:
        """Yields the rows of all leaves; notes what is lost before the row that follows it."""
        waiting, at = list(reversed(rows.lost)), 0  # rows up to `at` were dealt with
        columns = self._columns
        for _, page in rows.leaves:
            self._on_bytes(min(page * pages.page_size, self.size))
            for number, values in pages.rows(page):
                if values is None or number <= at:
                    continue
                while waiting and waiting[-1][0] < number:
                    first, last = waiting[-1]
                    first = max(first, at + 1)
                    end = number - 1 if last is None else min(last, number - 1)
                    if first <= end:
                        self._lose(first, end - first + 1, _DAMAGED)
                    if last is None or last >= number:
                        break
                    waiting.pop()
                at = number
                topic, stamp, data = (values[c] if c < len(values) else None for c in columns)
                whole = type(topic) is int and type(data) is bytes
                if not whole or type(stamp) is not int or stamp < 0:
                    self._lose(number, 1, "a row that is no message")
                    continue
                self._seen(stamp)
                yield topic, stamp, stamp, data
        for first, last in reversed(waiting):
            first = max(first, at + 1)
            if last is None or first <= last:
                count = 0 if last is None else last - first + 1
                self._lose(first, count, _DAMAGED, tail=True)

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(connect(self._copy, immutable=False)) as database:
            # Without it SQLite refuses all of a file that is shorter than its header says.
            database.execute("PRAGMA writable_schema=ON")
            yield database

    def _seen(self, stamp: int) -> None:
        """Notes the time of a row that reads."""
        self.last = (stamp, stamp)
        self.first = self.first or self.last
        for number in self._open:
            end = stamp + LEAST_DISORDER_NS
            self.losses[number] = replace(self.losses[number], end_ns=end)
        self._open.clear()

    def _lose(self, at: int, size: int, cause: str, tail: bool = False) -> None:
        """Notes rows that do not read."""
        start = max(self.last[0] - LEAST_DISORDER_NS, 0) if self.last else None
        self.losses.append(Loss(self.name, at, size, cause, start))
        if not tail:
            self._open.append(len(self.losses) - 1)


def _table(database: sqlite3.Connection) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Of the table of messages: places of topic, time and data; its first page; that of others."""
    found = [row[1] for row in database.execute("PRAGMA table_info(messages)")]
    columns = tuple(found.index(name) for name in ("topic_id", "timestamp", "data"))
    roots = dict(database.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))
    return columns, roots.pop("messages"), (1, *roots.values())

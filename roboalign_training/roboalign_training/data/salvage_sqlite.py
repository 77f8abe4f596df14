"""What still reads of a damaged or unfinished SQLite file, row by row, from a copy of it.

SQLite itself works in what an unfinished recording has beside it (write-ahead log, journal). Rows
that it cannot read are passed over in growing steps until one reads again.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from roboalign_training.data.bagmeta import type_name_fault
from roboalign_training.data.errors import BagError
from roboalign_training.data.losses import Loss
from roboalign_training.data.salvage_mcap import LEAST_DISORDER_NS, Row
from roboalign_training.data.sqlite_file import (
    FAULTS,
    SIDE_FILES,
    connect,
    read_information,
    read_topics,
)
from roboalign_training.data.storage import StoredTopic
from roboalign_training.data.unpacking import check_space

MOST_STEPS = 2000
"""Damaged places that are passed over; what comes after more of them is given up."""
_ROWS = "FROM messages NOT INDEXED WHERE id"
_FARTHEST = 1 << 40
_REPORT_ROWS = 256


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
        _cut_to_pages(self._copy)
        for file, ending in ((source.with_name(source.name + e), e) for e in SIDE_FILES):
            if file in self._beside:
                shutil.copyfile(file, self._copy.with_name(self._copy.name + ending))
        try:
            with self._database() as database:
                topics = read_topics(database)
                try:
                    self.information = read_information(database)
                except FAULTS:
                    self.information = ""  # only a repetition of metadata.yaml
        except FAULTS as error:
            raise BagError(source, f"its list of topics does not read: {error}") from error
        self.topics: dict[int, StoredTopic] = {
            number: topic
            for number, topic in topics.items()
            if topic.encoding == "cdr" and not type_name_fault(topic.type)
        }

    def messages(self) -> Iterator[Row]:
        """Yields the messages in the order in which they were written."""
        self.losses, self.last, self._open = [], None, []
        at, steps = -1, 0  # rows up to `at` were dealt with
        with self._database() as database:
            while True:
                fault = None
                try:
                    for number, topic, stamp, data in database.execute(
                        f"SELECT id, topic_id, timestamp, data {_ROWS} > ? ORDER BY id", (at,)
                    ):
                        if number <= at:
                            raise ValueError("rows are out of order")
                        at = number
                        if type(data) is not bytes or type(stamp) is not int or stamp < 0:
                            self._lose(at, 1, "a row that is no message")
                            continue
                        self._seen(stamp)
                        if number % _REPORT_ROWS == 0:
                            self._on_bytes(min(number * len(data), self.size))
                        yield topic, stamp, stamp, data
                except FAULTS as error:
                    fault = str(error)
                if fault is None:
                    break
                following = self._next_readable(database, at + 1)
                steps += 1
                if following is None or steps > MOST_STEPS:
                    self._lose(at + 1, 0, f"rows from here on do not read: {fault}", tail=True)
                    break
                self._lose(at + 1, following - at - 1, fault)
                at = following - 1
        self._on_bytes(self.size)
        if self._beside:
            names = ", ".join(p.name for p in self._beside)
            self._lose(at, 0, f"its recorder was stopped: {names} lies beside it", tail=True)

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

    def _next_readable(self, database: sqlite3.Connection, bad: int) -> int | None:
        """The first row behind `bad` that reads; None where none does."""
        step = 1
        while (found := _readable_from(database, bad + step)) is None:
            bad, step = bad + step, step * 2
            if step > _FARTHEST:
                return None
        if found < 0:  # no row is left behind the damage; there may be some within the step
            found = bad + step
        low, high = bad, min(found, bad + step)
        while high - low > 1:
            middle = (low + high) // 2
            if (row := _readable_from(database, middle)) is None:
                low = middle
            else:
                high = middle
        row = _readable_from(database, high)
        return row if row is not None and row >= 0 else None


def _readable_from(database: sqlite3.Connection, number: int) -> int | None:
    """The first row from a number on; -1 where there is none, None where it does not read."""
    try:
        row = database.execute(
            f"SELECT id, topic_id, timestamp, data {_ROWS} >= ? ORDER BY id LIMIT 1", (number,)
        ).fetchone()
    except FAULTS:
        return None
    if row is None:
        return -1
    return row[0] if row[0] >= number else None


def _cut_to_pages(file: Path) -> None:
    """Cuts off a page that is there in part: SQLite would take zeros for the rest of its rows."""
    with file.open("r+b") as stream:
        page = int.from_bytes(stream.read(18)[16:], "big")
        page = 65536 if page == 1 else page
        size = file.stat().st_size
        if page and size % page:
            stream.truncate(size - size % page)

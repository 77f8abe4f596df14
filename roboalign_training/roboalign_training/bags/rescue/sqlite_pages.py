"""Rows of an SQLite table as they stand in the pages of a file, whatever became of other pages.

SQLite itself gives up a whole subtree with a damaged page above it, and rows beside a damaged one.
Here every leaf of the table is read by itself; one that no page leads to any more is found by its
form. A row counts when its sizes agree with each other and its overflow pages are all there.

Source: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from struct import Struct

from roboalign_training.bags.rescue.sqlite_record import PageError, Value, row_values, varint

_INTERIOR, _LEAF = 5, 13
_HEADERS = {2: 12, _INTERIOR: 12, 10: 8, _LEAF: 8}  # bytes by kind of page; others of indexes
_U16, _U32 = Struct(">H"), Struct(">I")
_DEEPEST = 20


@dataclass
class TableRows:
    """The rows of a table, as far as its pages tell.

    Attributes:
        leaves: (id of its first row, page), rising; pages whose rows read, some of them at least.
        lost: (first id, last id) in which rows may be lost, rising; None for the last: to the end.
    """

    leaves: list[tuple[int, int]] = field(default_factory=list)
    lost: list[tuple[int, int | None]] = field(default_factory=list)


class SqlitePages:
    """The pages of an SQLite file.

    Args:
        data: The whole file, bytes or a map of it; what stands beside it (log, journal) is in it
            already.
    """

    def __init__(self, data: Sequence[int]) -> None:
        self._data = data
        size = _U16.unpack_from(data, 16)[0]
        self.page_size = 65536 if size == 1 else size
        self._usable = self.page_size - data[20]
        self.count = -(-len(data) // self.page_size)  # the last one may be there in part

    def table(self, root: int, others: Sequence[int]) -> TableRows:
        """Finds the leaves of a table.

        Args:
            root: Its first page.
            others: First pages of all other tables and indexes.
        """
        found = TableRows()
        reached: set[int] = set()
        self._walk(root, 0, None, found, reached, 0)
        if found.lost:
            for other in others:
                self._walk(other, 0, None, TableRows(), reached, 0)
            reached.update(self._free())
            self._adopt(found, reached)
        found.leaves.sort()
        found.lost.sort(key=lambda span: span[0])
        return found

    def rows(self, page: int) -> Iterator[tuple[int, tuple[Value, ...] | None]]:
        """Id and values of each row of a leaf that reads; None for values that do not.

        A row whose id does not read either is left out.
        """
        before = 0
        for at in self._cells(page):
            try:
                number, values = self._row(page, at)
            except PageError:
                continue
            if number <= before:
                continue
            before = number
            yield number, values

    def _walk(
        self,
        page: int,
        low: int,
        high: int | None,
        found: TableRows,
        reached: set[int],
        depth: int,
    ) -> None:
        """Goes through a page and those below it; its rows have ids in (low, high]."""
        try:
            if page in reached or depth > _DEEPEST:
                raise PageError("a page that is in the tree twice")
            kind = self._kind(page)
            reached.add(page)
            if kind == _INTERIOR:
                children = self._children(page)
            elif kind == _LEAF:
                self._take(page, low, high, found, depth)
                return
            else:
                raise PageError(f"a page of kind {kind}")
        except PageError:
            found.lost.append((low + 1, high))
            return
        for child, key in children:
            bound = high if key is None else key
            self._walk(child, low, bound, found, reached, depth + 1)
            low = low if key is None else max(low, key)

    def _take(self, page: int, low: int, high: int | None, found: TableRows, depth: int) -> None:
        """Takes in a leaf, and notes the ids that do not read of it."""
        cells = len(self._cells(page))
        if not cells and not depth:
            return  # an empty table
        read = [number for number, values in self.rows(page) if values is not None]
        read = [n for n in read if n > low and (high is None or n <= high)]
        if read:
            found.leaves.append((read[0], page))
        before, missing = low, cells - len(read)
        for number in read:
            if missing > 0 and number > before + 1:
                found.lost.append((before + 1, number - 1))
                missing -= number - 1 - before
            before = number
        # The page above knows the greatest id on this one.
        if missing > 0 or not read or (high is not None and before < high):
            found.lost.append((before + 1, high))

    def _adopt(self, found: TableRows, reached: set[int]) -> None:
        """Adds leaves that no page leads to, where ids are lost that theirs are among."""
        lost = list(found.lost)
        for page in range(2, self.count + 1):
            # The first byte is an overflow page's only where a file has 200 million pages.
            if page in reached or self._data[(page - 1) * self.page_size] != _LEAF:
                continue
            try:
                rows = [number for number, values in self.rows(page) if values is not None]
            except PageError:
                continue
            inside = all(
                any(first <= n and (last is None or n <= last) for first, last in lost)
                for n in (rows[:1] + rows[-1:])
            )
            if rows and inside:
                found.leaves.append((rows[0], page))

    def _number(self, form: Struct, at: int) -> int:
        """The number at an offset of the file."""
        if at + form.size > len(self._data):
            raise PageError("the file ends within a page")
        return form.unpack_from(self._data, at)[0]

    def _free(self) -> set[int]:
        """Pages that are in no use, as far as their list reads; rows on them were deleted."""
        free: set[int] = set()
        trunk = self._number(_U32, 32)
        with contextlib.suppress(PageError):
            while 2 <= trunk <= self.count and trunk not in free:
                free.add(trunk)
                at = (trunk - 1) * self.page_size
                count = min(self._number(_U32, at + 4), self._usable // 4 - 2)
                free.update(self._number(_U32, at + 8 + 4 * i) for i in range(count))
                trunk = self._number(_U32, at)
        return free

    def _start(self, page: int) -> int:
        """Offset of a page's header in the page."""
        return 100 if page == 1 else 0

    def _kind(self, page: int) -> int:
        if not 1 <= page <= self.count:
            raise PageError(f"page {page} of {self.count}")
        at = (page - 1) * self.page_size + self._start(page)
        kind = self._data[at] if at < len(self._data) else 0
        if kind not in _HEADERS:
            raise PageError(f"a page of kind {kind}")
        return kind

    def _cells(self, page: int) -> list[int]:
        """Offsets of a page's cells in the page.

        Raises:
            PageError: When its header contradicts itself.
        """
        base, start = (page - 1) * self.page_size, self._start(page)
        kind = self._kind(page)
        count = self._number(_U16, base + start + 3)
        begin = start + _HEADERS[kind]
        if begin + 2 * count > self._usable:
            raise PageError(f"{count} cells in a page of {self._usable} bytes")
        return [self._number(_U16, base + begin + 2 * i) for i in range(count)]

    def _children(self, page: int) -> list[tuple[int, int | None]]:
        """(page, greatest id) of what is below an interior page; None for the last one."""
        base, start = (page - 1) * self.page_size, self._start(page)
        children: list[tuple[int, int | None]] = []
        before = 0
        for at in self._cells(page):
            if at + 5 > self._usable:
                raise PageError(f"a cell at byte {at}")
            key, _ = varint(self._data, base + at + 4)
            if key < before:
                raise PageError("keys that are out of order")
            children.append((self._number(_U32, base + at), key))
            before = key
        return [*children, (self._number(_U32, base + start + 8), None)]

    def _row(self, page: int, at: int) -> tuple[int, tuple[Value, ...] | None]:
        """Id and values of the row at an offset of a leaf; None where these do not read.

        Raises:
            PageError: When not even its id can be trusted.
        """
        base = (page - 1) * self.page_size
        if not _HEADERS[_LEAF] <= at < self._usable:
            raise PageError(f"a cell at byte {at}")
        size, place = varint(self._data, base + at)
        number, place = varint(self._data, place)
        if not 0 < size <= len(self._data) or number <= 0:
            raise PageError(f"row {number} of {size} bytes")
        local = self._local(size)
        end = place + local + (4 if local < size else 0)
        if end > min(base + self._usable, len(self._data)):
            raise PageError(f"row {number} goes beyond its page")
        try:
            return number, row_values(self._payload(place, size, local))
        except PageError:
            return number, None

    def _local(self, size: int) -> int:
        """Bytes of a row that stand in its leaf."""
        most = self._usable - 35
        if size <= most:
            return size
        least = (self._usable - 12) * 32 // 255 - 23
        fitting = least + (size - least) % (self._usable - 4)
        return fitting if fitting <= most else least

    def _payload(self, place: int, size: int, local: int) -> bytes:
        """The bytes of a row, with those on its overflow pages."""
        parts = [bytes(self._data[place : place + local])]
        left = size - local
        following = self._number(_U32, place + local) if left else 0
        seen: set[int] = set()
        while left:
            if not 2 <= following <= self.count or following in seen:
                raise PageError(f"its overflow page {following} is not there")
            seen.add(following)
            at = (following - 1) * self.page_size
            following = self._number(_U32, at)
            part = min(left, self._usable - 4)
            if at + 4 + part > len(self._data):
                raise PageError("the file ends within its overflow page")
            parts.append(bytes(self._data[at + 4 : at + 4 + part]))
            left -= part
        if following:
            raise PageError(f"an overflow page too many, {following}")
        return b"".join(parts)

"""The messages of a recording's streams as columns of numbers, one array a fact."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from roboalign_policy.core.recorded import Track

_LEAST = 256  # rows that a column has room for from the start


class GrowingColumn:
    """An array that grows at its end; its memory is at most twice what is in it."""

    def __init__(self, dtype: np.dtype | type, width: int | None = None) -> None:
        """Empty, of numbers or with `width` of rows (width,)."""
        self._shape = () if width is None else (width,)
        self._rows = np.empty((_LEAST, *self._shape), dtype)
        self._count = 0

    def extend(self, rows: np.ndarray | Sequence) -> None:
        """Appends rows, (N,) or (N, width)."""
        end = self._count + len(rows)
        if end > len(self._rows):
            grown = np.empty((max(end, 2 * len(self._rows)), *self._shape), self._rows.dtype)
            grown[: self._count] = self._rows[: self._count]
            self._rows = grown
        self._rows[self._count : end] = rows
        self._count = end

    def array(self) -> np.ndarray:
        """What is in it; do not append afterwards."""
        return self._rows[: self._count]


@dataclass(frozen=True, eq=False)
class StreamColumns:
    """All messages of one stream in order of arrival, readable or not.

    Attributes:
        receive_ns: (N,) int64, ns.
        header_ns: (N,) int64, ns; None where the type has no header.
        readable: (N,) bool.
        values: (N, D) float32 in the contract's units, NaN where unreadable; None of an image.
        fault: Why the last unreadable message is unreadable, or "".
    """

    receive_ns: np.ndarray
    header_ns: np.ndarray | None
    readable: np.ndarray
    values: np.ndarray | None
    fault: str = ""

    def __len__(self) -> int:
        return len(self.receive_ns)

    @property
    def unreadable(self) -> int:
        """How many messages could not be read."""
        return len(self) - int(np.count_nonzero(self.readable))

    def stamps(self, clock: str) -> np.ndarray:
        """Times of all messages on a clock of the contract, (N,) int64, ns."""
        return self.receive_ns if clock == "receive" else self.header_ns

    def track(self, key: str, shape: tuple[int, int, int] | None) -> Track:
        """The readable messages as samples of the stream `key`; images by their places here."""
        values = np.arange(len(self), dtype=np.int64) if self.values is None else self.values
        columns = (self.header_ns, self.receive_ns, values)
        if self.unreadable:
            columns = tuple(None if c is None else c[self.readable] for c in columns)
        return Track(key, *columns, shape)

    def without(self, places: Iterable[int], fault: str) -> StreamColumns:
        """The same where the messages at `places` turned out to be unreadable."""
        readable = np.array(self.readable)
        readable[list(places)] = False
        return replace(self, readable=readable, fault=fault)


class StreamCollector:
    """Gathers the messages of one stream."""

    def __init__(self, width: int | None) -> None:
        """Of a state or command with `width` numbers; None of an image."""
        self.fault = ""
        self._receive, self._readable = GrowingColumn(np.int64), GrowingColumn(bool)
        self._header, self._has_header = GrowingColumn(np.int64), True
        self._values = None if width is None else GrowingColumn(np.float32, width)
        self._width = width

    def add(
        self,
        receive_ns: Sequence[int] | np.ndarray,
        header_ns: np.ndarray | None,
        values: np.ndarray | None,
        fault: str = "",
    ) -> None:
        """Takes messages that were built alike.

        Args:
            receive_ns: (N,) int, ns.
            header_ns: (N,) int64, ns; None where the type has no header.
            values: (N, D) float; None of images, and where all are unreadable.
            fault: Why they are unreadable, or "".
        """
        count = len(receive_ns)
        self._receive.extend(receive_ns)
        self._readable.extend(np.full(count, not fault))
        self.fault = fault or self.fault
        if header_ns is None:
            self._has_header = False
        else:
            self._header.extend(header_ns)
        if self._values is not None:
            unread = np.full((count, self._width), np.nan, np.float32)
            self._values.extend(unread if values is None else values)

    def columns(self) -> StreamColumns:
        """All that was gathered."""
        return StreamColumns(
            self._receive.array(),
            self._header.array() if self._has_header else None,
            self._readable.array(),
            None if self._values is None else self._values.array(),
            self.fault,
        )

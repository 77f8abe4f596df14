"""The messages of a recording's streams as columns of numbers, one array a fact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from roboalign_policy.core.contract.contract import Stream
from roboalign_policy.core.frames.joint_readings import JointSets, Share, joined, named_joint
from roboalign_policy.core.frames.recorded import Track

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
        parts: (N, ceil(D / 8)) uint8, which of the D a message holds, as `np.packbits`, where it
            names some of the joints and not all: not readable by itself. None of an image.
        fault: Why the last unreadable message is unreadable, or "".
        others: How many messages of other joints were passed over, by the joints they name.
    """

    receive_ns: np.ndarray
    header_ns: np.ndarray | None
    readable: np.ndarray
    values: np.ndarray | None
    parts: np.ndarray | None = None
    fault: str = ""
    others: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.receive_ns)

    @property
    def unreadable(self) -> int:
        """How many messages could not be read; parts of a reading are not among them."""
        parts = 0 if self.parts is None else int(np.count_nonzero(self.parts.any(axis=1)))
        return len(self) - int(np.count_nonzero(self.readable)) - parts

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


def completed(columns: StreamColumns, stream: Stream) -> StreamColumns:
    """The readings of a state stream: parts are put together as `StateReader` does live.

    Args:
        columns: All its messages.
        stream: Of the contract.

    Returns:
        A row a reading or unreadable message, none a part; `fault` says what came instead where
        there is no reading.
    """
    joints = [named_joint(f.path) for f in stream.fields]
    sets = JointSets(filter(None, joints), stream.max_age_ns)
    sets.others.update(columns.others)
    stamps = columns.stamps(stream.align.clock)
    if columns.parts is None or stamps is None or not columns.parts.any():
        found = columns
    else:
        found = _put_together(columns, joints, sets, stamps, stream.align.clock == "header")
    if not found.fault and not found.readable.any():
        found = replace(found, fault=f"{stream.topic}: {note}" if (note := sets.note()) else "")
    return found


def _put_together(
    columns: StreamColumns,
    joints: Sequence[str],
    sets: JointSets,
    stamps: np.ndarray,
    by_header: bool,
) -> StreamColumns:
    is_part = columns.parts.any(axis=1)
    places = np.flatnonzero(is_part)
    held = np.unpackbits(columns.parts[places], axis=1, count=len(joints)).astype(bool)
    rows = np.where(columns.readable, np.arange(len(columns)), -1)
    wholes = np.maximum.accumulate(rows)[places].tolist()
    readable, values = np.array(columns.readable), np.array(columns.values)
    header = None if columns.header_ns is None else np.array(columns.header_ns)
    newest, before = np.full(len(joints), np.nan, np.float32), -1
    kept = ~is_part
    for place, mask, whole in zip(places.tolist(), held, wholes, strict=True):
        if whole != before:  # the last message before it that was a reading by itself
            sets.whole(int(stamps[whole]))
            before = whole
        present = [joint for joint, there in zip(joints, mask, strict=True) if there]
        share = sets.part(present, int(stamps[place]))
        kept[place] = share is not Share.PART
        if share is Share.LACKING:
            values[place] = np.nan
            continue
        newest[mask] = values[place][mask]
        if share is Share.COMPLETE:
            values[place], readable[place] = newest, True
            if by_header:
                header[place] = sets.newest_ns
    rows = (columns.receive_ns, header, readable, values)
    rows = [None if column is None else column[kept] for column in rows]
    return StreamColumns(*rows, None, columns.fault, columns.others)


class StreamCollector:
    """Gathers the messages of one stream."""

    def __init__(self, width: int | None) -> None:
        """Of a state or command with `width` numbers; None of an image."""
        self.fault = ""
        self._receive, self._readable = GrowingColumn(np.int64), GrowingColumn(bool)
        self._header, self._has_header = GrowingColumn(np.int64), True
        self._values = self._parts = None
        if width is not None:
            self._values = GrowingColumn(np.float32, width)
            self._parts = GrowingColumn(np.uint8, -(-width // 8))
        self._width = width
        self._others: Counter[str] = Counter()

    def add(
        self,
        receive_ns: Sequence[int] | np.ndarray,
        header_ns: np.ndarray | None,
        values: np.ndarray | None,
        fault: str = "",
        held: Sequence[bool] | None = None,
    ) -> None:
        """Takes messages that were built alike.

        Args:
            receive_ns: (N,) int, ns.
            header_ns: (N,) int64, ns; None where the type has no header.
            values: (N, D) float; None of images, and where all are unreadable.
            fault: Why they are unreadable, or "".
            held: (D,) which numbers they hold, where these are parts of a reading.
        """
        count = len(receive_ns)
        self._receive.extend(receive_ns)
        self._readable.extend(np.full(count, not fault and held is None))
        self.fault = fault or self.fault
        if header_ns is None:
            self._has_header = False
        else:
            self._header.extend(header_ns)
        if self._values is not None:
            unread = np.full((count, self._width), np.nan, np.float32)
            self._values.extend(unread if values is None else values)
            bits = np.packbits(np.zeros(self._width, bool) if held is None else np.array(held))
            self._parts.extend(np.broadcast_to(bits, (count, len(bits))))

    def pass_over(self, names: Sequence[str]) -> None:
        """Takes a message of other joints: it is counted, and is none of the stream's."""
        self._others[joined(names)] += 1

    def columns(self) -> StreamColumns:
        """All that was gathered."""
        return StreamColumns(
            self._receive.array(),
            self._header.array() if self._has_header else None,
            self._readable.array(),
            None if self._values is None else self._values.array(),
            None if self._parts is None else self._parts.array(),
            self.fault,
            dict(self._others),
        )

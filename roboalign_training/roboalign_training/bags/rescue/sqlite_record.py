"""Rows of SQLite as bytes: their numbers of variable length, and their columns.

Source: https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

from collections.abc import Sequence

_NUMBER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}  # of NULL and numbers
_CONSTANTS = {0: None, 8: 0, 9: 1}

Value = int | bytes | str | None
"""A column; rosbag2 has no fractions in its tables."""


class PageError(ValueError):
    """A page, cell or row that contradicts itself."""


def varint(data: Sequence[int], at: int) -> tuple[int, int]:
    """The number at an offset, and the offset behind it.

    Raises:
        PageError: The data end within it.
    """
    value = 0
    for count in range(9):
        if at >= len(data):
            raise PageError("a number beyond the end")
        byte = data[at]
        at += 1
        if count == 8:
            value = value << 8 | byte
        else:
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                break
    return (value - (1 << 64) if value >= 1 << 63 else value), at


def row_values(payload: bytes) -> tuple[Value, ...]:
    """The columns of a row.

    Raises:
        PageError: Its sizes do not fit each other.
    """
    header, at = varint(payload, 0)
    if not at <= header <= len(payload):
        raise PageError("a row whose header has a wrong length")
    kinds = []
    while at < header:
        kind, at = varint(payload, at)
        kinds.append(kind)
    if at != header:
        raise PageError("a row whose header has a wrong length")
    values: list[Value] = []
    for kind in kinds:
        size = _NUMBER_BYTES.get(kind, (kind - 12) // 2 if kind >= 12 else -1)
        if size < 0 or at + size > len(payload):
            raise PageError("a row whose columns are longer than it is")
        part, at = payload[at : at + size], at + size
        if kind >= 12:
            values.append(part.decode("utf-8", errors="replace") if kind % 2 else part)
        elif kind in _CONSTANTS:
            values.append(_CONSTANTS[kind])
        else:
            values.append(int.from_bytes(part, "big", signed=True))
    if at != len(payload):
        raise PageError("a row that is longer than its columns")
    return tuple(values)

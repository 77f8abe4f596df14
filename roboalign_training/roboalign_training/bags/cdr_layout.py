"""Where the numbers stand in a CDR message: found once for all messages that are built alike.

Messages of one topic nearly always differ in their numbers alone: names, lengths and so the places
of all numbers are the same. The first one is decoded as a whole; of the following ones only what
decides about the places is compared, and numbers are taken where they stand. A message that is
built otherwise is decoded as a whole again.

Source: OMG CDR (formal/02-06-51), 15.3, as ROS 2 uses it (XCDR version 1).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

_CODES = {
    **{"bool": "?", "int8": "b", "uint8": "B", "byte": "B", "octet": "B", "char": "B"},
    **{"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"},
    **{"float32": "f", "float64": "d"},
}
_HEAD = 4  # bytes before the message, which places count from behind
_NEAR = 8  # bytes of padding between two compared parts that are compared too
_LAYOUTS = 64  # ways of building that are remembered for one topic


class NoLayoutError(ValueError):
    """A type or message whose places are not understood here: it has to be decoded."""


@dataclass(frozen=True)
class Place:
    """One number in a message: byte at which it begins, and its numpy dtype."""

    at: int
    dtype: np.dtype


@dataclass(frozen=True)
class Layout:
    """How a message is built.

    Attributes:
        message: Its stand-in: attributes as of the decoded message, but numbers are places.
        length: Bytes up to the end of its last field, or up to the bytes at its end.
        same: (begin, end, bytes) that another message built alike has too.
        tail: Whether a sequence of bytes stands at its end, whose length may differ.
    """

    message: Any
    length: int
    same: tuple[tuple[int, int, bytes], ...]
    tail: bool

    def fits(self, data: bytes) -> bool:
        """Whether `data` is built so."""
        if self.tail:
            if len(data) < self.length:
                return False
            count = int.from_bytes(data[self.length - 4 : self.length], self.order)
            if len(data) < self.length + count:
                return False
        elif len(data) < self.length:  # more may stand behind it and is no part of it
            return False
        return all(data[begin:end] == part for begin, end, part in self.same)

    @property
    def order(self) -> str:
        """Byte order of the numbers."""
        return "little" if self.same[0][2][1:2] == b"\1" else "big"


class Layouts:
    """The ways in which the messages of one type are built.

    Args:
        store: Knows the type.
        kind: Its name.
        decode: Decodes a whole message; raises for one that is none.
    """

    def __init__(self, store: Typestore, kind: str, decode: Callable[[bytes], Any]) -> None:
        self._store, self._kind, self._decode = store, kind, decode
        self._known: list[Layout] = []
        self._understood = True

    def of(self, data: bytes) -> Layout | None:
        """How a message is built; None where the type is not understood: decode it.

        Raises:
            BagError: When it is no message of the type.
        """
        known = self._known
        if known and known[0].fits(data):
            return known[0]
        if not self._understood:
            return None
        for number, layout in enumerate(known):
            if layout.fits(data):
                known.insert(0, known.pop(number))
                return layout
        message = self._decode(data)
        try:
            layout = _Walk(self._store, data).layout(self._kind)
            if not layout.fits(data):
                raise NoLayoutError("a message that does not fit itself")
            _compare(layout.message, message, data)
        except (NoLayoutError, struct.error, LookupError, UnicodeDecodeError):
            self._understood = False
            known.clear()
            return None
        known.insert(0, layout)
        del known[_LAYOUTS:]
        return layout


def number(data: bytes, place: Place) -> int | float:
    """The number at a place of a message."""
    return np.frombuffer(data, place.dtype, 1, place.at)[0].item()


class Numbers:
    """A sequence of numbers of which only the places are known."""

    def __init__(self, at: int, count: int, dtype: np.dtype) -> None:
        self._at, self._count, self._dtype = at, count, dtype

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Place:
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return Place(self._at + index % self._count * self._dtype.itemsize, self._dtype)

    def bytes_of(self, data: bytes) -> memoryview:
        """What they are in a message, as bytes."""
        end = self._at + self._count * self._dtype.itemsize
        return memoryview(data)[self._at : end]


class Tail:
    """The bytes at the end of a message, however many there are."""

    def __init__(self, at: int, order: str) -> None:
        self._at, self._order = at, order

    def bytes_of(self, data: bytes) -> memoryview:
        """What they are in a message."""
        count = int.from_bytes(data[self._at - 4 : self._at], self._order)
        return memoryview(data)[self._at : self._at + count]


class _Walk:
    """Goes through one message that was decoded before."""

    def __init__(self, store: Typestore, data: bytes) -> None:
        self._store, self._data, self._at = store, data, _HEAD
        self._mark = "<" if data[1] else ">"
        self._same: list[list[int]] = [[0, 2]]  # encapsulation: byte order

    def layout(self, kind: str) -> Layout:
        """The layout of a message of a type."""
        _, fields = self._store.fielddefs[kind]
        tail = bool(fields) and _is_bytes(fields[-1][1])
        found = {name: self._field(desc) for name, desc in (fields[:-1] if tail else fields)}
        if tail:
            self._count(compared=False)
            found[fields[-1][0]] = Tail(self._at, "little" if self._mark == "<" else "big")
        length = self._at
        same = tuple((begin, end, self._data[begin:end]) for begin, end in self._same)
        return Layout(_stand_in(kind, found), length, same, tail)

    def _field(self, desc: tuple) -> Any:
        form, detail = desc
        if form == Nodetype.NAME:
            _, fields = self._store.fielddefs[detail]
            return _stand_in(detail, {name: self._field(sub) for name, sub in fields})
        if form == Nodetype.BASE:
            return self._text() if detail[0] == "string" else self._numbers(detail[0], 1)[0]
        sub, count = detail
        if form == Nodetype.SEQUENCE:
            count = self._count()
        if sub[0] == Nodetype.BASE and sub[1][0] != "string":
            return self._numbers(sub[1][0], count)
        if count > len(self._data):
            raise NoLayoutError(f"a sequence of {count}")
        return [self._field(sub) for _ in range(count)]

    def _numbers(self, kind: str, count: int) -> Numbers:
        if kind not in _CODES:
            raise NoLayoutError(f"numbers of type {kind}")
        dtype = np.dtype(self._mark + _CODES[kind])
        if count:
            self._align(dtype.itemsize)
        at, self._at = self._at, self._at + count * dtype.itemsize
        if self._at > len(self._data):
            raise NoLayoutError(f"{count} numbers at byte {at} of {len(self._data)}")
        return Numbers(at, count, dtype)

    def _count(self, compared: bool = True) -> int:
        """A length, which all messages built alike have in common."""
        self._align(4)
        (count,) = struct.unpack_from(self._mark + "I", self._data, self._at)
        self._at += 4
        if compared:
            self._compare(self._at - 4, self._at)
        return count

    def _text(self) -> str:
        count = self._count()
        begin, self._at = self._at, self._at + count
        self._compare(begin, self._at)
        return self._data[begin : self._at - 1].decode("utf-8")

    def _align(self, size: int) -> None:
        self._at += -(self._at - _HEAD) % size

    def _compare(self, begin: int, end: int) -> None:
        if begin - self._same[-1][1] < _NEAR and self._same[-1][0] >= _HEAD:
            self._same[-1][1] = end
        else:
            self._same.append([begin, end])


def _is_bytes(desc: tuple) -> bool:
    """Whether a field is a sequence of single bytes."""
    form, detail = desc
    return (
        form == Nodetype.SEQUENCE
        and detail[0][0] == Nodetype.BASE
        and detail[0][1][0] in ("uint8", "byte", "octet", "char")
    )


def _stand_in(kind: str, fields: dict[str, Any]) -> Any:
    """An object with the fields as attributes, of a class named as the decoded message's."""
    return type(kind.replace("/", "__"), (), fields)()


def _compare(found: Any, message: Any, data: bytes) -> None:
    """Makes sure that places hold what was decoded.

    Raises:
        NoLayoutError: When one does not.
    """
    if isinstance(found, Place):
        value = number(data, found)
        good = value == message or (value != value and message != message)  # NaN
    elif isinstance(found, (Numbers, Tail)):
        good = bytes(found.bytes_of(data)) == _raw(message, found)
    elif isinstance(found, (str, list)):
        good = len(found) == len(message) and (isinstance(found, list) or found == message)
        for one, other in zip(found, message, strict=True) if isinstance(found, list) else ():
            _compare(one, other, data)
    else:
        good = True
        for name in vars(type(found)):
            if not name.startswith("__"):
                _compare(getattr(found, name), getattr(message, name), data)
    if not good:
        raise NoLayoutError("a place that does not hold what was decoded")


def _raw(values: Any, found: Numbers | Tail) -> bytes:
    """The decoded values of a sequence as they stand in the message."""
    dtype = found._dtype if isinstance(found, Numbers) else np.dtype("u1")
    return np.asarray(values).astype(dtype).tobytes()

"""Part files: what one job found, with what it was made from, whole or not at all.

A part is bytes, then arrays, then JSON that describes them, then lengths and checksums. It is
written under another name and gets its own when it is complete, so that whatever moment a process
is killed at, a part that is there can be used.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from struct import error as StructError
from types import TracebackType
from typing import BinaryIO

import numpy as np

from roboalign_policy.core.hashing import sha256_json

_MAGIC = b"RBALNPT1"
_LENGTHS = Struct("<QQ")  # bytes of blob and of JSON
_END = Struct("<I8s")  # CRC of all before, magic
_BLOCK = 1 << 20
TEMPORARY = ".writing"


class PartWriter:
    """Writes one part; the file appears when `finish` was called and the block ends well."""

    def __init__(self, path: Path, made_with: Mapping[str, object]) -> None:
        """A part at `path`, made with what `made_with` (plain data) says."""
        self._path, self._made_with = path, sha256_json(dict(made_with))
        self._part = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
        self._crc = self._size = 0
        self._finished = False

    def __enter__(self) -> PartWriter:
        self._stream = self._part.open("wb")
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if kind is None and self._finished:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)

    def add(self, data: bytes | memoryview) -> int:
        """Appends bytes; returns where they begin."""
        at = self._size
        self._write(data)
        self._size += len(data)
        return at

    def finish(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, object]) -> None:
        """Adds arrays by name, and facts as plain data."""
        described = {}
        for name, array in arrays.items():
            described[name] = [array.dtype.str, list(array.shape)]
            self._write(np.ascontiguousarray(array).tobytes())
        document = {"made_with": self._made_with, "arrays": described, "facts": dict(facts)}
        text = json.dumps(document).encode()
        self._write(text)
        lengths = _LENGTHS.pack(self._size, len(text))
        self._write(lengths)
        self._stream.write(_END.pack(self._crc, _MAGIC))
        self._finished = True

    def _write(self, data: bytes | memoryview) -> None:
        self._stream.write(data)
        self._crc = zlib.crc32(data, self._crc)


@dataclass(frozen=True, eq=False)
class PartFile:
    """A part that was read.

    Attributes:
        path: The file.
        arrays: By name.
        facts: What its writer said.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    facts: dict


def read_part(path: Path, made_with: Mapping[str, object], *, check: bool) -> PartFile | None:
    """Reads a part.

    Args:
        path: The file.
        made_with: What it has to be made with.
        check: Whether its checksum is compared, which reads all of it.

    Returns:
        The part; None where there is none, or it is damaged or made with something else.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            end = size - _END.size
            stream.seek(max(0, end - _LENGTHS.size))
            blob, length = _LENGTHS.unpack(stream.read(_LENGTHS.size))
            crc, magic = _END.unpack(stream.read(_END.size))
            if magic != _MAGIC or blob + length + _LENGTHS.size > end:
                return None
            if check and crc_of(stream, end) != crc:
                return None
            stream.seek(end - _LENGTHS.size - length)
            document = json.loads(stream.read(length))
            if document["made_with"] != sha256_json(dict(made_with)):
                return None
            stream.seek(blob)
            arrays = {}
            for name, (kind, shape) in document["arrays"].items():
                dtype, count = np.dtype(kind), int(np.prod(shape, dtype=np.int64))
                data = stream.read(count * dtype.itemsize)
                arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, StructError):
        return None  # a file of that name that is no part
    return PartFile(path, arrays, document["facts"])


def crc_of(stream: BinaryIO, count: int) -> int:
    """CRC-32 of the first `count` bytes of a file; -1 where it has fewer."""
    stream.seek(0)
    value = 0
    while count > 0:
        block = stream.read(min(_BLOCK, count))
        if not block:
            return -1
        value = zlib.crc32(block, value)
        count -= len(block)
    return value

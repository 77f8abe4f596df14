"""Decompression with bounds: of a chunk, of a message, of a whole file to a temporary one.

What a damaged or hostile file says about its size is never believed before it is checked: a frame
that claims another size than its header is refused before memory is taken for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import lz4.frame
import zstandard

from roboalign_training.bags.errors import BagError

LIMIT_BYTES = 1 << 29
"""Most bytes of one chunk or message; the largest of real recordings are a tenth of it."""
RESERVE_BYTES = 1 << 28
"""Disk space that temporary files leave free."""
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # no CDR message begins so
# zstd grows a piece by 43,690 at most: 4 KiB are never more than 171 MiB at once.
_PIECE_BYTES = 1 << 12
_CHECK_BYTES = 1 << 26


class UnpackError(ValueError):
    """Data that does not decompress to what its header says."""


def unpack_chunk(data: bytes, compression: str, size: int) -> bytes:
    """Decompresses a chunk.

    Args:
        data: As stored.
        compression: "", "zstd" or "lz4".
        size: Bytes it holds, by its header.

    Raises:
        UnpackError: When it is damaged, holds another number of bytes, or more than LIMIT_BYTES.
    """
    if size > LIMIT_BYTES:
        raise UnpackError(f"says that it holds {size} bytes, expected at most {LIMIT_BYTES}")
    if compression == "zstd":
        data = _unzstd(data, size)
    elif compression == "lz4":
        data = _unlz4(data, size)
    elif compression:
        raise UnpackError(f"compression: found {compression!r}, expected zstd, lz4 or none")
    if len(data) != size:
        raise UnpackError(f"holds {len(data)} bytes, its header says {size}")
    return data


def unpack_start(data: bytes, compression: str, size: int) -> bytes:
    """As much of a chunk as decompresses, at most `size` bytes; for one cut off or damaged."""
    size = min(size, LIMIT_BYTES)
    if compression == "zstd":
        unzip = zstandard.ZstdDecompressor().decompressobj()
    elif compression == "lz4":
        unzip = lz4.frame.LZ4FrameDecompressor()
    else:
        return b"" if compression else bytes(data[:size])
    parts, total = [], 0
    for at in range(0, len(data), _PIECE_BYTES):
        try:
            parts.append(unzip.decompress(bytes(data[at : at + _PIECE_BYTES])))
        except (zstandard.ZstdError, RuntimeError, MemoryError):
            break
        total += len(parts[-1])
        if unzip.eof or total >= size:
            break
    return b"".join(parts)[:size]


def unpack_message(data: bytes) -> bytes:
    """Decompresses a message of a bag whose messages are compressed one by one.

    Raises:
        UnpackError: When it is damaged or holds more than LIMIT_BYTES.
    """
    try:
        size = zstandard.frame_content_size(data)
    except zstandard.ZstdError as error:
        raise UnpackError(f"is no zstd frame: {error}") from error
    if size >= 0:
        return unpack_chunk(data, "zstd", size)
    raw = unpack_start(data, "zstd", LIMIT_BYTES)
    return unpack_chunk(data, "zstd", len(raw))


def unpack_file(source: Path, target: Path) -> None:
    """Decompresses a zstd file to `target`; what came before a fault stays there.

    Raises:
        BagError: When it is damaged or cut off, or when the disk has no room for it.
    """
    try:
        with source.open("rb") as stream, target.open("wb") as sink:
            stated = _stated(stream.read(18))
            check_space(target.parent, max(stated, 0))
            stream.seek(0)
            unzip, written, checked = None, 0, 0
            while data := stream.read(_PIECE_BYTES):
                while data:
                    unzip = unzip or zstandard.ZstdDecompressor().decompressobj()
                    part = unzip.decompress(data)
                    sink.write(part)
                    written += len(part)
                    if written - checked > _CHECK_BYTES:
                        check_space(target.parent, 0)
                        checked = written
                    data = unzip.unused_data if unzip.eof else b""
                    unzip = None if unzip.eof else unzip
    except (OSError, zstandard.ZstdError, MemoryError) as error:
        raise BagError(source, f"zstd decompression failed: {error}") from error
    if unzip is not None or not written:
        raise BagError(source, f"zstd decompression failed: it is cut off after {written} bytes")


def check_space(folder: Path, needed: int) -> None:
    """Refuses to fill a disk with temporary files.

    Raises:
        BagError: When `needed` bytes more would leave less than RESERVE_BYTES.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + RESERVE_BYTES:
        raise BagError(
            folder,
            f"has {free / 1e6:.0f} MB free, {(needed + RESERVE_BYTES) / 1e6:.0f} MB are needed "
            "for temporary files: set TMPDIR to a folder on a larger disk",
        )


def _stated(head: bytes) -> int:
    """The size that a zstd frame's header states; -1 where it states none."""
    return zstandard.frame_content_size(head) if head else -1


def _unzstd(data: bytes, size: int) -> bytes:
    try:
        stated = zstandard.frame_content_size(data)
        if stated not in (-1, size):
            raise UnpackError(f"its zstd frame holds {stated} bytes, its header says {size}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=max(size, 1))
    except (zstandard.ZstdError, MemoryError) as error:
        raise UnpackError(f"does not decompress: {error}") from error


def _unlz4(data: bytes, size: int) -> bytes:
    unzip = lz4.frame.LZ4FrameDecompressor()
    try:
        raw = unzip.decompress(data, max_length=size + 1)
    except (RuntimeError, MemoryError) as error:
        raise UnpackError(f"does not decompress: {error}") from error
    if not unzip.eof and len(raw) <= size:
        raise UnpackError("its lz4 frame has no end")
    return raw

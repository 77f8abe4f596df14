"""Lossless PNG, several times as fast as by Pillow, and mostly smaller for camera images.

One filter for all rows (the difference to the row above) takes numpy a fraction of what trying
five of them a row takes. What deflate does best with depends on the picture: noise of a camera is
served by Huffman codes and runs alone, flat areas of a renderer by repeats; a few rows show which.

Source: W3C PNG specification; RFC 1950, RFC 1951.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # filter: difference to the row above
_PROBE_ROWS = 16
_LEVEL = 1


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an image losslessly; the same image always gives the same bytes.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    height, width, _ = image.shape
    flat = np.ascontiguousarray(image).reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    middle = max(0, (height - _PROBE_ROWS) // 2)
    probe = rows[middle : middle + _PROBE_ROWS]
    strategy = min(
        (zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY), key=lambda choice: len(_deflate(probe, choice))
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", head),
            *_chunk(b"IDAT", _deflate(rows, strategy)),
            *_chunk(b"IEND", b""),
        )
    )


def _deflate(rows: np.ndarray, strategy: int) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return packer.compress(rows) + packer.flush()


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    crc = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)

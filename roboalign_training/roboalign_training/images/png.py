"""Lossless PNG, many times as fast as by Pillow, and mostly smaller for camera images.

One filter for all rows (the difference to the row above) takes numpy a fraction of what trying
five of them a row takes, and ISA-L deflates several times as fast as zlib.

Source: W3C PNG specification; RFC 1950, RFC 1951.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # filter: difference to the row above
_LEVEL = 1  # of 0 to 3: as small as 2 and 3 for pictures of cameras


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an image losslessly; on one computer the same image gives the same bytes.

    Nearly always: twice in some 10^5 images ISA-L passed a match by that it finds as a rule. No
    hash of a data set's content depends on the bytes.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    # Here, because a computer that only trains on images need not have it.
    from isal import isal_zlib

    height, width, _ = image.shape
    flat = np.ascontiguousarray(image).reshape(height, 3 * width)
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = _UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (
            _SIGNATURE,
            *_chunk(b"IHDR", head),
            *_chunk(b"IDAT", isal_zlib.compress(rows, _LEVEL)),
            *_chunk(b"IEND", b""),
        )
    )


def encoder_version() -> str:
    """What the bytes of a PNG depend on beside its image."""
    from isal import __version__

    return f"isal {__version__}, level {_LEVEL}"


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, ...]:
    crc = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", crc)

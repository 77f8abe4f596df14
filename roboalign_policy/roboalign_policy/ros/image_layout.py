"""Size of a serialised image, read without taking a copy of its pixels."""

from __future__ import annotations

import struct
from collections.abc import Sequence

_HEADER = 4  # bytes of the CDR encapsulation; alignment counts from behind it
_STAMP = 8  # bytes of std_msgs/Header before its frame_id


def image_fault(serialised: bytes, shape: Sequence[int]) -> str:
    """Return what is wrong with the size of an image; empty where nothing is.

    Args:
        serialised: CDR of a sensor_msgs/msg/Image.
        shape: height and width as the contract has them.

    Source: OMG DDSI-RTPS 2.3, 10.2 (CDR): a string is its length with the final zero, then bytes;
    numbers are aligned to their size.
    """
    order = "<" if serialised[1] & 1 else ">"

    def number(place: int) -> tuple[int, int]:
        place += -(place - _HEADER) % 4
        return struct.unpack_from(order + "I", serialised, place)[0], place + 4

    def text(place: int) -> int:
        length, place = number(place)
        return place + length

    try:
        height, place = number(text(_HEADER + _STAMP))
        width, place = number(place)
        row, place = number(text(place) + 1)  # after encoding and is_bigendian
        held, _ = number(place)
    except struct.error:
        return "found a message that ends within its fields"
    if (height, width) != tuple(shape[:2]):
        return f"height x width: found {height} x {width}, expected {shape[0]} x {shape[1]}"
    if held != height * row:
        return f"data: found {held} bytes, expected height x step, {height} x {row}"
    return ""

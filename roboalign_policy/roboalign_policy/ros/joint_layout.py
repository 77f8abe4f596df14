"""Joints that a serialised message names, read without deserialising the rest."""

from __future__ import annotations

import struct
from typing import Any

_HEADER = 4  # bytes of the CDR encapsulation; alignment counts from behind it
_FRAME_ID = 12  # bytes before std_msgs/Header's frame_id: encapsulation and stamp
_NAMES = ("name", "joint_names")


def has_leading_names(message_class: Any) -> bool:
    """True where `leading_names` applies: a Header and then the names, as in JointState."""
    fields = list(message_class.get_fields_and_field_types().items())[:2]
    return (
        len(fields) == 2
        and fields[0][1] == "std_msgs/Header"
        and fields[1][0] in _NAMES
        and fields[1][1] == "sequence<string>"
    )


def leading_names(serialised: bytes) -> tuple[str, ...]:
    """Read the joints that a message names; none of one that is cut off.

    Args:
        serialised: CDR bytes of a type for which `has_leading_names`.

    Source: OMG DDSI-RTPS 2.3, 10.2 (CDR): a sequence is its length, then its items; a string is
    its length with the final zero, then bytes; numbers are aligned to their size.
    """
    order = "<" if serialised[1] & 1 else ">"

    def number(place: int) -> tuple[int, int]:
        place += -(place - _HEADER) % 4
        return struct.unpack_from(order + "I", serialised, place)[0], place + 4

    names = []
    try:
        length, place = number(_FRAME_ID)
        count, place = number(place + length)
        for _ in range(min(count, len(serialised))):
            length, place = number(place)
            names.append(bytes(serialised[place : place + length - 1]).decode(errors="replace"))
            place += length
    except struct.error:
        return ()
    return tuple(names)

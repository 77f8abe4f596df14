"""Time stamps: messages and clocks to integer nanoseconds and back."""

import struct
from typing import Any

from builtin_interfaces.msg import Time

NS_PER_S = 1_000_000_000


def stamp_to_ns(stamp: Any) -> int:
    """Nanoseconds of a builtin_interfaces Time (of rclpy or of ``rosbags``)."""
    return stamp.sec * NS_PER_S + stamp.nanosec


def ns_to_stamp(ns: int) -> Time:
    """builtin_interfaces Time of nanoseconds.

    Raises:
        ValueError: negative, or more seconds than the 31 bits of the message hold.
    """
    if not 0 <= ns < 2**31 * NS_PER_S:
        raise ValueError(f"stamp: found {ns} ns, expected 0 .. {2**31 * NS_PER_S - 1} ns")
    return Time(sec=ns // NS_PER_S, nanosec=ns % NS_PER_S)


def has_leading_stamp(message_class: Any) -> bool:
    """True where :func:`leading_stamp_ns` applies: the first field is a Header or a Time."""
    first = next(iter(message_class.get_fields_and_field_types().values()), "")
    return first in ("std_msgs/Header", "builtin_interfaces/Time")


def leading_stamp_ns(serialised: bytes) -> int:
    """Read the stamp that a serialised message begins with, without deserialising the rest.

    Args:
        serialised: CDR bytes, encapsulation header (4 bytes) first, of a type for which
            :func:`has_leading_stamp`.

    Source: OMG DDSI-RTPS 2.3, 10.2: the second byte's lowest bit is set for little endian.
    """
    order = "<" if serialised[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(order + "iI", serialised, 4)
    return seconds * NS_PER_S + nanoseconds

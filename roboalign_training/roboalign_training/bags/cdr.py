"""Decodes CDR messages; bytes behind the last field belong to none.

Fast CDR does not look at them, and writers leave some: `rclpy.serialize_message` hands out the
size that it reckoned with, which is more than it wrote where sequences are empty.
"""

from __future__ import annotations

import struct
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys.store import Typestore

from roboalign_training.bags.errors import HAND_IN
from roboalign_training.bags.typestores import rivals

_HEAD = 4  # bytes of encapsulation
_PADDING = 3  # bytes that any writer may leave behind
# What a message that is none makes the generated decoders raise.
_FAULTS = (
    *(SerdeError, struct.error, ValueError, TypeError, LookupError),
    *(AssertionError, ArithmeticError, RecursionError, MemoryError),
)


class DecodeError(ValueError):
    """Bytes that are no message of their type; the text says why, and how many they are."""


def decode_cdr(store: Typestore, kind: str, data: bytes) -> Any:
    """Decodes one message.

    Args:
        store: Knows the type.
        kind: Name of the type.
        data: The message with its encapsulation, and whatever stands behind it.

    Returns:
        An object whose attributes are the message's fields; arrays are numpy.

    Raises:
        DecodeError: They are none, or end within a field.
    """
    size = f"{len(data)} bytes"
    if len(data) < _HEAD or bytes(data[:2]) not in (b"\0\0", b"\0\1"):
        begin = bytes(data[:_HEAD]).hex(" ") or "nothing"
        raise DecodeError(
            f"does not decode as {kind}: {size} that begin with {begin}, expected CDR (00 00 or "
            "00 01)"
        )
    try:
        definition = store.get_msgdef(kind)
        read = definition.deserialize_cdr_le if data[1] else definition.deserialize_cdr_be
        message, end = read(data[_HEAD:], 0, definition.cls, store)
    except _FAULTS as error:
        raise DecodeError(f"does not decode as {kind}: {error} ({size})") from error
    if end + _HEAD > len(data):
        raise DecodeError(f"does not decode as {kind}: {size}, expected {end + _HEAD}")
    if len(data) - end - _HEAD > _PADDING:
        _refuse_another(store, kind, data, end + _HEAD)
    return message


def _refuse_another(store: Typestore, kind: str, data: bytes, end: int) -> None:
    """Refuses a message with bytes behind it that another definition of its type explains.

    Raises:
        DecodeError: By another definition it fits.
    """
    for whose, rival in rivals(store, kind):
        definition = rival.get_msgdef(kind)
        read = definition.deserialize_cdr_le if data[1] else definition.deserialize_cdr_be
        try:
            _, reached = read(data[_HEAD:], 0, definition.cls, rival)
        except _FAULTS:
            continue
        if 0 <= len(data) - reached - _HEAD <= _PADDING:
            raise DecodeError(
                f"does not decode as {kind}: its definition takes {end} of {len(data)} bytes, "
                f"that of ROS 2 {whose} takes all: hand in the right one {HAND_IN}"
            )

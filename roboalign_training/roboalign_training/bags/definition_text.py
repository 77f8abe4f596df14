"""Message definitions as recordings carry them: `ros2msg` and `ros2idl`, from any writer."""

from __future__ import annotations

import re

from rosbags.typesys import get_types_from_idl, get_types_from_msg

_LINE = "=" * 80
_IDL_SEPARATOR = f"{_LINE}\n"
# Between the definitions of types; some writers leave out the line end before it.
_JOINED = re.compile(rf"(?<=[^\n=])({_LINE})\n(?=(?:MSG|IDL): )")
# What is included follows as a part of its own; rosbags has no preprocessor.
_IDL_INCLUDE = re.compile(r"^\s*#include\b.*$", re.MULTILINE)


def plain_text(text: str) -> str:
    """A definition with line ends of one kind, also before each separator."""
    text = text.removeprefix("\ufeff").rstrip("\0").replace("\r\n", "\n").replace("\r", "\n")
    return _JOINED.sub(r"\n\1\n", text)


def parse_definition(name: str, form: str, text: str) -> dict:
    """Field definitions of one type and those it is made of.

    Args:
        name: ROS 2 type name.
        form: "MSG" or "IDL".
        text: As the bag carries it.

    Raises:
        Exception: Of many kinds, where the text is no definition.
    """
    text = plain_text(text)
    if form == "MSG" and not text.startswith(_IDL_SEPARATOR):
        return get_types_from_msg(text, name)
    if not text.startswith(_IDL_SEPARATOR):
        return get_types_from_idl(_IDL_INCLUDE.sub("", text))
    types: dict = {}
    for part in text.split(_IDL_SEPARATOR)[1:]:
        header, body = part.split("\n", 1)
        if not header.startswith("IDL: "):
            raise ValueError(f"expected a line 'IDL: type', found {header!r}")
        types.update(get_types_from_idl(_IDL_INCLUDE.sub("", body)))
    return types


def parse_fault(error: Exception) -> str:
    """Says in one line where a definition does not parse."""
    # rosbags prints "Could not parse:", the whole text, the position, and what stands there.
    lines = str(error).splitlines()
    return f"near {lines[3]!r} (character {lines[2]})" if len(lines) > 3 else str(error)

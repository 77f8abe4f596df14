"""A URDF's text as XML elements and numbers, read as one reads a stranger's."""

from __future__ import annotations

import math
from xml.etree import ElementTree

# A humanoid with hands has half a million characters; a description that fills the memory of a
# robot's computer is refused before it is looked at.
MAX_CHARACTERS = 4_000_000
MAX_DEPTH = 32


class UrdfError(ValueError):
    """A text that is not the URDF of a robot; says where, what was found and what was expected."""

    def __init__(self, where: str, fault: str) -> None:
        """Joins the place and the fault."""
        super().__init__(f"{where}: {fault}")


class _Builder(ElementTree.TreeBuilder):
    """Builds elements; stops at a document type, before any entity of it is expanded."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self._depth = 0

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise UrdfError(
            self._source, f"found document type {name!r}, expected none: entities are not read"
        )

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UrdfError(
                self._source, f"<{tag}>: found more than {MAX_DEPTH} elements inside one another"
            )
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def parse_xml(text: str, source: str) -> ElementTree.Element:
    """The outermost element of a text.

    Args:
        text: XML without a document type.
        source: where it came from, for messages.

    Raises:
        UrdfError: it is too long, no XML, too deep, or has a document type.
    """
    if len(text) > MAX_CHARACTERS:
        raise UrdfError(source, f"found {len(text)} characters, expected at most {MAX_CHARACTERS}")
    if not text.strip():
        raise UrdfError(source, "found an empty text, expected a URDF")
    parser = ElementTree.XMLParser(target=_Builder(source))
    try:
        parser.feed(text)
        return parser.close()
    except ElementTree.ParseError as error:
        raise UrdfError(source, f"found no well-formed XML ({error}), expected a URDF") from error
    except UnicodeEncodeError as error:
        raise UrdfError(source, f"found no text in Unicode ({error}), expected a URDF") from error


def read_number(
    element: ElementTree.Element, key: str, default: float | None, where: str
) -> float:
    """The attribute `key` as a finite number; without a default it has to be there.

    Raises:
        UrdfError: it is missing or no finite number.
    """
    text = element.get(key)
    if text is not None:
        return _finite(text, key, where)
    if default is None:
        raise UrdfError(where, f"{key}: found none, expected a number")
    return default


def read_vector(
    element: ElementTree.Element | None, key: str, default: tuple[float, ...], where: str
) -> tuple[float, ...]:
    """The attribute `key` as three finite numbers; the default where it is missing.

    Raises:
        UrdfError: it is something else.
    """
    text = None if element is None else element.get(key)
    if text is None:
        return default
    parts = text.split()
    if len(parts) != 3:
        raise UrdfError(where, f"{key}: found {text[:60]!r}, expected 3 numbers")
    return tuple(_finite(part, key, where) for part in parts)


def _finite(text: str, key: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UrdfError(where, f"{key}: found {text[:60]!r}, expected a finite number")
    return value

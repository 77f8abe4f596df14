"""What one key of a contract may hold; `contract_schema.py` lists the keys."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

REQUIRED = object()  # marks a key without default


@dataclass(frozen=True)
class Key:
    """What one key may hold.

    Attributes:
        kind: text, identifier, topic, type, unit, integer, number, pair (two numbers, low < high),
            shape, box, size, texts, words, section (a mapping), sections (a list of mappings) or
            named (a mapping from names to mappings).
        doc: what the key says, for people.
        default: value where the key is left out; `REQUIRED` where it may not be.
        low: least value; exclusive where `open_low`.
        high: greatest value.
        unit: unit of the number.
        choices: the only values allowed.
        section: section of `SCHEMA` that describes the mapping or the items.
        least: least number of items.
    """

    kind: str
    doc: str
    default: Any = REQUIRED
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    unit: str = ""
    choices: tuple[str, ...] = ()
    section: str = ""
    least: int = 0

    @property
    def range_text(self) -> str:
        """The allowed values, for people."""
        if self.choices:
            return " \\| ".join(self.choices)
        if self.kind in ("number", "integer") and (self.low, self.high) != (-math.inf, math.inf):
            low = "" if self.low == -math.inf else f"{'>' if self.open_low else '>='} {self.low:g}"
            high = "" if self.high == math.inf else f"<= {self.high:g}"
            return ", ".join(part for part in (low, high) if part)
        return {
            "identifier": "lower case letters, digits, _",
            "topic": "a ROS name, relative",
            "type": "package/msg/Name",
            "unit": "an SI unit",
            "number": "finite, not 0",
            "pair": "[low, high], low < high",
            "shape": "[height, width, 3]",
            "box": "[x, y, width, height]",
            "size": "[height, width]",
            "texts": f"list, at least {self.least}",
            "words": "[[below, word], ...] up to .inf",
            "section": "a mapping",
            "sections": f"list, at least {self.least}" if self.least else "list",
            "named": "a mapping by dimension",
        }.get(self.kind, "text")

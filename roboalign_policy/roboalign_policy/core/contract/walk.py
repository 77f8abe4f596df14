"""Walk the data of a contract along its schema: unknown, missing, wrong kind, out of range."""

from __future__ import annotations

import math
import re
from typing import Any

from roboalign_policy.core.contract.faults import (
    ERROR,
    WARNING,
    ContractFault,
    did_you_mean,
    shown,
)
from roboalign_policy.core.contract.key import REQUIRED, Key
from roboalign_policy.core.contract.schema import SCHEMA
from roboalign_policy.core.contract.text import ContractText
from roboalign_policy.core.contract.units import UNIT_HINTS, parse_unit

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*\Z")
_TYPE = re.compile(r"[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*\Z")
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*\Z")


def _join(where: str, key: Any) -> str:
    return f"{where}.{key}" if where else str(key)


def _whole_numbers(value: Any, count: int, least: int) -> bool:
    """Whether a value is a list of so many pixel numbers."""
    return (
        isinstance(value, (list, tuple))
        and len(value) == count
        and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
        and all(least <= v <= 16384 for v in value)
    )


class Checker:
    """Walks the data of a contract and collects the faults.

    Attributes:
        faults: what was found wrong, in the order of the walk.
    """

    def __init__(self, source: str, text: ContractText | None = None):
        self._file, self._lines = source, text
        self.faults: list[ContractFault] = []

    def fault(
        self, key: str, found: str, expected: str, hint: str = "", severity: str = ERROR
    ) -> None:
        """Note a fault, with the line of its key where the text is known."""
        line = self._lines.line(key) if self._lines else None
        self.faults.append(ContractFault(self._file, key, found, expected, hint, severity, line))

    def section(self, name: str, data: Any, where: str) -> dict[str, Any]:
        """Check a mapping against a section of the schema; return it with defaults filled in."""
        schema = SCHEMA[name]
        if not isinstance(data, dict):
            self.fault(where, shown(data), f"a mapping with {', '.join(schema)}")
            return {}
        for key in data:
            if key not in schema:
                self.fault(
                    _join(where, key),
                    f"the unknown key {shown(key)}",
                    f"one of {', '.join(schema)}",
                    did_you_mean(key, schema),
                )
        result = {}
        for name_, key in schema.items():
            at = _join(where, name_)
            if data.get(name_) is not None:
                result[name_] = self._value(key, data[name_], at)
            elif name_ in data and key.default is not None:
                self.fault(at, "no value after the key", key.range_text, key.doc)
            elif key.default is REQUIRED:
                self.fault(at, "nothing", f"{name_}: {key.range_text}", key.doc)
            elif key.default is not None:
                result[name_] = self._value(key, key.default, at)
        return result

    def _value(self, key: Key, value: Any, where: str) -> Any:
        if key.kind == "section":
            if isinstance(value, dict) and isinstance(key.default, dict):
                # What a partly given section leaves out comes from this place's own default.
                value = {**key.default, **value}
            return self.section(key.section, value, where)
        if key.kind == "sections":
            if not isinstance(value, (list, tuple)) or len(value) < key.least:
                self.fault(where, shown(value), f"a list of at least {key.least}", key.doc)
                return []
            return [self.section(key.section, v, f"{where}[{i}]") for i, v in enumerate(value)]
        if key.kind == "named":
            if not isinstance(value, dict) or len(value) < key.least:
                self.fault(where, shown(value), "a mapping from action dimensions to fields")
                return {}
            return {
                str(k): self.section(key.section, v, _join(where, k)) for k, v in value.items()
            }
        check = getattr(self, f"_{key.kind}")
        return check(key, value, where)

    def _text(
        self, key: Key, value: Any, where: str, pattern: re.Pattern | None = None, hint: str = ""
    ) -> str:
        if not isinstance(value, str) or (pattern and not pattern.match(value)):
            if value is True or value is False:
                hint = "YAML reads on, off, yes and no as true and false: put quotes around it"
            self.fault(where, shown(value), key.range_text.replace("\\|", "|"), hint)
            return ""
        if key.choices and value not in key.choices:
            self.fault(
                where,
                shown(value),
                f"one of {', '.join(key.choices)}",
                did_you_mean(value, key.choices),
            )
            return ""
        return value

    def _identifier(self, key: Key, value: Any, where: str) -> str:
        return self._text(key, value, where, _IDENTIFIER)

    def _type(self, key: Key, value: Any, where: str) -> str:
        hint = ""
        if isinstance(value, str) and re.fullmatch(r"[a-z]\w*/[A-Z]\w*", value):
            hint = f"did you mean {value.replace('/', '/msg/')!r}?"
        return self._text(key, value, where, _TYPE, hint)

    def _topic(self, key: Key, value: Any, where: str) -> str:
        topic = self._text(
            key, value, where, _TOPIC, "letters, digits and _ between single slashes, no ~"
        )
        if topic.startswith("/"):
            self.fault(
                where,
                shown(topic),
                "a relative topic",
                "an absolute topic ignores the namespace: a second robot would collide",
                WARNING,
            )
        return topic

    def _unit(self, key: Key, value: Any, where: str) -> str:
        try:
            if not isinstance(value, str):
                raise ValueError
            if key.choices and value not in key.choices:
                raise ValueError
            parse_unit(value)
            return value
        except ValueError:
            last = value.split()[-1] if isinstance(value, str) and value.split() else ""
            expected = (
                f"one of {', '.join(key.choices)}"
                if key.choices
                else 'a unit such as "0.05 m", "rad" or "1"'
            )
            hint = UNIT_HINTS.get(last, "") if isinstance(value, str) else 'put it in quotes: "1"'
            self.fault(where, shown(value), expected, hint)
            return ""

    def _number(self, key: Key, value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            hint = ""
            if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9.]+[eE][-+]?[0-9]+", value):
                hint = "YAML wants a point and a sign in it: 1.0e+3"
            self.fault(where, shown(value), f"a number, {key.range_text}", hint)
            return math.nan
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        low_ok = number > key.low if key.open_low else number >= key.low
        zero_ok = number != 0 or (key.low, key.high) != (-math.inf, math.inf)
        if not math.isfinite(number) or not low_ok or number > key.high or not zero_ok:
            self.fault(
                where,
                shown(value),
                f"a number, {key.range_text}",
                f"unit {key.unit}" if key.unit else "",
            )
            return math.nan
        return number

    def _integer(self, key: Key, value: Any, where: str) -> int:
        if (
            isinstance(value, bool)
            or not isinstance(value, int)
            or not key.low <= value <= key.high
        ):
            self.fault(
                where,
                shown(value),
                f"a whole number, {key.range_text}",
                f"unit {key.unit}" if key.unit else "",
            )
            return 0
        return value

    def _pair(self, key: Key, value: Any, where: str) -> list[float]:
        numbers = (
            [
                float(v)
                for v in value
                if isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e300
            ]
            if isinstance(value, (list, tuple))
            else []
        )
        if len(numbers) != 2 or len(value) != 2 or not numbers[0] < numbers[1]:
            self.fault(where, shown(value), "two finite numbers, [low, high] with low < high")
            return []
        return numbers

    def _shape(self, key: Key, value: Any, where: str) -> list[int]:
        if not _whole_numbers(value, 3, 1) or value[2] != 3:
            self.fault(
                where,
                shown(value),
                "[height, width, 3] in px, 1 to 16384",
                "inside, every image is rgb8: three channels, whatever the camera sends",
            )
            return []
        return list(value)

    def _box(self, key: Key, value: Any, where: str) -> list[int]:
        good = _whole_numbers(value, 4, 0) and min(value[2:]) > 0
        if not good:
            self.fault(where, shown(value), "four whole numbers, [x, y, width, height] in px")
        return list(value) if good else []

    def _size(self, key: Key, value: Any, where: str) -> list[int]:
        good = _whole_numbers(value, 2, 1)
        if not good:
            self.fault(where, shown(value), "two whole numbers, [height, width] in px, 1 to 16384")
        return list(value) if good else []

    def _texts(self, key: Key, value: Any, where: str) -> list[str]:
        if (
            not isinstance(value, (list, tuple))
            or len(value) < key.least
            or not all(isinstance(v, str) and v for v in value)
        ):
            self.fault(where, shown(value), f"a list of at least {key.least} texts")
            return []
        if len(set(value)) != len(value):
            self.fault(where, shown(value), "every text once")
        return list(value)

    def _words(self, key: Key, value: Any, where: str) -> list[list[Any]]:
        expected = "[[bound, word], ...] with rising bounds, the last .inf, words without blanks"
        good = (
            isinstance(value, (list, tuple))
            and len(value) >= key.least
            and all(
                isinstance(v, (list, tuple))
                and len(v) == 2
                and isinstance(v[0], (int, float))
                and not isinstance(v[0], bool)
                and isinstance(v[1], str)
                and re.fullmatch(r"[A-Za-z0-9_-]+", v[1])
                for v in value
            )
        )
        if not good:
            self.fault(where, shown(value), expected)
            return []
        bounds = [float(v[0]) for v in value]
        rising = all(a < b for a, b in zip(bounds[:-1], bounds[1:], strict=True))
        if not rising or bounds[-1] != math.inf:
            self.fault(where, shown(value), expected)
            return []
        return [[float(bound), word] for bound, word in value]

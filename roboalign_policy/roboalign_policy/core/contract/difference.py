"""In which keys two contracts differ, in words that fit on a line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

_LONGEST = 100
_NAMES = ("name", "label", "key")


def differences(found: Any, expected: Any, key: str) -> list[str]:
    """Walk two values of the same kind and say where they differ.

    Args:
        found: numbers, texts, dataclasses of a contract, or sequences of these.
        expected: the same of the other contract.
        key: where they stand.

    Returns:
        Texts ``key: found X, expected Y``; of parts that others than named ones make up, only
        their names.
    """
    if found == expected:
        return []
    if is_dataclass(found) and type(found) is type(expected):
        parts = (
            (f.name, getattr(found, f.name), getattr(expected, f.name)) for f in fields(found)
        )
        return [text for name, a, b in parts for text in differences(a, b, f"{key}.{name}")]
    if _names(found) and _names(expected):
        if _names(found) != _names(expected):
            return [f"{key}: found {_listed(found)}, expected {_listed(expected)}"]
        return [
            text
            for name, a, b in zip(_names(found), found, expected, strict=True)
            for text in differences(a, b, f"{key}[{name}]")
        ]
    return [f"{key}: found {_short(found)}, expected {_short(expected)}"]


def _names(value: Any) -> list[str]:
    """Names of a sequence's parts; empty where they have none."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return []
    names = [next((str(getattr(p, n)) for n in _NAMES if hasattr(p, n)), "") for p in value]
    return names if all(names) else []


def _listed(value: Sequence[Any]) -> str:
    return f"{len(value)} ({_short(', '.join(_names(value)))})"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

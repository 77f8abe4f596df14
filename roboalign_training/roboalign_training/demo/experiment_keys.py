"""Values of an experiment's file: each is of its type, or named with what was expected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from roboalign_training.shared.fields import require
from roboalign_training.shared.suggestions import did_you_mean


def mapping(where: str, value: Any) -> Mapping[str, Any]:
    """Keys with values.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, dict):
        found = f"{where}: " if where else ""
        raise ValueError(f"{found}found {value!r}, expected keys with values")
    return value


def check_known(where: str, keys: Mapping[str, Any], known: Sequence[str] | set[str]) -> None:
    """Refuse keys that nothing reads.

    Raises:
        ValueError: naming the key and the nearest known one.
    """
    for key in keys:
        if key not in known:
            place = f"{where}: " if where else ""
            near = did_you_mean(str(key), known)
            listed = f", expected one of {', '.join(known)}" if len(known) < 20 else ""
            raise ValueError(f"{place}found the unknown key {key!r}{listed}{near}")


def seeds_of(where: str, value: Any) -> tuple[int, ...]:
    """Training seeds.

    Raises:
        ValueError: not a list of different ones.
    """
    whole = isinstance(value, list) and all(type(seed) is int and seed >= 0 for seed in value)
    require(where, value, whole and bool(value), "a list of whole numbers, 0 or more")
    require(where, value, max(value) < 2**32, "seeds below 2**32, as the trainers take them")
    require(where, value, len(set(value)) == len(value), "each seed once")
    return tuple(value)


def survives(options: Mapping[str, Any]) -> bool:
    """Whether JSON, in which stages record what they were done with, keeps these as they are."""
    try:
        return json.loads(json.dumps(options, allow_nan=False)) == options
    except (TypeError, ValueError):
        return False

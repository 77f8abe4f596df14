"""What differs between the configuration of a result that is there and the one asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_HASH = re.compile("[0-9a-f]{64}")


def differences(
    found: Mapping[str, Any],
    wanted: Mapping[str, Any],
    ignored: Iterable[str] = (),
    *,
    all_keys: bool = False,
) -> list[str]:
    """What differs between two configurations, as `key: found A, now B`.

    Args:
        found: of the result that is there.
        wanted: now.
        ignored: keys, dotted, that do not count.
        all_keys: whether a key that only one of them has counts too; else it is taken for one of
            another version of this suite or of its libraries.
    """
    left_out = set(ignored)
    before, now = _flat(_plain(found)), _flat(_plain(wanted))
    keys = before.keys() | now.keys() if all_keys else before.keys() & now.keys()
    return [
        f"{key}: found {_shown(before, key)}, now {_shown(now, key)}"
        for key in sorted(keys)
        if not _covers(left_out, key)
        and ((key in before) != (key in now) or before[key] != now[key])
    ]


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def _covers(ignored: set[str], key: str) -> bool:
    parts = key.split(".")
    return any(".".join(parts[: n + 1]) in ignored for n in range(len(parts)))


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "nothing"
    if isinstance(values[key], str) and _HASH.fullmatch(values[key]):
        return values[key][:12]
    text = json.dumps(values[key], ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."

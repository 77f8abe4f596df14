"""Identities of things: SHA-256 over canonical JSON and files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path

_BLOCK = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


def _plain(value: object) -> object:
    """Replace floats that JSON has no word for; everything else stays."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float:{value}"
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: keys sorted, no blanks, non-finite floats as strings.

    Raises:
        TypeError: the value holds something that is no JSON type.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def sha256_json(value: object) -> str:
    """Return the SHA-256 hex of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def short_name(name: str) -> str:
    """Return the beginning of a SHA-256 (hex), which tells it apart; any other name is whole."""
    return name[:12] if _SHA256.fullmatch(name) else name


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 hex of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()

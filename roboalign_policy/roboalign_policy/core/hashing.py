"""Identities of things: SHA-256 over canonical JSON, files and folders."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
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


def sha256_folder(folder: str | Path, names: Iterable[str] | None = None) -> str:
    """Return the SHA-256 hex over the files of a folder: their relative names and contents.

    Args:
        folder: the folder.
        names: relative file names to take; all files below the folder when None.

    Raises:
        FileNotFoundError: the folder or a named file does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if names is None:
        names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sha256_json({name: sha256_file(folder / name) for name in sorted(names)})

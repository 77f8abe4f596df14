"""JSON lines: one document a line, where a line ends at a line feed and nowhere else."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any


def read_json_lines(path: Path, *, whole_lines: bool = False) -> list[tuple[int, Any]]:
    """Read a file of JSON lines.

    `str.splitlines` also splits at U+2028, U+0085 and others, which stand unescaped in the texts
    of JSON; at those, a line goes on here.

    Args:
        path: UTF-8, with or without a byte order mark, line ends LF or CRLF.
        whole_lines: leave out a last line without its end, which a kill cut off.

    Returns:
        Number of the line, from 1 on, and what stands in it; empty lines are left out.

    Raises:
        ValueError: a line is not UTF-8 or no JSON; the text names the line.
        OSError: the file cannot be read.
    """
    *lines, last = path.read_bytes().removeprefix(BOM_UTF8).split(b"\n")
    if not whole_lines:
        lines.append(last)
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append((number, json.loads(line.decode("utf-8"))))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return found

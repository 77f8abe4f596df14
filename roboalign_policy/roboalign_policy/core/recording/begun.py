"""What is known of an episode when it begins, beside a bag that another program writes.

The recorder's own bags hold it in the MCAP file. `ros2 bag record` takes custom data at its end
only: until then it lies in the hidden folder, for whoever recovers a bag that was never finished.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FILE = "roboalign.begun.json"


def write_begun(partial: Path, known: Mapping[str, str]) -> None:
    """Write it.

    Args:
        partial: the hidden folder.
        known: custom data.

    Raises:
        OSError: it cannot be written.
    """
    text = json.dumps(dict(known), ensure_ascii=False, indent=1)
    (partial / FILE).write_text(text + "\n", encoding="utf-8")


def read_begun(partial: Path) -> dict[str, str]:
    """Read it; empty where there is none, or none that reads: like the rest it may be damaged."""
    try:
        found = json.loads((partial / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def remove_begun(partial: Path) -> None:
    """Remove it, where it is."""
    (partial / FILE).unlink(missing_ok=True)

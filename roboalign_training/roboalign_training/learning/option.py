"""An option as a field of a dataclass, and the refusal of a value that cannot be one."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from roboalign_training.shared.run_layout import ConfigError


def option(default: Any, group: str, text: str, **more: Any) -> Any:
    """A field with its help.

    Args:
        default: its value where none is given.
        group: heading of the help that it stands below.
        text: of the help.
        more: further metadata, see `shared.fields`.
    """
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata={"help": text, "group": group, **more})
    return field(default=default, metadata={"help": text, "group": group, **more})


def require(key: str, value: Any, holds: bool, expected: str) -> None:
    """Raises ConfigError unless `holds`."""
    if not holds:
        raise ConfigError(f"{key}: found {value!r}, expected {expected}")

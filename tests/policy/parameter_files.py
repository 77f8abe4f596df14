"""The parameter files in `config/`: what they say, and what they should."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from roboalign_policy.core.parameters.declared import ParameterError, parameters_from_dict


def load_parameters(path: str | Path, cls: type) -> Any:
    """Read a ROS 2 parameter file (``/**: ros__parameters: ...``) into ``cls``.

    Raises:
        ParameterError: the file is not of that form, or a value is not usable.
    """
    loaded = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    try:
        values = loaded["/**"]["ros__parameters"]
    except (TypeError, KeyError):
        raise ParameterError(
            f"{path}: found no '/**: ros__parameters:', expected one at the top"
        ) from None
    return parameters_from_dict(cls, values or {}, str(path))


def parameters_to_yaml(parameters: Any) -> str:
    """Render as a ROS 2 parameter file with each value's description, unit and range beside it."""
    lines = ["/**:", "  ros__parameters:"]
    for item in fields(parameters):
        meta = item.metadata
        notes = [meta["description"]]
        if meta["unit"]:
            notes.append(f"unit {meta['unit']}")
        bounds = [
            f"{word} {meta[key]}"
            for word, key in (("from", "low"), ("to", "high"))
            if meta[key] is not None
        ]
        if bounds:
            notes.append(" ".join(bounds))
        if meta["choices"]:
            notes.append(" | ".join(meta["choices"]))
        value = yaml.safe_dump(
            asdict(parameters)[item.name], default_flow_style=True
        ).splitlines()[0]
        lines += [f"    # {'; '.join(notes)}", f"    {item.name}: {value}"]
    return "\n".join(lines) + "\n"

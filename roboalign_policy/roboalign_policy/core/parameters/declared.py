"""Node parameters as dataclasses: default, unit, range and description stand in one place.

A node's parameters are a dataclass whose fields are made with :func:`param`. Defaults live there
only; the YAML file in ``config/`` repeats them for people to edit, and a test asserts that the two
agree. ``roboalign_policy.ros.parameters`` declares such a dataclass on a node.
"""

import math
from dataclasses import MISSING, field, fields
from typing import Any

SCALARS = (bool, int, float, str)


class ParameterError(ValueError):
    """A parameter's name, type or value is not usable.

    The text names key, value and what was expected.
    """


def param(
    default: Any,
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Field of a parameter dataclass.

    Args:
        default: bool, int, float or str; also fixes the parameter's type.
        description: what the value does, one line.
        unit: SI unit, or empty for a number without one and for text.
        low: smallest permitted value (numbers only).
        high: greatest permitted value (numbers only).
        choices: the permitted values (text only); empty for any.
    """
    meta = {"description": description, "unit": unit, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=meta)


def check_parameters(parameters: Any, source: str = "parameters") -> None:
    """Check type and range of every field.

    Args:
        parameters: instance of a dataclass made with :func:`param`.
        source: where the values come from (a file, a node's name), for the error text.

    Raises:
        ParameterError: one line a faulty field, all faults at once.
    """
    faults = [
        f"{source}: {item.name}: found {getattr(parameters, item.name)!r}, expected {expected}"
        for item in fields(parameters)
        if (expected := _expectation(item, getattr(parameters, item.name)))
    ]
    if faults:
        raise ParameterError("\n".join(faults))


def _expectation(item: Any, value: Any) -> str:
    """What was expected of a field's value, or an empty string when the value is fine."""
    kind, meta = type(item.default), item.metadata
    if item.default is MISSING or kind not in SCALARS:
        return f"a field made with param(), of type {', '.join(k.__name__ for k in SCALARS)}"
    if type(value) is not kind:
        return f"{kind.__name__}, not {type(value).__name__}"
    if kind is float and not math.isfinite(value):
        return "a finite number"
    if meta["choices"] and value not in meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    if meta["low"] is not None and value < meta["low"]:
        return f"at least {meta['low']} {meta['unit']}".rstrip()
    if meta["high"] is not None and value > meta["high"]:
        return f"at most {meta['high']} {meta['unit']}".rstrip()
    return ""


def parameters_from_dict(cls: type, values: dict[str, Any], source: str) -> Any:
    """Make and check an instance of ``cls``; keys left out keep their defaults.

    Raises:
        ParameterError: an unknown key, a wrong type or a value out of range.
    """
    known = [item.name for item in fields(cls)]
    if unknown := sorted(set(values) - set(known)):
        raise ParameterError(
            f"{source}: {', '.join(unknown)}: unknown, expected one of {', '.join(known)}"
        )
    made = cls(**values)
    check_parameters(made, source)
    return made

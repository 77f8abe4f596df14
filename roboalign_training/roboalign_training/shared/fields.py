"""Options of a command from the fields of a dataclass: name, type, default and help.

A field says in its metadata `help`, and may say `group` (a heading of the help; without one it
stands with the command's own options) and `shown` (what stands there for the default, where that
follows from the data).
"""

from __future__ import annotations

import argparse
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

import yaml

from roboalign_training.shared.plain_yaml import load_yaml

_TRUE, _FALSE = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def add_fields(
    parser: argparse.ArgumentParser, kind: type, defaults: Mapping[str, Any] | None = None
) -> None:
    """Add an option for each field with a help; what is not given is not in the result.

    Args:
        parser: of the command.
        kind: the dataclass.
        defaults: values to show instead of the fields' own, such as those of a file.
    """
    hints, groups = typing.get_type_hints(kind), {None: parser}
    for item in fields(kind):
        if "help" not in item.metadata:
            continue  # can only be set in a file
        title = item.metadata.get("group")
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(groups[title], item, hints[item.name], {**_own_default(item), **(defaults or {})})


def value_of(kind: type, name: str, value: Any) -> Any:
    """A value, as from a YAML file, as the field has it.

    Raises:
        ValueError: it is of another type.
    """
    return value_as(name, typing.get_type_hints(kind)[name], value)


def value_as(name: str, hint: Any, value: Any) -> Any:
    """A value, as from a YAML file, as a type hint has it; `name` stands in what is refused.

    Raises:
        ValueError: it is of another type.
    """
    if typing.get_origin(hint) is dict:
        return _mapping(f"{name}: ", typing.get_args(hint)[1], value)
    inner, optional, many = _parts(hint)
    if value is None:
        if optional:
            return None
        raise ValueError(f"{name}: found nothing, expected {_noun(inner)}")
    if many:
        items = value if isinstance(value, list | tuple) else [value]
        return [_converted(name, inner, item) for item in items]
    return _converted(name, inner, value)


def require_json(name: str, value: Any) -> None:
    """Refuses what would not come back from JSON as it is: a date, a key that is no text, NaN.

    Raises:
        ValueError: naming the key within the value, too.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"{name}: found the key {key!r}, expected a text, as {str(key)!r}"
                )
            require_json(f"{name}.{key}", item)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            require_json(f"{name}[{at}]", item)
    elif (value is not None and not isinstance(value, str | int | float)) or value != value:  # NaN
        shown = value if isinstance(value, float) else str(value)
        raise ValueError(
            f"{name}: found {shown!r} ({type(value).__name__}), expected a number, true or false, "
            "or a text, in quotes where it reads as something else"
        )


def mapping_text(values: Mapping[str, Any]) -> str:
    """A mapping as it stands on the command line, in YAML: `{format: 0.5, prefix: 0.5}`."""
    plain = dict(values)
    return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=math.inf).strip()


def underscored(words: Sequence[str], known: Mapping[str, Any]) -> list[str]:
    """The words with `--two-words` as `--two_words` where only that is known."""
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        other = "--" + name[2:].replace("-", "_")
        if name.startswith("--") and name not in known and other in known:
            word = f"{other}{equals}{value}"
        found.append(word)
    return found


def _add(group: Any, item: Field, hint: Any, defaults: Mapping[str, Any]) -> None:
    if typing.get_origin(hint) is dict:
        inner, many = hint, False
    else:
        inner, _, many = _parts(hint)
    shown = item.metadata.get("shown") or defaults.get(item.name)
    if isinstance(shown, Mapping):
        shown = mapping_text(shown) if shown else ""
    text = item.metadata["help"].rstrip(".")
    if shown not in (None, "", [], False):
        text += f" (default: {' '.join(shown) if isinstance(shown, list) else shown})"
    options: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS}
    if inner is bool:
        options |= {"nargs": "?", "const": True, "metavar": "true|false"}
    else:
        options |= {"metavar": item.metadata.get("metavar", _metavar(inner))}
    if many:
        options["nargs"] = "*" if item.metadata.get("may_be_empty") else "+"
    if "choices" in item.metadata:
        options["choices"] = item.metadata["choices"]
        if "metavar" not in item.metadata:
            options.pop("metavar")
    group.add_argument(
        f"--{item.name}", type=_converter(inner), help=text.replace("%", "%%"), **options
    )


def _own_default(item: Field) -> dict[str, Any]:
    if item.default is not MISSING:
        return {item.name: item.default}
    return {} if item.default_factory is MISSING else {item.name: item.default_factory()}


def _parts(hint: Any) -> tuple[type, bool, bool]:
    """Type of a value, whether None is one, and whether there are several."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        arguments = [a for a in typing.get_args(hint) if a is not type(None)]
        optional = len(arguments) < len(typing.get_args(hint))
        (hint,) = arguments
    if typing.get_origin(hint) is list:
        return typing.get_args(hint)[0], optional, True
    return hint, optional, False


def _converter(kind: Any) -> Callable[[str], Any]:
    if typing.get_origin(kind) is dict:
        return _mapping_converter(typing.get_args(kind)[1])

    def convert(text: str) -> Any:
        try:
            return _from_text(kind, text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {_noun(kind)}") from None

    return convert


def _mapping_converter(inner: Any) -> Callable[[str], dict[str, Any]]:
    def convert(text: str) -> dict[str, Any]:
        try:
            value = load_yaml(text)
        except yaml.constructor.ConstructorError as error:
            raise argparse.ArgumentTypeError(error.problem) from None
        except yaml.YAMLError:
            value = text
        try:
            return _mapping("", inner, value)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _mapping(where: str, inner: Any, value: Any) -> dict[str, Any]:
    """A mapping of names to values of one type.

    Args:
        where: what stands before a fault.
        inner: the type; Any leaves the values as they are.
        value: as from YAML.

    Raises:
        ValueError: it is none, or a value in it is of another type.
    """
    example = "{name: 0.5}"
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(
            f"{where}found {value!r}, expected names and values as in {example!r}, with a blank "
            "behind each colon"
        )
    found = {}
    for key, item in value.items():
        if item is None:
            raise ValueError(f"{where}{key}: found nothing, expected {_noun(inner)}")
        if inner is Any:
            require_json(f"{where}{key}", item)
        found[key] = item if inner is Any else _converted(f"{where}{key}", inner, item)
    return found


def _converted(name: str, kind: type, value: Any) -> Any:
    try:
        if kind is bool and isinstance(value, bool):
            return value
        if kind in (int, float) and isinstance(value, bool):
            raise ValueError
        if kind is int and isinstance(value, float):
            raise ValueError
        return _from_text(kind, str(value))
    except ValueError:
        raise ValueError(f"{name}: found {value!r}, expected {_noun(kind)}") from None


def _from_text(kind: type, text: str) -> Any:
    if kind is bool:
        word = text.lower()
        if word not in (*_TRUE, *_FALSE):
            raise ValueError(text)
        return word in _TRUE
    return kind(text)


def _metavar(kind: Any) -> str:
    if typing.get_origin(kind) is dict:
        return "MAPPING"
    return {int: "N", float: "X", str: "TEXT"}[kind]


def _noun(kind: Any) -> str:
    return {
        Any: "a value",
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "a text",
    }[kind]


def require(name: str, value: Any, holds: bool, expected: str) -> None:
    """Raises ValueError, naming option, value and what was expected, unless `holds`."""
    if not holds:
        raise ValueError(f"{name}: found {value!r}, expected {expected}")

"""Message definitions and type hashes from the ament index, as a bag's schemas need them."""

import json
import re
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

SEPARATOR = "=" * 80
PRIMITIVES = frozenset(
    "bool byte char float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 string"
    " wstring".split()
)
FIELD = re.compile(r"^\s*([A-Za-z][\w/]*)(?:<=\d+)?(?:\[[^\]]*\])?\s+[A-Za-z]\w*")


class DefinitionError(LookupError):
    """A message type that is not installed, or not with its definition."""


def message_class(name: str) -> Any:
    """Class of a message type, e.g. ``sensor_msgs/msg/Image``.

    Raises:
        DefinitionError: the name has another form, or the package or the message is not installed.
    """
    parts = name.split("/")
    if len(parts) != 3 or parts[1] != "msg":
        raise DefinitionError(f"message type: found {name!r}, expected <package>/msg/<Name>")
    try:
        return getattr(import_module(f"{parts[0]}.msg"), parts[2])
    except (ModuleNotFoundError, AttributeError) as error:
        raise DefinitionError(
            f"message type: {name!r} is not installed ({error}); install or source its package"
        ) from None


def _definition_file(name: str, suffix: str) -> Path:
    """Path of an installed definition file of a message type."""
    package, kind, message = name.split("/")
    try:
        path = Path(get_package_share_directory(package)) / kind / f"{message}{suffix}"
    except PackageNotFoundError:
        raise DefinitionError(f"{name}: package {package!r} is not in AMENT_PREFIX_PATH") from None
    if not path.is_file():
        raise DefinitionError(f"{name}: {path} is missing, expected the package to install it")
    return path


def _dependencies(text: str, package: str) -> list[str]:
    """Full names of the message types that a definition uses, in order of appearance."""
    found = []
    for line in text.splitlines():
        match = FIELD.match(line.split("#", 1)[0])
        if not match or match[1] in PRIMITIVES:
            continue
        parts = match[1].split("/")
        found.append(f"{parts[0] if len(parts) > 1 else package}/msg/{parts[-1]}")
    return found


@cache
def message_definition(name: str) -> str:
    """Definition of a type and of all it depends on, in the form that MCAP calls ``ros2msg``.

    Raises:
        DefinitionError: the type, or one it depends on, is not installed.

    Source: https://mcap.dev/spec/registry#ros2msg
    """
    texts: dict[str, str] = {}
    waiting = [name]
    while waiting:
        current = waiting.pop(0)
        if current in texts:
            continue
        texts[current] = _definition_file(current, ".msg").read_text(encoding="utf-8")
        waiting += _dependencies(texts[current], current.split("/")[0])
    first, *others = texts
    blocks = [texts[first]]
    for other in others:
        package, _, message = other.split("/")
        blocks.append(f"{SEPARATOR}\nMSG: {package}/{message}\n{texts[other]}")
    return "\n".join(blocks)


@cache
def type_hash(name: str) -> str:
    """REP-2016 hash of a type (``RIHS01_...``), from its installed description.

    Raises:
        DefinitionError: the type is not installed, or its description holds no hash.
    """
    path = _definition_file(name, ".json")
    for entry in json.loads(path.read_text(encoding="utf-8")).get("type_hashes", []):
        if entry["type_name"] == name:
            return entry["hash_string"]
    raise DefinitionError(f"{name}: {path} holds no hash of it, expected one in type_hashes")

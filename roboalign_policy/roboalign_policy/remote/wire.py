"""The messages of `messages` as bytes of msgpack, and back.

Arrays travel as name of the dtype, shape and raw bytes. Whatever arrives is checked field by
field before anything is made of it: unknown keys, other types, extension types and other dtypes
are refused, and nothing in a message can name code. ``docs/remote.md`` has the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from types import UnionType
from typing import Any, get_args, get_type_hints

import msgpack
import numpy as np

from roboalign_policy.core.policy.prediction import ANSWERED, ChunkStatus
from roboalign_policy.remote.messages import (
    PROTOCOL,
    Fault,
    Hello,
    Message,
    Reply,
    Request,
    ThinkRequest,
    ThoughtReply,
    Welcome,
)

MAX_MESSAGE_BYTES = 64 * 2**20
DTYPES = ("uint8", "float32", "float64", "int64")  # little endian on the wire

# A message of small parts would otherwise become a hundred times its size in memory.
_MAX_CONTAINERS, _MAX_ITEMS, _MAX_TEXT_BYTES = 256, 16384, 2**20


class WireError(ValueError):
    """A message that is not one of this protocol, or a value that cannot be sent by it."""


class VersionError(WireError):
    """The other end speaks another version of the protocol."""


_KINDS = {
    "hello": Hello,
    "welcome": Welcome,
    "act": Request,
    "think": ThinkRequest,
    "prediction": Reply,
    "thought": ThoughtReply,
    "error": Fault,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def tool_name() -> str:
    """This package and its version, as both ends tell each other."""
    try:
        return f"roboalign_policy {version('roboalign_policy')}"
    except PackageNotFoundError:
        return "roboalign_policy, run from its source"


def pack(message: Message, max_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
    """Bytes of a message.

    Raises:
        WireError: an array's dtype is not one of `DTYPES`, another value is no plain data, or the
            message is longer than ``max_bytes``.
    """
    name = _NAMES[type(message)]
    try:
        data = msgpack.packb({"kind": name, **_plain(message, name)})
    except (TypeError, ValueError, OverflowError) as error:
        raise error if isinstance(error, WireError) else WireError(f"{name}: {error}") from error
    if len(data) > max_bytes:
        raise WireError(f"{name}: found {len(data)} bytes, expected at most {max_bytes}")
    return data


def unpack(data: Any, max_bytes: int = MAX_MESSAGE_BYTES) -> Message:
    """The message in what a websocket received.

    Raises:
        VersionError: a `Hello` or `Welcome` of another version of the protocol.
        WireError: it is not a message of this protocol; says what was found and expected.
    """
    if not isinstance(data, bytes):
        raise WireError(f"message: found {type(data).__name__}, expected a binary message")
    if len(data) > max_bytes:
        raise WireError(f"message: found {len(data)} bytes, expected at most {max_bytes}")
    containers = 0

    def count(container: Any) -> Any:
        nonlocal containers
        containers += 1
        if containers > _MAX_CONTAINERS:
            raise WireError(f"message: found more than {_MAX_CONTAINERS} lists and mappings")
        return container

    try:
        body = msgpack.unpackb(
            data,
            list_hook=count,
            object_hook=count,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_str_len=_MAX_TEXT_BYTES,
            max_ext_len=0,
        )
    except WireError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"message: found no valid msgpack: {error or type(error)}") from error
    kind = body.pop("kind", None) if isinstance(body, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise WireError(f"kind: found {_short(kind)}, expected one of {', '.join(_KINDS)}")
    if kind in ("hello", "welcome") and body.get("protocol") != PROTOCOL:
        raise VersionError(
            f"protocol: found {_short(body.get('protocol'))} of {_short(body.get('tool'))}, "
            f"expected {PROTOCOL} of {tool_name()}: install the same version on both machines"
        )
    return _READERS[kind](body, kind)


def _plain(value: Any, where: str) -> Any:
    """Plain data of a message and its parts."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype not in [np.dtype(name) for name in DTYPES]:
            raise WireError(f"{where}: found dtype {value.dtype}, expected {', '.join(DTYPES)}")
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        raw = little.reshape(-1).view(np.uint8).data
        return {"dtype": value.dtype.name, "shape": list(value.shape), "data": raw}
    return value


def _read(body: Any, readers: Mapping[str, Callable], where: str) -> dict[str, Any]:
    """The fields of a mapping: exactly those of ``readers``, each as its reader returns it."""
    if not isinstance(body, dict) or body.keys() != readers.keys():
        found = sorted(map(_short, body)) if isinstance(body, dict) else _short(body)
        raise WireError(f"{where}: found {found}, expected the keys {sorted(readers)}")
    return {name: reader(body[name], f"{where}.{name}") for name, reader in readers.items()}


def _short(value: Any) -> str:
    """A received value in an error's text; never long."""
    plain = isinstance(value, (str, int, float, type(None)))
    return repr(value)[:60] if plain else type(value).__name__


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise WireError(f"{where}: found {_short(value)}, expected text")
    return value


def _count(value: Any, where: str) -> int:
    if type(value) is not int or value < 0:
        raise WireError(f"{where}: found {_short(value)}, expected a whole number, 0 or more")
    return value


def _truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise WireError(f"{where}: found {_short(value)}, expected true or false")
    return value


def _seconds(value: Any, where: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise WireError(f"{where}: found {_short(value)}, expected finite seconds, 0 or more")
    return float(value)


def _array(value: Any, where: str) -> np.ndarray:
    """An array of its own memory, C order."""
    body = _read(value, {"dtype": _text, "shape": _counts, "data": _bytes}, where)
    if body["dtype"] not in DTYPES:
        found = _short(body["dtype"])
        raise WireError(f"{where}: found dtype {found}, expected {', '.join(DTYPES)}")
    dtype = np.dtype(body["dtype"])
    size = math.prod(body["shape"]) * dtype.itemsize
    if len(body["data"]) != size or len(body["shape"]) > 8:
        found = f"{len(body['data'])} bytes for {dtype.name} {body['shape'][:9]}"
        raise WireError(f"{where}: found {found}, expected {size} and at most 8 dimensions")
    flat = np.frombuffer(body["data"], dtype.newbyteorder("<"))
    try:
        return flat.astype(dtype).reshape(body["shape"])
    except ValueError as error:  # without an element, but as wide as memory
        raise WireError(f"{where}: found shape {body['shape']}: {error}") from error


def _bytes(value: Any, where: str) -> bytes:
    if not isinstance(value, bytes):
        raise WireError(f"{where}: found {_short(value)}, expected bytes")
    return value


def _counts(value: Any, where: str) -> list[int]:
    if not isinstance(value, list):
        raise WireError(f"{where}: found {_short(value)}, expected a list of whole numbers")
    return [_count(item, where) for item in value]


def _arrays(value: Any, where: str) -> dict[str, np.ndarray]:
    if not isinstance(value, dict):
        raise WireError(f"{where}: found {_short(value)}, expected arrays by stream key")
    return {key: _array(item, f"{where}.{_text(key, where)}") for key, item in value.items()}


def _status(value: Any, where: str) -> ChunkStatus:
    if value not in ANSWERED:
        raise WireError(f"{where}: found {_short(value)}, expected {', '.join(ANSWERED)}")
    return ChunkStatus(value)


_PLAIN: dict[Any, Callable] = {
    str: _text,
    int: _count,
    bool: _truth,
    float: _seconds,
    bytes: _bytes,
    list[int]: _counts,
    np.ndarray: _array,
    Mapping[str, np.ndarray]: _arrays,
    ChunkStatus: _status,
}


def _reader(kind: Any) -> Callable:
    """What reads a value of a type that stands in `messages`."""
    if is_dataclass(kind):
        readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
        return lambda value, where: kind(**_read(value, readers, where))
    if isinstance(kind, UnionType):
        reader = _reader(get_args(kind)[0])
        return lambda value, where: None if value is None else reader(value, where)
    return _PLAIN[kind]


_READERS = {name: _reader(kind) for name, kind in _KINDS.items()}

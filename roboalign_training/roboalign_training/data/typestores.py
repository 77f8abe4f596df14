"""Message types of a bag: from its own definitions, else this suite's, else ROS 2 Jazzy's."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError
from rosbags.typesys.store import Typestore

_IDL_SEPARATOR = "=" * 80 + "\n"
# What is included follows as a part of its own; rosbags has no preprocessor.
_IDL_INCLUDE = re.compile(r"^\s*#include\b.*$", re.MULTILINE)


@lru_cache(maxsize=1)
def jazzy_store() -> Typestore:
    """The types of a ROS 2 Jazzy desktop, and `roboalign_msgs` where its files are found."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict = {}
    for path in suite_message_files():
        types.update(
            get_types_from_msg(path.read_text("utf-8"), f"roboalign_msgs/msg/{path.stem}")
        )
    store.register(types)
    return store


def suite_message_files() -> list[Path]:
    """The `.msg` files of roboalign_msgs: of the sourced workspace, else of the source tree."""
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    folders = [Path(p, "share", "roboalign_msgs", "msg") for p in prefixes]
    folders += [parent / "roboalign_msgs" / "msg" for parent in Path(__file__).resolve().parents]
    return next((files for f in folders if (files := sorted(f.glob("*.msg")))), [])


@lru_cache(maxsize=16)
def bag_store(definitions: frozenset[tuple[str, str, str]]) -> tuple[Typestore, dict[str, str]]:
    """Builds the type store of a bag from the definitions it carries.

    Stores are kept by content: every episode of a robot has the same definitions, and building the
    store's decoders costs more than decoding a short episode.

    Args:
        definitions: (type name, "MSG" or "IDL", text) of each type in the bag.

    Returns:
        The store, and for each type that could not be registered the reason.
    """
    store = get_typestore(Stores.EMPTY)
    faults: dict[str, str] = {}
    for name, form, text in sorted(definitions):
        try:
            store.register(_parse(name, form, text))
        except Exception as error:  # noqa: BLE001 - a damaged text makes the parser raise anything
            faults[name] = _parse_fault(text, error)
    return store, faults


def _parse_fault(text: str, error: Exception) -> str:
    """Says in one line why a definition does not parse."""
    if "\n---\n" in text:
        return (
            "the bag holds the service's definition ('---' in it) in place of its event message's"
        )
    # rosbags prints "Could not parse:", the whole text, the position, and what stands there.
    lines = str(error).splitlines()
    where = f"near {lines[3]!r} (character {lines[2]})" if len(lines) > 3 else str(error)
    return f"its definition in the bag does not parse {where}"


def _parse(name: str, form: str, text: str) -> dict:
    """Field definitions of one type and those it is made of."""
    if form == "MSG" and not text.startswith(_IDL_SEPARATOR):
        return get_types_from_msg(text, name)
    if not text.startswith(_IDL_SEPARATOR):
        return get_types_from_idl(_IDL_INCLUDE.sub("", text))
    types: dict = {}
    for part in text.split(_IDL_SEPARATOR)[1:]:
        header, body = part.split("\n", 1)
        if not header.startswith("IDL: "):
            raise ValueError(f"expected a line 'IDL: type', found {header!r}")
        types.update(get_types_from_idl(_IDL_INCLUDE.sub("", body)))
    return types


def store_for(
    name: str, definitions: Iterable[tuple[str, str, str]], type_hash: str
) -> tuple[Typestore | None, str | None]:
    """Chooses the store that can decode the type `name`.

    Args:
        name: ROS 2 type name.
        definitions: All definitions that the bag carries.
        type_hash: The type's RIHS01 hash in the bag, "" if it has none.

    Returns:
        (store, None), or (None, reason) where no trustworthy definition is known.
    """
    definitions = frozenset(definitions)
    if any(known == name for known, _, _ in definitions):
        store, faults = bag_store(definitions)
        reason = faults.get(name) or _incomplete(store, name)
        return (None, f"type {name}: {reason}") if reason else (store, None)
    store = jazzy_store()
    if name not in store.fielddefs:
        return None, (
            f"type {name}: no definition in the bag, "
            "and neither ROS 2 Jazzy nor roboalign_msgs has it"
        )
    if type_hash.startswith("RIHS01_") and (have := store.hash_rihs01(name)) != type_hash:
        return None, (
            f"type {name}: no definition in the bag, and Jazzy's differs "
            f"({have[:15]}.. instead of {type_hash[:15]}..)"
        )
    return store, None


def _incomplete(store: Typestore, name: str) -> str | None:
    """Says which part of a registered type is unknown, so that decoding would fail."""
    try:
        store.get_msgdef(name)
    except (TypesysError, KeyError) as error:
        return f"its definition in the bag lacks {error}"
    except Exception as error:  # noqa: BLE001 - as in `bag_store`
        return f"its definition in the bag makes no decoder ({error!r})"
    return None

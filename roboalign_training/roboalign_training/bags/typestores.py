"""Message types of a bag: its own definitions, then those handed in, the suite's, Jazzy's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.base import TypesysError
from rosbags.typesys.store import Typestore

from roboalign_training.bags.definition_folder import handed_folder
from roboalign_training.bags.definition_text import parse_definition, parse_fault, plain_text
from roboalign_training.bags.errors import HAND_IN
from roboalign_training.bags.jazzy_packages import package_types

_OTHERS = (
    *(Stores.ROS2_HUMBLE, Stores.ROS2_FOXY, Stores.ROS2_GALACTIC, Stores.ROS2_IRON),
    *(Stores.ROS2_KILTED, Stores.ROS2_ELOQUENT, Stores.ROS2_DASHING),
)
"""Distributions whose types may be what a recording without definitions means."""


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


def standard_store(name: str) -> Typestore:
    """As `jazzy_store`; a type of a package that `rosbags` lacks is parsed when asked for."""
    store = jazzy_store()
    if name not in store.fielddefs:
        types: dict = {}
        for other, text in package_types(name.partition("/")[0]).items():
            types.update(get_types_from_msg(text, other))
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
            store.register(parse_definition(name, form, text))
        except Exception as error:  # noqa: BLE001 - a damaged text makes the parser raise anything
            faults[name] = f"its definition in the bag does not parse {parse_fault(error)}"
            if "\n---\n" in plain_text(text):
                faults[name] = (
                    "the bag holds the service's definition ('---' in it) in place of its event "
                    "message's"
                )
    return store, faults


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
    why = "no definition in the bag"
    folder = handed_folder()
    if any(known == name for known, _, _ in definitions):
        store, faults = bag_store(definitions)
        why = faults.get(name) or _incomplete(store, name)
        if not why:
            return store, None
        if folder is None or not folder.has(name):
            return None, _unknown(name, why)
    if folder is not None and folder.has(name):
        store, fault = folder.store(name, standard_store)
        if fault is None and _differs(store, name, type_hash):
            have = store.hash_rihs01(name)
            fault = f"that of {folder.path} differs ({have[:15]}.. instead of {type_hash[:15]}..)"
        return (None, _unknown(name, f"{why}, and {fault}")) if fault else (store, None)
    store = standard_store(name)
    if name not in store.fielddefs:
        handed = f" nor {folder.path}" if folder else ""
        neither = "neither ROS 2 Jazzy nor roboalign_msgs" + handed
        return None, _unknown(name, f"{why}, and {neither} has it")
    if _differs(store, name, type_hash):
        have = store.hash_rihs01(name)
        differs = f"({have[:15]}.. instead of {type_hash[:15]}..)"
        return None, _unknown(name, f"{why}, and Jazzy's differs {differs}")
    return store, None


@lru_cache(maxsize=256)
def rivals(store: Typestore, name: str) -> tuple[tuple[str, Typestore], ...]:
    """Other definitions of a type, by which a message that does not fit may have been written.

    Args:
        store: By which it was read.
        name: The type.

    Returns:
        (Whose, store) of those that differ from the one in `store`.
    """
    text = _layout(store, name)
    found = {text: ("", store)}
    for whose, other in [("Jazzy", standard_store(name)), *((_name(s), s) for s in _OTHERS)]:
        other = other if isinstance(other, Typestore) else get_typestore(other)
        if name in other.fielddefs:
            found.setdefault(_layout(other, name), (whose, other))
    del found[text]
    return tuple(found.values())


def _name(store: Stores) -> str:
    return store.value.removeprefix("ros2_").capitalize()


def _layout(store: Typestore, name: str) -> str:
    """What decides about the bytes of a type's messages."""
    return store.hash_rihs01(name)


def _differs(store: Typestore, name: str, type_hash: str) -> bool:
    """Whether a bag's hash of a type, if it has one, is another than that of a store's."""
    return type_hash.startswith("RIHS01_") and store.hash_rihs01(name) != type_hash


def _unknown(name: str, why: str) -> str:
    return f"type {name}: {why}: hand its .msg files in {HAND_IN}"


def _incomplete(store: Typestore, name: str) -> str | None:
    """Says which part of a registered type is unknown, so that decoding would fail."""
    try:
        store.get_msgdef(name)
    except (TypesysError, KeyError) as error:
        return f"its definition in the bag lacks {error}"
    except Exception as error:  # noqa: BLE001 - as in `bag_store`
        return f"its definition in the bag makes no decoder ({error!r})"
    return None

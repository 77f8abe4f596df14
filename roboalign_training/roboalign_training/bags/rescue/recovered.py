"""A recovered bag that is there already: whether it is the same, and how another is replaced."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roboalign_policy.core.hashing import sha256_file, sha256_json
from roboalign_policy.core.keys import BAG_RECOVERED
from roboalign_training.bags.bagmeta import YAML_FAULTS, bag_information
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError, RefusedError
from roboalign_training.bags.losses import recovered_losses
from roboalign_training.bags.rescue.damaged import Damaged, written_definition
from roboalign_training.bags.rescue.rescue_report import Recovery
from roboalign_training.bags.storage import StoredTopic
from roboalign_training.shared.differences import differences
from roboalign_training.shared.left_out import LeftOut
from roboalign_training.shared.outputs import only_writer, refuse_link

_METADATA = "metadata.yaml"
_CHOOSE = "choose another folder with --out"


def recovered_before(
    damaged: Damaged, target: Path, accept: bool, overwrite: bool
) -> Recovery | None:
    """The bag that is there, where it is what recovering would make; changes nothing.

    Args:
        damaged: The recording.
        target: Folder of the new bag.
        accept: As of `recover`.
        overwrite: Whether another recovered bag may be replaced.

    Returns:
        None where there is nothing, or something that is to be replaced.

    Raises:
        RefusedError: Something else is there, or the recovered bag of something else.
        OutputError: A link is there.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        refuse_link(target)
        return None
    found = _record_of(target)
    undefined = found.get("undefined", {})
    held = {
        **{key: found[key] for key in ("files", "accepted") if key in found},
        "definitions": {name: digest for name, (_, digest) in undefined.items()},
    }
    wanted = {
        "files": file_hashes(damaged),
        "accepted": accept,
        "definitions": {name: _digest_now(name, of) for name, (of, _) in undefined.items()},
    }
    fault = "; ".join(differences(held, wanted, all_keys=True))
    fault = f"was recovered otherwise: {fault}" if fault else ""
    if not fault:
        try:
            bag = read_bag(target)
            losses = tuple(recovered_losses(bag.custom))
            left_out = LeftOut.from_dict(found["left_out"])
            return Recovery(target, (), losses, bag.duration_s, left_out, existed=True)
        except (BagError, KeyError) as error:
            fault = f"is no whole recovered bag: {error}"
    if not overwrite:
        raise RefusedError(
            target, f"{fault}; nothing was changed: {_CHOOSE}, or replace it with --overwrite"
        )
    check_replaceable(target)
    return None


def check_replaceable(target: Path) -> None:
    """Makes sure that nothing but a recovered bag is lost when what is there is replaced.

    Raises:
        RefusedError: It is no recovered bag, or holds other files.
        OutputError: It is a link.
    """
    refuse_link(target)
    if target.exists():
        _record_of(target)
        _refuse_strangers(target)


def file_hashes(damaged: Damaged) -> dict[str, str]:
    """SHA-256 of a recording's storage files by name."""
    return {file.name: sha256_file(file) for file in damaged.files}


def undefined_types(topics: Iterable[StoredTopic], written: Mapping[str, str]) -> dict[str, list]:
    """The types that a recording does not define, as its recovered bag remembers them.

    Args:
        topics: Of the recording.
        written: Topic -> text of the definition that the new bag has, or "".

    Returns:
        Type -> its hash in the recording, and the SHA-256 of that text; None without one.
    """
    return {t.type: [t.type_hash, _digest(written[t.name])] for t in topics if not t.form}


@contextlib.contextmanager
def room_for(target: Path) -> Iterator[Path]:
    """A hidden folder beside a bag that is to be made; gone at the end, whatever happened.

    Raises:
        OutputError: Another process makes the same bag.
    """
    room = target.with_name(f".{target.name}.recovering")
    room.mkdir(parents=True, exist_ok=True)
    with only_writer(room):
        try:
            for left in room.iterdir():  # by one that was killed
                shutil.rmtree(left)
            yield room
        finally:
            shutil.rmtree(room, ignore_errors=True)


def _record_of(target: Path) -> dict[str, Any]:
    """As `_record`; refuses anything else."""
    found = _record(target)
    if found is None:
        cause = f"exists and is no recovered bag; nothing was changed: {_CHOOSE}"
        raise RefusedError(target, cause)
    return found


def _record(target: Path) -> dict[str, Any] | None:
    """What a recovered bag says of its making; None for anything else."""
    try:
        record = json.loads(_information(target)["custom_data"][BAG_RECOVERED])
    except (KeyError, TypeError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _information(target: Path) -> dict[str, Any]:
    """The metadata of a bag, also of one that lacks files; empty where there is none."""
    try:
        return bag_information((target / _METADATA).read_text("utf-8")) or {}
    except (OSError, *YAML_FAULTS):
        return {}


def _refuse_strangers(target: Path) -> None:
    """Refuses to replace a bag with which files of somebody else would go."""
    ours = {_METADATA, *map(str, _information(target).get("relative_file_paths") or ())}
    if others := sorted(path.name for path in target.iterdir() if path.name not in ours):
        raise RefusedError(
            target,
            f"holds {', '.join(others[:4])} beside the bag that is to be replaced; nothing was "
            f"changed: move that away, or {_CHOOSE}",
        )


def _digest_now(name: str, type_hash: str) -> str | None:
    """As of `undefined_types`, of the definition that a new bag would have."""
    topic = StoredTopic("", name, "cdr", "", "", type_hash, "")
    return _digest(written_definition(topic, frozenset()))


def _digest(text: str) -> str | None:
    return sha256_json(text) if text else None

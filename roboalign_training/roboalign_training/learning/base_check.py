"""Whether a policy is one that can be trained further on a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_policy.models.checkpoint import check_settings, images_seen
from roboalign_policy.models.decoders import FAST
from roboalign_training.learning.arguments import ConfigError
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.thoughts.style import style_of


def check_base(base: str, data: Demonstrations | None) -> None:
    """Refuse a base trained with other tokens or cameras than the data set's.

    Other tokens mean other motions, and other pictures another scene.

    Args:
        base: folder of the policy.
        data: the demonstrations; None: the base alone is looked at.

    Raises:
        ConfigError: when the base is no policy folder, its record is damaged, or the hashes
            or the images that it sees differ.
        ModelError: its record names images that the contract does not have, or a file that
            decides what it answers was changed after its training.
    """
    path = Path(base, "roboalign.json")
    if not path.is_file():
        raise ConfigError(
            f"base: found {base!r}, expected a policy folder of roboalign sft ({path} is missing)"
        )
    record = _record(path)
    hashes = record["hashes"]
    if FAST not in (decoders := record.get("decoders", [FAST])):
        raise ConfigError(
            f"base: {path}: decoders: found {decoders}, expected {FAST} among them: this policy "
            "has given up its tokens (backbone: lora or full, or keep_fast: false); start from "
            "what it was trained from"
        )
    for name in ("tokenizer", "stats", "contract"):
        if not isinstance(found := hashes.get(name), str):
            raise ConfigError(f"base: {path}: hashes.{name}: found {found!r}, expected a SHA-256")
        if data is not None and found != data.hashes[name]:
            raise ConfigError(
                f"base: {path}: hash of the {name}: found {found[:12]}, expected "
                f"{data.hashes[name][:12]} as in {data.folder}: all stages need the same {name}"
            )
    check_settings(path.parent, record)
    if data is not None:
        _check_images(path, record, data)


def in_style_of(data: Demonstrations, base: str) -> Demonstrations:
    """Demonstrations whose thoughts are in the style that a policy was taught.

    Args:
        data: the demonstrations.
        base: folder of the policy.

    Raises:
        ConfigError: its record cannot be read or names no style that there is.
    """
    path = Path(base, "roboalign.json")
    try:
        return replace(data, thought_style=style_of(_record(path)))
    except ValueError as error:
        raise ConfigError(f"base: {path}: {error}") from error


def _check_images(path: Path, record: Mapping[str, Any], data: Demonstrations) -> None:
    """Refuses a base that sees other images than the data set's contract gives."""
    found = images_seen(path, record, data.contract)
    if found != (expected := data.image_keys):
        raise ConfigError(
            f"base: {path}: found one that sees {', '.join(found)}, expected "
            f"{', '.join(expected)} as in {data.folder}: train SFT again, or name prompt.images "
            "in the contract"
        )


def _record(path: Path) -> Mapping[str, Any]:
    """A policy's record, which has hashes."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fault = pointer_fault(path) or f"cannot be read: {error}"
        raise ConfigError(f"base: {path}: {fault}") from error
    hashes = record.get("hashes") if isinstance(record, Mapping) else None
    if not isinstance(hashes, Mapping):
        raise ConfigError(f"base: {path}: hashes: found {hashes!r}, expected an object")
    return record

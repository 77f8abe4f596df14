"""Reads a checkpoint folder of the suite and checks that nothing in it changed or is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract.contract import Contract, ContractError, load_contract
from roboalign_policy.core.contract.difference import differences
from roboalign_policy.core.contract.files import CONTRACT, check_policy_folder
from roboalign_policy.core.hashing import sha256_file, sha256_json
from roboalign_policy.core.policy.prompt import PROMPT_VERSION
from roboalign_policy.models.decoders import DECODERS, FAST, FLOW, Decoder
from roboalign_policy.models.loading import ModelError, read_record, refuse_pointers

_SHOWN = 3  # differences of two contracts
RECORD = "roboalign.json"
SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
)
"""Files beside a model's weights that decide what it answers, too; a folder has some of them."""


@dataclass(frozen=True)
class Checkpoint:
    """What stands beside the weights of a trained policy.

    Attributes:
        folder: the checkpoint folder.
        contract: robot contract it was trained with.
        decoder: what makes actions of the model's answers.
        hash: SHA-256 of weights, settings, decoder and contract.
        images: keys of the image streams that the model sees, in order.
    """

    folder: Path
    contract: Contract
    decoder: Decoder
    hash: str
    images: tuple[str, ...]


_WITHOUT = {
    FAST: ": the model was trained with the head, or the head was saved without tokens (roboalign "
    "vla --backbone, --keep_fast); the policy that it began from may have them",
    FLOW: ": roboalign vla trains an action head on this policy",
}
"""Why a policy does not have a decoder."""


def read_checkpoint(folder: str | Path, decoder: str = "auto") -> Checkpoint:
    """Read everything but the model.

    Args:
        folder: written by a training of the suite or `make_base_policy`.
        decoder: which one to read, where the folder has several; auto: the one that it names.

    Raises:
        ModelError: a file is missing, malformed, or not what it was when the folder was written.
    """
    try:
        folder = check_policy_folder(folder)
    except ValueError as error:
        raise ModelError(str(error)) from error
    for name in (RECORD, CONTRACT, "config.json"):
        if not (folder / name).exists():
            raise ModelError(
                f"{folder}: found no {name}, expected a checkpoint of `roboalign sft` or "
                "`roboalign grpo`"
            )
    refuse_pointers(folder)
    record = read_record(folder / RECORD)
    version = record.get("prompt_version", PROMPT_VERSION)
    if version != PROMPT_VERSION:
        raise ModelError(
            f"{folder / RECORD}: prompt_version: found {version}, expected {PROMPT_VERSION}"
        )
    name = _decoder_of(folder / RECORD, record, decoder)
    try:
        contract = load_contract(folder / CONTRACT)
    except ContractError as error:
        raise ModelError(str(error)) from error
    read = DECODERS[name].read(folder, contract)
    weights = model_weights(folder)
    expected = {"contract": contract.hash, **read.hashes}
    named = record.get("hashes")
    # A head was trained on hidden states of this model, and of no other; tokens beside it too.
    if read.weights or isinstance(named, Mapping) and "backbone" in named:
        expected["backbone"] = sha256_json(weights)
    _check_hashes(folder, record, expected)
    settings = check_settings(folder, record)
    images = images_seen(folder / RECORD, record, contract)
    parts = [weights, *read.hashes.values(), contract.hash]
    if images != tuple(stream.key for stream in contract.images[:1]):
        parts.append(list(images))  # of the first one alone the hash is what it always was
    if settings is not None:
        parts.append(settings)
    return Checkpoint(folder, contract, read, sha256_json(parts), images)


def model_weights(folder: Path) -> dict[str, str]:
    """SHA-256 of the weight files of a folder's model, by name, without decoders'."""
    own = {name for kind in DECODERS.values() for name in kind.weights}
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.name not in own]
    return {path.name: sha256_file(path) for path in files}


def model_settings(folder: Path) -> dict[str, str]:
    """SHA-256 of the files beside a model's weights that decide what it answers, by name."""
    return {name: sha256_file(folder / name) for name in SETTINGS if (folder / name).is_file()}


def check_settings(folder: Path, record: Mapping[str, Any]) -> dict[str, str] | None:
    """Refuse a model whose settings were changed after its training.

    Args:
        folder: of the policy.
        record: its `roboalign.json`.

    Returns:
        Its `model_settings`; None where the record names none, as those of older policies.

    Raises:
        ModelError: naming the file that differs.
    """
    if (stored := record.get("settings")) is None:
        return None
    if not isinstance(stored, Mapping):
        raise ModelError(
            f"{folder / RECORD}: settings: found {type(stored).__name__}, expected an object of "
            "SHA-256 by file name"
        )
    found = model_settings(folder)
    for name in sorted({*stored, *found}):
        is_, was = (str(of[name])[:12] if name in of else "none" for of in (found, stored))
        if found.get(name) != stored.get(name):
            raise ModelError(
                f"{folder / name}: found hash {is_}, expected {was} as in {RECORD}: it was "
                "changed after the training, so the model would answer otherwise"
            )
    return found


def _decoder_of(path: Path, record: Mapping[str, Any], wanted: str) -> str:
    """The decoder that is wanted of a checkpoint, or else the one that it names."""
    name = record.get("decoder", FAST)
    has = record.get("decoders", [name])
    if not isinstance(has, list) or name not in has or any(own not in DECODERS for own in has):
        expected = f"one or some of {', '.join(DECODERS)}"
        raise ModelError(f"{path}: decoder: found {name!r} of {has!r}, expected {expected}")
    if wanted == "auto":
        return name
    if wanted not in has:
        why = _WITHOUT.get(wanted, "")
        raise ModelError(
            f"{path.parent}: decoder: found {', '.join(has)}, expected {wanted} among them{why}"
        )
    return wanted


def check_same_robot(
    folder: Path, own: Contract, other: Contract, images: Sequence[str] = ()
) -> None:
    """Check that a policy's numbers mean the same on another contract; topics and QoS may differ.

    Args:
        folder: of the policy, for the error.
        own: the contract that it was trained with.
        other: the one that it is to be used with.
        images: keys of the image streams that it sees, in order; empty: those of `own`.

    Raises:
        ModelError: rate, action, observations, the state in the prompt or the images that the
            model sees differ; a line or two, however large the contracts are.
    """
    sees = tuple(images) or tuple(stream.key for stream in own.seen_images)
    # A contract without the key goes with every policy: which images one sees stands in it.
    wanted = other.prompt_images or sees
    found = [
        text
        for key, mine, theirs in (
            ("rate_hz", own.rate_hz, other.rate_hz),
            ("action.control_mode", own.action.control_mode, other.action.control_mode),
            ("action.dims", own.action.dims, other.action.dims),
            ("action.horizon", own.action.horizon, other.action.horizon),
            ("prompt.state", own.prompt_state, other.prompt_state),
            ("prompt.images", sees, wanted),
            ("observations", _seen(own), _seen(other)),
        )
        for text in differences(theirs, mine, key)
    ]
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise ModelError(
            f"{folder}: the policy was trained for {own.name}, and contract {other.name} is "
            f"another robot: {'; '.join(found[:_SHOWN])}{more}"
        )


def images_seen(path: Path, record: Mapping[str, Any], contract: Contract) -> tuple[str, ...]:
    """Which image streams a policy sees; a record that says nothing means the first one.

    Args:
        path: of the record, for the error.
        record: `roboalign.json`.
        contract: of the policy.

    Raises:
        ModelError: the record names others than those of the contract.
    """
    known = [stream.key for stream in contract.images]
    found = record.get("images", known[:1])
    if not isinstance(found, list) or not found or any(key not in known for key in found):
        expected = f"a list of {', '.join(known) or 'image streams'} as in the contract"
        raise ModelError(f"{path}: images: found {found!r}, expected {expected}")
    return tuple(found)


def _check_hashes(folder: Path, record: dict[str, Any], found: dict[str, str]) -> None:
    stored = record.get("hashes")
    if not isinstance(stored, dict) or (missing := sorted(set(found) - set(stored))):
        raise ModelError(
            f"{folder / RECORD}: hashes: found no {missing if stored else 'entry'}, expected "
            f"{', '.join(found)}"
        )
    for name, value in found.items():
        if value != stored[name]:
            raise ModelError(
                f"{folder}: {name}: found hash {value[:12]}, expected {str(stored[name])[:12]} as "
                f"in {RECORD}"
            )


@dataclass(frozen=True)
class _Field:
    name: str
    unit: str


@dataclass(frozen=True)
class _Stream:
    key: str
    shape: tuple[int, ...]
    range: tuple[float, float] | None
    fields: tuple[_Field, ...]


def _seen(contract: Contract) -> list[_Stream]:
    """What a policy sees of the streams."""
    return [
        _Stream(s.key, s.value_shape, s.range, tuple(_Field(f.name, f.unit) for f in s.fields))
        for s in contract.observations
    ]

"""Reads a checkpoint folder of the suite and checks that nothing in it changed or is missing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract import Contract, ContractError, load_contract
from roboalign_policy.core.hashing import sha256_file, sha256_json
from roboalign_policy.core.normalise import QuantileStats
from roboalign_policy.core.prompt import PROMPT_VERSION
from roboalign_policy.fast import FastError, FastTokenizer
from roboalign_policy.models.loading import ModelError

_SHOWN_FAULTS, _SHOWN_PARTS = 2, 4
RECORD, CONTRACT, STATS, FAST = "roboalign.json", "contract.yaml", "stats.json", "fast"


@dataclass(frozen=True)
class Checkpoint:
    """What stands beside the weights of a trained policy.

    Attributes:
        folder: the checkpoint folder.
        contract: robot contract it was trained with.
        fast: FAST tokenizer of its actions.
        stats: of the actions, (A,) each, in the contract's units.
        hash: SHA-256 of weights, FAST tokenizer, statistics and contract.
    """

    folder: Path
    contract: Contract
    fast: FastTokenizer
    stats: QuantileStats
    hash: str


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Read everything but the model.

    Args:
        folder: written by `roboalign sft`, `roboalign grpo` or `make_base_policy`.

    Raises:
        ModelError: a file is missing, malformed, or not what it was when the folder was written.
    """
    folder = Path(folder)
    for name in (RECORD, CONTRACT, STATS, FAST, "config.json"):
        if not (folder / name).exists():
            raise ModelError(
                f"{folder}: found no {name}, expected a checkpoint of `roboalign sft` or "
                "`roboalign grpo`"
            )
    record, document = _read_json(folder / RECORD), _read_json(folder / STATS)
    version = record.get("prompt_version", PROMPT_VERSION)
    if version != PROMPT_VERSION:
        raise ModelError(
            f"{folder / RECORD}: prompt_version: found {version}, expected {PROMPT_VERSION}"
        )
    try:
        contract, fast = load_contract(folder / CONTRACT), FastTokenizer.load(folder / FAST)
        stats = QuantileStats.from_dict(document["action"])
    except KeyError as error:
        raise ModelError(f"{folder / STATS}: found no {error}, expected it") from error
    except (ContractError, FastError) as error:
        raise ModelError(str(error)) from error
    except ValueError as error:
        raise ModelError(f"{folder / STATS}: action: {error}") from error
    if stats.dims != len(contract.action.dims):
        raise ModelError(
            f"{folder / STATS}: action: found {stats.dims} dimensions, expected "
            f"{len(contract.action.dims)} as in {CONTRACT}"
        )
    found = {"contract": contract.hash, "tokenizer": fast.hash, "stats": sha256_json(document)}
    _check_hashes(folder, record, found)
    weights = {path.name: sha256_file(path) for path in sorted(folder.glob("*.safetensors"))}
    parts = [weights, found["tokenizer"], found["stats"], found["contract"]]
    return Checkpoint(folder, contract, fast, stats, sha256_json(parts))


def check_same_robot(folder: Path, own: Contract, other: Contract) -> None:
    """Check that a policy's numbers mean the same on another contract; topics and QoS may differ.

    Raises:
        ModelError: rate, action, observations or the state in the prompt differ; a line or two,
            however large the contracts are.
    """
    parts = (
        ("rate_hz", lambda c: c.rate_hz, lambda c: [str(c.rate_hz)]),
        ("action.control_mode", lambda c: c.action.control_mode, _mode),
        ("action.horizon", lambda c: c.action.horizon, lambda c: [str(c.action.horizon)]),
        ("action.dims", lambda c: c.action.dims, _dims),
        ("observations", _shapes, _observations),
        ("prompt.state", lambda c: c.prompt_state, _prompt),
    )
    faults = [
        f"{name}: found {_difference(told(other), told(own))}, "
        f"expected {_difference(told(own), told(other))}"
        for name, value, told in parts
        if value(own) != value(other)
    ]
    if faults:
        more = f"; and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise ModelError(
            f"{folder}: the policy was trained for {own.name}, and contract {other.name} is "
            f"another robot: {'; '.join(faults[:_SHOWN_FAULTS])}{more}"
        )


def _difference(these: list[str], those: list[str]) -> str:
    """What of `these` is not in `those`, in their order; all where only the order differs."""
    if these == those:
        return "the same names with other bounds"
    apart = [text for text in these if text not in those] or these
    shown = ", ".join(apart[:_SHOWN_PARTS])
    more = len(apart) - _SHOWN_PARTS
    return (shown or "nothing else") + (f" and {more} more" if more > 0 else "")


def _mode(contract: Contract) -> list[str]:
    return [contract.action.control_mode]


def _dims(contract: Contract) -> list[str]:
    return [
        f"{d.name} ({d.unit}, {d.limits[0]:g} to {d.limits[1]:g})" for d in contract.action.dims
    ]


def _observations(contract: Contract) -> list[str]:
    found = []
    for stream in contract.observations:
        shape = " x ".join(map(str, stream.value_shape))
        fields = [f"{field.name} {field.unit}".strip() for field in stream.fields]
        inside = f": {', '.join(fields[:_SHOWN_PARTS])}" if fields else ""
        tail = hashlib.sha256(repr(fields).encode()).hexdigest()[:6]
        longer = f" ... {tail}" if len(fields) > _SHOWN_PARTS else ""
        found.append(f"{stream.key} ({shape}{inside}{longer})")
    return found


def _prompt(contract: Contract) -> list[str]:
    found = []
    for item in contract.prompt_state:
        how = f" x {item.scale:g}" if item.scale is not None else ""
        words = "|".join(f"{word}<{bound:g}" for bound, word in item.words or ())
        found.append(f"{item.label} = {item.stream}.{item.field}{how}{f' {words}' * bool(words)}")
    return found


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


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: found no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path}: found {type(document).__name__}, expected an object")
    return document


def _shapes(contract: Contract) -> list[tuple]:
    return [
        (s.key, s.value_shape, [(f.name, f.unit) for f in s.fields]) for s in contract.observations
    ]

"""The robot contract: the one description of a robot that every part of the suite reads."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from roboalign_policy.core.contract.check import checked
from roboalign_policy.core.contract.faults import ERROR, ContractError
from roboalign_policy.core.contract.files import find_contract
from roboalign_policy.core.contract.parts import (
    Action,
    ExtraTopic,
    PromptState,
    Stream,
    TaskTopic,
)
from roboalign_policy.core.contract.schema import SCHEMA
from roboalign_policy.core.contract.text import ContractText, read_contract_text
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.keys import JOINT_TRAJECTORY_OUTPUT, POSE_OUTPUT

_SAFETY_NUMBERS = ("first_pose", "blend_in_s")
_FRAMED_OUTPUTS = (JOINT_TRAJECTORY_OUTPUT, POSE_OUTPUT)


@dataclass(frozen=True)
class Contract:
    """A robot's contract; made by `load_contract`, `contract_from_yaml`, `contract_from_dict`."""

    schema: str
    name: str
    description: str
    base_frame: str
    rate_hz: float
    observations: tuple[Stream, ...]
    action: Action
    task: TaskTopic
    prompt_state: tuple[PromptState, ...]
    prompt_images: tuple[str, ...]
    extra_topics: tuple[ExtraTopic, ...]

    @cached_property
    def hash(self) -> str:
        """SHA-256 hex of the canonical JSON of `to_dict()`."""
        return sha256_json(self.to_dict())

    def __hash__(self) -> int:
        return hash(self.hash)

    @property
    def period_ns(self) -> int:
        """Time between two frames, ns."""
        return round(1e9 / self.rate_hz)

    @property
    def images(self) -> tuple[Stream, ...]:
        """The image streams, in order."""
        return tuple(s for s in self.observations if s.is_image)

    @property
    def seen_images(self) -> tuple[Stream, ...]:
        """The image streams that the model sees, in its order: `prompt.images`, or all."""
        if not self.prompt_images:
            return self.images
        return tuple(self.stream(key) for key in self.prompt_images)

    @property
    def states(self) -> tuple[Stream, ...]:
        """The state streams, in order."""
        return tuple(s for s in self.observations if not s.is_image)

    def stream(self, key: str) -> Stream:
        """Return the stream of a key.

        Raises:
            KeyError: the contract has no such stream; the text names those it has.
        """
        for stream in self.observations:
            if stream.key == key:
                return stream
        raise KeyError(
            f"contract {self.name}: no stream {key!r}, only "
            f"{', '.join(s.key for s in self.observations)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as plain data that `contract_from_dict` reads, defaults included."""
        data = _plain(self)
        _leave_out_later_defaults(data["action"])
        data["prompt"] = {"state": data.pop("prompt_state")}
        if images := data.pop("prompt_images"):
            data["prompt"]["images"] = images
        order = (
            "schema",
            "name",
            "description",
            "base_frame",
            "rate_hz",
            "observations",
            "action",
            "task",
            "prompt",
            "extra_topics",
        )
        return {key: data[key] for key in order}

    def to_yaml(self) -> str:
        """Return the contract as YAML that `contract_from_yaml` reads."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=99)


def _plain(value: Any) -> Any:
    """Turn the parts of a contract into plain data; what is not given is left out."""
    if is_dataclass(value):
        items = ((f.name, getattr(value, f.name)) for f in fields(value))
        absent = (None, ()) if not isinstance(value, Contract) else (None,)
        return {name: _plain(item) for name, item in items if item not in absent}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _leave_out_later_defaults(action: dict[str, Any]) -> None:
    """Leave out keys of later versions that have their default.

    So a contract written before has the hash that its bags, data sets and checkpoints carry.
    """
    if action["safety"] == {name: SCHEMA["safety"][name].default for name in _SAFETY_NUMBERS}:
        del action["safety"]
    for command in action["commands"]:
        if command["send"] == SCHEMA["command"]["send"].default:
            del command["send"]


@lru_cache
def _types(part: type) -> dict[str, Any]:
    return get_type_hints(part)


def _made(kind: Any, value: Any) -> Any:
    """Make a part of a contract, of the type that its field has, from checked plain data."""
    of = get_args(kind)
    if type(None) in of:
        return None if value is None else _made(of[0], value)
    if is_dataclass(kind):
        return kind(**{name: _made(_types(kind)[name], item) for name, item in value.items()})
    if isinstance(value, dict):
        return {name: _made(of[1], item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_made(of[0], item) for item in value)
    return value


def _build(data: dict[str, Any]) -> Contract:
    framed, action = {"frame_id": data["base_frame"]}, dict(data["action"])
    action["commands"] = [framed | command for command in action["commands"]]
    action["outputs"] = [
        framed | output if output["kind"] in _FRAMED_OUTPUTS else output
        for output in action["outputs"]
    ]
    action["safety"] = {"workspace": None} | action["safety"]
    prompt = data["prompt"]
    whole = {
        **data,
        "action": action,
        "prompt_state": prompt["state"],
        "prompt_images": prompt.get("images", ()),
    }
    return _made(Contract, {item.name: whole[item.name] for item in fields(Contract)})


def contract_from_dict(
    data: dict[str, Any], source: str = "contract", text: ContractText | None = None
) -> Contract:
    """Build a contract from plain data.

    Args:
        data: as `Contract.to_dict` returns or as YAML gives it.
        source: what to call it in an error.
        text: its YAML text, for line numbers.

    Raises:
        ContractError: naming every fault; warnings do not raise (see `check_contract`).
    """
    filled, faults = checked(data, source, text)
    errors = [fault for fault in faults if fault.severity == ERROR]
    if errors:
        raise ContractError(errors)
    return _build(filled)


def contract_from_yaml(text: str, source: str = "contract") -> Contract:
    """Build a contract from YAML text, as bags and data sets carry it.

    Raises:
        ContractError: naming every fault.
    """
    parsed = ContractText(text, source)
    return contract_from_dict(parsed.data, source, parsed)


def load_contract(path: str | Path) -> Contract:
    """Load a contract from a file or by its packaged name.

    Raises:
        ContractError: the file cannot be read or is wrong; the text names every fault.
    """
    found = find_contract(path)
    parsed = read_contract_text(found)
    return contract_from_dict(parsed.data, str(path), parsed)

"""The card of a trained policy, `README.md` in its folder: what it is, from what, how good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.origins.provenance import FILE

CARD = "README.md"
_TINY = "roboalign-tiny"
_KINDS = {
    "base": "a base model with the action vocabulary that has learnt no action yet",
    "sft": "a policy after supervised fine-tuning (stage 1)",
    "grpo": "a policy after GRPO on recorded data (stage 2)",
    "vla": "a flow-matching action head on a frozen policy (stage 3)",
}
_TRAINED = {
    "lora": "a flow-matching action head on a policy that was trained with it by LoRA (stage 3)",
    "full": "a flow-matching action head on a policy that was trained with it, all language-model "
    "weights up to the layer that it reads (stage 3)",
}
"""Of a stage 3 in which the model is not frozen, by its backbone."""
_COMMANDS = {
    "sft": "roboalign sft", "grpo": "roboalign grpo", "vla": "roboalign vla", "base": "roboalign"
}  # fmt: skip
_FIGURES = {
    "dev_format": "format kept, share of held-out frames",
    "dev_prefix_accuracy": "prefix of the demonstrated action tokens, share",
    "dev_action": "exp(-mean error of the actions in shares of their ranges)",
    "dev_score": "score, the weighted sum of the rewards",
    "dev_action_error": "mean action error, share of the limits' range",
    "dev_frames": "held-out frames scored",
}


def write_card(folder: Path) -> None:
    """Write the card of a checkpoint from the records that stand beside it.

    Args:
        folder: with `roboalign.json`, `provenance.json` and `contract.yaml`.
    """
    record = json.loads((folder / "roboalign.json").read_text("utf-8"))
    origin = json.loads((folder / FILE).read_text("utf-8"))
    (folder / CARD).write_text(card_text(record, origin, folder / "contract.yaml"), "utf-8")


def card_text(record: Mapping[str, Any], origin: Mapping[str, Any], contract_file: Path) -> str:
    """The card in Markdown.

    Args:
        record: of `roboalign.json`.
        origin: of `provenance.json`.
        contract_file: the robot contract it was trained for.
    """
    contract = load_contract(contract_file)
    base, data, hashes = origin["base"], origin["dataset"], record["hashes"]
    tiny = _first_base(base) == _TINY
    kept = sum(not entry.get("held_out") for entry in data["episodes"])
    held = len(data["episodes"]) - kept
    dims = ", ".join(f"{d.name} ({d.unit})" for d in contract.action.dims)
    lines = [
        "---",
        f"license: {'apache-2.0' if tiny else 'other'}",
        "library_name: transformers",
        "pipeline_tag: robotics",
        "tags: [robotics, vla, ros2, roboalign]",
        "---",
        f"# {contract.name}: {_TRAINED.get(record.get('backbone'), _KINDS[record['kind']])}",
        "",
        f"- **Base**: `{base['name']}`{_sha(base.get('weights_sha256'))}",
        f"- **Robot contract**: `{contract.name}`{_sha(hashes['contract'])}, "
        f"{contract.rate_hz:g} Hz, chunks of {contract.action.horizon} steps of {dims}",
        f"- **Data set**: `{Path(data['path']).name}`{_sha(hashes.get('dataset'))}, "
        f"{kept} episodes trained on, {held} held out",
        *_decoders(hashes),
        f"- **Made** {record['created']} by `{_COMMANDS[record['kind']]}` ({origin['tool']})"
        + _amount(record),
        f"- **Weights**: SHA-256 `{origin['weights_sha256']}`",
        "",
        *_figures(record),
        "`roboalign trace` on this folder names every recording that it has seen. Drive with "
        "`roboalign up --policy FOLDER`.",
        "",
        "## Licence",
        "",
        _licence(base, tiny),
        "",
    ]
    return "\n".join(lines)


def _decoders(hashes: Mapping[str, str]) -> list[str]:
    stats, lines = f"statistics{_sha(hashes['stats'])}", []
    if "head" in hashes:
        lines.append(f"- **Action head**: flow matching{_sha(hashes['head'])}, {stats}")
    if "tokenizer" in hashes:
        lines.append(f"- **Action tokens**: FAST tokenizer{_sha(hashes['tokenizer'])}, {stats}")
    return lines


def _figures(record: Mapping[str, Any]) -> list[str]:
    found = [(text, record[key]) for key, text in _FIGURES.items() if key in record]
    if not found:
        return []
    rows = [f"| {text} | {value:.3f} |" if isinstance(value, float) else f"| {text} | {value} |"
            for text, value in found]  # fmt: skip
    return [
        "Greedy answers without the grammar, on episodes that were held out of training:",
        "",
        "| figure | value |",
        "|---|---:|",
        *rows,
        "",
    ]


def _amount(record: Mapping[str, Any]) -> str:
    found = [f"{record[key]:,} {key}" for key in ("steps", "samples") if key in record]
    return f": {', '.join(found)}" if found else ""


def _licence(base: Mapping[str, Any], tiny: bool) -> str:
    if tiny:
        return (
            "Apache-2.0, as RoboAlign and roboalign-tiny; the recordings it was trained on may "
            "have terms of their own."
        )
    return (
        f"That of the base model (`{_first_base(base)}`, see there) and of the recordings it was "
        "trained on; RoboAlign itself is Apache-2.0."
    )


def _first_base(base: Mapping[str, Any]) -> str:
    """Name of the model at the beginning of the chain of trainings."""
    while isinstance(base.get("origin"), Mapping):
        base = base["origin"]["base"]
    return str(base["name"])


def _sha(value: str | None) -> str:
    return f" (SHA-256 `{value[:12]}`)" if value else ""

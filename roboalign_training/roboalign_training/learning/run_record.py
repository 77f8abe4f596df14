"""What a training run writes down: its configuration, and the finished policy with its card."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from roboalign_policy.core.hashing import sha256_file, sha256_json
from roboalign_policy.core.policy.prompt import PROMPT_VERSION
from roboalign_policy.models.checkpoint import RECORD, model_settings
from roboalign_policy.models.decoders import FAST
from roboalign_policy.models.loading import TINY
from roboalign_policy.models.tiny import PACKAGED
from roboalign_training.learning.arguments import Diverged, RunArguments
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.policy_card import write_card
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.origins.provenance import write_origin
from roboalign_training.shared.run_layout import POLICY, RUN
from roboalign_training.shared.write_errors import writing
from roboalign_training.thoughts.style import THOUGHT_STYLE

PACKAGES = ("torch", "transformers", "trl", "datasets", "numpy")


def configuration(arguments: Mapping[str, Any], bags: Sequence[Path]) -> dict[str, Any]:
    """What tells runs apart, as JSON values.

    Args:
        arguments: name -> dataclass instance, as parsed.
        bags: the bags that were found where `--bags` points.
    """
    resolved = {
        name: _plain(v.record() if isinstance(v, RunArguments) else dataclasses.asdict(v))
        for name, v in arguments.items()
    }
    return {"arguments": resolved, "bags": sorted(str(path) for path in bags)}


def write_config(
    run: RunFolder, kind: str, config: Mapping[str, Any], hashes: Mapping[str, str], **facts: Any
) -> None:
    """Write `run.json`: everything needed to say what this run was.

    Args:
        run: the run.
        kind: sft or grpo.
        config: of `configuration`.
        hashes: of contract, tokenizer, stats, data set and base.
        facts: further entries, JSON values.
    """
    record = {
        "kind": kind,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **config,
        "hashes": dict(hashes),
        "git": git_state(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        **facts,
    }
    if run.writes:
        write_json(run.path / RUN, record)


def base_hash(base: str) -> dict[str, str]:
    """`base` and the SHA-256 of its weights; empty for a model of the hub."""
    folder = PACKAGED if base == TINY else Path(base)
    weights = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    found = {path.name: sha256_file(path) for path in weights}
    return {"base": sha256_json(found)} if found else {}


def tame(trainer: Trainer, run: RunFolder) -> None:
    """No card of TRL's in the run's folder, and a full disk named with the folder.

    TRL writes a README.md at each checkpoint that calls the base "None".
    """
    save = trainer._save_checkpoint

    def save_checkpoint(*args: Any, **kwargs: Any) -> None:
        with writing(run.path, "a checkpoint to resume from"):
            save(*args, **kwargs)

    trainer._save_checkpoint = save_checkpoint
    trainer.create_model_card = lambda *args, **kwargs: None


def require_finite(model: torch.nn.Module, steps: int, learning_rate: float) -> None:
    """Refuse weights of which nothing can be made.

    Args:
        model: that was trained.
        steps: how many it was.
        learning_rate: for the message.

    Raises:
        Diverged: names the first weight that is not finite.
    """
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise Diverged(
                f"{name} is not finite after step {steps}, learning_rate {learning_rate:g}; no "
                "policy was written"
            )


def save_policy(
    run: RunFolder,
    trainer: Trainer,
    processor: Any,
    data: Demonstrations,
    facts: dict,
    held_out: Sequence[int],
    name: str = POLICY,
) -> Path:
    """Write `<run>/policy`, the checkpoint folder of docs/architecture.md, whole or not at all.

    Args:
        run: the run.
        trainer: holds the trained MLLM; every process of a distributed run calls this, the first
            one writes.
        processor: the MLLM's processor.
        data: names the folder of `fast/`, `stats.json` and `contract.yaml`, and their hashes.
        facts: further entries of `roboalign.json` (kind, base ...).
        held_out: frames of the episodes that were not trained on.
        name: of the folder in the run's.

    Raises:
        OSError: the disk is full; an earlier policy is as it was.
    """
    weights = trainer.accelerator.get_state_dict(trainer.model)
    target, fresh = run.path / name, run.path / f"{name}.new"
    if not trainer.is_world_process_zero():
        return target
    shutil.rmtree(fresh, ignore_errors=True)
    meta = {
        "horizon": data.horizon,
        "dims": data.dims,
        "hashes": data.hashes,
        "git": git_state(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "prompt_version": PROMPT_VERSION,
        "decoder": FAST,
        "images": list(data.image_keys),
        THOUGHT_STYLE: data.thought_style,
        **facts,
    }
    apart = {data.episode(int(frame)).id for frame in held_out}
    with writing(fresh, "the policy"):
        trainer.accelerator.unwrap_model(trainer.model).save_pretrained(fresh, state_dict=weights)
        processor.save_pretrained(fresh)
        copy_robot(data.folder, fresh)
        write_json(fresh / RECORD, {**meta, "settings": model_settings(fresh)})
        write_origin(fresh, facts["kind"], facts["base"], data.folder, apart, git_state())
        write_card(fresh)
    return run.put(name)


def copy_robot(dataset: Path, folder: Path) -> None:
    """Put a data set's tokenizer, statistics and contract beside the weights."""
    shutil.copytree(dataset / "fast", folder / "fast")
    for name in ("stats.json", "contract.yaml"):
        shutil.copy2(dataset / name, folder / name)


def git_state() -> str:
    """Commit of the source tree, with `-dirty` where changed; empty outside a git checkout."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout.strip() if result.returncode == 0 else ""


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON in one go, so that a reader never sees half of it; NaN and infinity are null."""
    fresh = path.with_name(path.name + ".new")
    with writing(path, "a record"):
        try:
            text = json.dumps(_finite(values), indent=2, allow_nan=False)
            fresh.write_text(text + "\n", encoding="utf-8")
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    """NaN and infinity are no JSON."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)

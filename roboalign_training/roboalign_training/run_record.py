"""What a training run leaves behind: resolved configuration, hashes, metrics, checkpoints.

A run's folder holds `run.json` (what was asked for, with every hash), `metrics.jsonl` (one line a
log), `checkpoint-<step>/` (to resume from) and `policy/` (the finished checkpoint, see
docs/architecture.md).
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME

from roboalign_policy.core.prompt import PROMPT_VERSION
from roboalign_training.demonstrations import Demonstrations
from roboalign_training.provenance import write_origin
from roboalign_training.run_layout import METRICS, POLICY
from roboalign_training.shared.json_lines import read_json_lines

PACKAGES = ("torch", "transformers", "trl", "datasets", "numpy")


class RunFolder:
    """Reads and writes the records of one run."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder)
        self.path.mkdir(parents=True, exist_ok=True)
        self.metrics_path = self.path / METRICS

    def write_config(
        self, kind: str, arguments: dict[str, Any], hashes: dict[str, str], **facts: Any
    ) -> None:
        """Writes `run.json`: everything needed to say what this run was.

        Args:
            kind: sft or grpo.
            arguments: name -> dataclass instance, as parsed.
            hashes: of contract, tokenizer, stats, data set.
            facts: further entries, JSON values.
        """
        resolved = {name: _plain(dataclasses.asdict(value)) for name, value in arguments.items()}
        record = {
            "kind": kind,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "arguments": resolved,
            "hashes": hashes,
            "git": git_state(),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in PACKAGES},
            },
            **facts,
        }
        write_json(self.path / "run.json", record)

    def append(self, **values: Any) -> None:
        """Adds a line to `metrics.jsonl`; numbers that are not finite are left out."""
        finite = {
            k: v for k, v in values.items() if not (isinstance(v, float) and not math.isfinite(v))
        }
        with self.metrics_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(finite) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last line cut by a kill is left out."""
        if not self.metrics_path.is_file():
            return []
        return [values for _, values in read_json_lines(self.metrics_path, whole_lines=True)]

    def checkpoint(self) -> Path | None:
        """The newest whole checkpoint: the trainer state is written last, when all is there."""
        found = [p.parent for p in self.path.glob(f"checkpoint-*/{TRAINER_STATE_NAME}")]
        return max(found, key=lambda p: int(p.name.rsplit("-", 1)[1]), default=None)

    def start(self, resume: bool) -> tuple[Path | None, float]:
        """Prepares the folder for a run.

        Args:
            resume: go on from the newest checkpoint where there is one; else begin anew, and what
                an earlier run left in the folder is deleted.

        Returns:
            The checkpoint to resume from or None, and the seconds of training behind it.
        """
        checkpoint = self.checkpoint() if resume else None
        if checkpoint is None:
            self.metrics_path.unlink(missing_ok=True)
            for stale in self.path.glob("checkpoint-*"):
                shutil.rmtree(stale)
            return None, 0.0
        step = int(checkpoint.name.rsplit("-", 1)[1])
        for newer in self.path.glob(
            "checkpoint-*"
        ):  # unfinished saves: the trainer would take the highest number
            if int(newer.name.rsplit("-", 1)[1]) > step:
                shutil.rmtree(newer)
        kept = [line for line in self.metrics() if line.get("step", 0) <= step]
        fresh = self.metrics_path.with_suffix(
            ".new"
        )  # a new file: who follows the old one sees that it changed
        fresh.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(fresh, self.metrics_path)
        return checkpoint, max((line.get("elapsed_s", 0.0) for line in kept), default=0.0)


def save_policy(
    run: RunFolder,
    trainer: Trainer,
    processor: Any,
    data: Demonstrations,
    facts: dict,
    held_out: Sequence[int],
) -> Path:
    """Writes `<run>/policy`, the checkpoint folder of docs/architecture.md, whole or not at all.

    Args:
        run: the run.
        trainer: holds the trained MLLM; every process of a distributed run calls this, the first
            one writes.
        processor: the MLLM's processor.
        data: names the folder of `fast/`, `stats.json` and `contract.yaml`, and their hashes.
        facts: further entries of `roboalign.json` (kind, base ...).
        held_out: frames of the episodes that were not trained on.
    """
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if not trainer.is_world_process_zero():
        return run.path / POLICY
    target, fresh = run.path / POLICY, run.path / f"{POLICY}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    trainer.accelerator.unwrap_model(trainer.model).save_pretrained(fresh, state_dict=weights)
    processor.save_pretrained(fresh)
    shutil.copytree(data.folder / "fast", fresh / "fast")
    for name in ("stats.json", "contract.yaml"):
        shutil.copy2(data.folder / name, fresh / name)
    meta = {
        "horizon": data.horizon,
        "dims": data.dims,
        "hashes": data.hashes,
        "git": git_state(),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "prompt_version": PROMPT_VERSION,
        **facts,
    }
    write_json(fresh / "roboalign.json", meta)
    apart = {data.episode(int(frame)).id for frame in held_out}
    write_origin(fresh, facts["kind"], facts["base"], data.folder, apart, git_state())
    old = run.path / f"{POLICY}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return target


def git_state() -> str:
    """Commit of the source tree, with `-dirty` where changed; empty outside a git checkout."""
    result = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout.strip() if result.returncode == 0 else ""


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes JSON in one go, so that a reader never sees half of it."""
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    os.replace(fresh, path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)

"""The demo's stages in order: each is one function of the configuration, done once, resumable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from roboalign_policy.sim import SUITES
from roboalign_training.base_policy import make_base_policy
from roboalign_training.data.index import load_index
from roboalign_training.demo.plan import (
    ARMS,
    CLOSED_LOOP_SEED,
    OPEN_LOOP_SEED,
    RECORD_SEED,
    DemoConfig,
)
from roboalign_training.evaluate.closed_loop import (
    DriveSettings,
    episodes_of_suites,
    run_closed_loop,
    summarise,
)

Stage = Callable[[DemoConfig, Path], dict]


def record(config: DemoConfig, out: Path) -> dict:
    """Expert demonstrations through the ROS nodes, one bag an episode."""
    for name, count, seed in (
        ("bags", config.episodes, RECORD_SEED),
        ("bags-eval", config.open_loop_episodes, OPEN_LOOP_SEED),
    ):
        jobs = record_jobs(count, seed, config.action_noise)
        _write_json(out / f"{name}.json", jobs)
        _module(
            "roboalign_training.nodes.record_worker",
            out / f"{name}.json",
            out / name,
            "--workers",
            config.workers,
        )
    return {"episodes": len(list((out / "bags").glob("[!.]*")))}


def record_jobs(count: int, first_seed: int, action_noise: float) -> list[dict]:
    """``count`` demonstrations, suites in turn, and of each suite its tasks in turn."""
    suites = list(SUITES.items())
    jobs = []
    for i in range(count):
        suite, tasks = suites[i % len(suites)]
        task = tasks[i // len(suites) % len(tasks)].name
        jobs.append(
            {"suite": suite, "task": task, "seed": first_seed + i, "action_noise": action_noise}
        )
    return jobs


def dataset(config: DemoConfig, out: Path) -> dict:
    """Bags to data sets; statistics and FAST tokenizer fitted on the training one."""
    _roboalign("convert", out / "bags", "--out", out / "data", "--workers", config.workers)
    _roboalign(
        "fit-tokenizer", out / "data", "--vocab-size", config.vocab_size, "--scale", config.scale
    )
    _roboalign(
        "convert", out / "bags-eval", "--out", out / "data-eval", "--workers", config.workers
    )
    index = load_index(out / "data")
    tokens = index.fitted["tokens_per_chunk"]
    return {
        "episodes": len(index.episodes),
        "frames": index.frames,
        "skipped": len(index.skipped),
        "tokens_per_chunk": tokens["mean"],
        "tokens_per_chunk_max": tokens["max"],
        "chunks": index.fitted["chunks"],
    }


def base(config: DemoConfig, out: Path) -> dict:
    """The pretrained model with the action vocabulary, no action learnt: what SFT starts from."""
    make_base_policy("roboalign-tiny", out / "data", out / "base")
    return {}


def sft(config: DemoConfig, out: Path) -> dict:
    """Supervised fine-tuning."""
    _roboalign(
        "sft", "--dataset", out / "data", "--output_dir", out / "sft", "--max_steps",
        config.sft_steps, "--max_seconds", config.sft_seconds, "--resume", "true",
        threads=config.threads,
    )  # fmt: skip
    return json.loads((out / "sft" / "result.json").read_text())


def grpo(config: DemoConfig, out: Path) -> dict:
    """GRPO from the SFT policy; the checkpoint that scores best on development frames is kept."""
    _roboalign(
        "grpo", "--dataset", out / "data", "--base", out / "sft" / "policy", "--output_dir",
        out / "grpo", "--samples", config.grpo_samples, "--max_seconds", config.grpo_seconds,
        "--resume", "true", threads=config.threads,
    )  # fmt: skip
    return json.loads((out / "grpo" / "result.json").read_text())


def open_loop(config: DemoConfig, out: Path) -> dict:
    """Both trained policies against demonstrations of other seeds."""
    from roboalign_training.evaluate.open_loop import open_loop_of

    return {
        arm: open_loop_of(policy_of(out, arm), out / "data-eval", config.open_loop_frames)
        for arm in ARMS[1:]
    }


def closed_loop(config: DemoConfig, out: Path) -> dict:
    """Base, SFT and SFT+GRPO drive the arm through policy_node, on the same unseen seeds."""
    episodes = episodes_of_suites(SUITES, config.closed_loop_episodes, CLOSED_LOOP_SEED)
    settings = DriveSettings(workers=config.workers, replan_after_steps=config.replan_after_steps)
    return {
        arm: summarise(
            run_closed_loop(policy_of(out, arm), episodes, out / "closed_loop" / arm, settings)
        )
        for arm in ARMS
    }


def report(config: DemoConfig, out: Path) -> dict:
    """`report.json` and `report.html`."""
    from roboalign_training.evaluate.report import write_report

    return {"report": str(write_report(out, asdict(config)))}


STAGES: dict[str, Stage] = {
    stage.__name__: stage
    for stage in (record, dataset, base, sft, grpo, open_loop, closed_loop, report)
}
PRODUCTS = {
    "record": ("bags", "bags-eval"),
    "dataset": ("data", "data-eval"),
    "base": ("base",),
    "sft": ("sft",),
    "grpo": ("grpo",),
    "closed_loop": ("closed_loop",),
}
"""Folders that doing a stage again begins by removing."""
OPTIONS = {
    "record": ("episodes", "open_loop_episodes", "action_noise"),
    "dataset": ("vocab_size", "scale"),
    "sft": ("sft_seconds", "sft_steps"),
    "grpo": ("grpo_seconds", "grpo_samples"),
    "open_loop": ("open_loop_frames",),
    "closed_loop": ("closed_loop_episodes", "replan_after_steps"),
}
"""What of the configuration decides a stage's result: a finished one is kept only for the same."""


def policy_of(out: Path, arm: str) -> Path:
    """Checkpoint folder of an arm."""
    return out / "base" if arm == "base" else out / arm / "policy"


def run_stages(config: DemoConfig, console: Console) -> Path:
    """Do every stage that is not done; results and seconds go to ``stages.json``.

    Returns:
        The folder of the demo.

    Raises:
        ValueError: ``redo`` names no stage, or a finished stage was done with other options.
        StageFailed: a stage's command failed; running again goes on there.
    """
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    state = read_state(out)
    _forget(config.redo, out, state)
    _check_options(config, out, state)
    for name, stage in STAGES.items():
        if name in state and name != "report":
            console.print(f"[dim]{name}: done, {state[name]['seconds']:.0f} s[/dim]")
            continue
        console.rule(f"{name}: {(stage.__doc__ or '').strip().splitlines()[0]}")
        spent = _spent_before(out, name)
        started = time.monotonic()
        try:
            result = stage(config, out)
        finally:
            _write_json(out / f".{name}.seconds", spent + time.monotonic() - started)
        state[name] = {
            "seconds": spent + time.monotonic() - started,
            "result": result,
            "options": _options(config, name),
        }
        _write_json(out / "stages.json", state)
        (out / f".{name}.seconds").unlink()
    return out


def read_state(out: Path) -> dict:
    """Finished stages with their seconds and results."""
    path = out / "stages.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _forget(redo: list[str], out: Path, state: dict) -> None:
    """Drop the stages named and all that follow, with what they made."""
    if unknown := set(redo) - set(STAGES):
        raise ValueError(f"redo: found {sorted(unknown)}, expected some of {list(STAGES)}")
    names = list(STAGES)
    if redo:
        for name in names[min(names.index(r) for r in redo) :]:
            state.pop(name, None)
            (out / f".{name}.seconds").unlink(missing_ok=True)
            for folder in PRODUCTS.get(name, ()):
                shutil.rmtree(out / folder, ignore_errors=True)
        _write_json(out / "stages.json", state)


def _options(config: DemoConfig, name: str) -> dict:
    return {key: getattr(config, key) for key in OPTIONS.get(name, ())}


def _check_options(config: DemoConfig, out: Path, state: dict) -> None:
    """A report over stages of different configurations would name one and show another."""
    for name, entry in state.items():
        for key, wanted in _options(config, name).items():
            if (found := entry.get("options", {}).get(key)) != wanted:
                raise ValueError(
                    f"{out / 'stages.json'}: {name} was done with {key} {found}, expected "
                    f"{wanted}: add --redo {name}, or choose another --out"
                )


def _spent_before(out: Path, name: str) -> float:
    """Seconds that an interrupted run has spent on a stage."""
    path = out / f".{name}.seconds"
    return float(json.loads(path.read_text())) if path.is_file() else 0.0


def _write_json(path: Path, value: object) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)


class StageFailed(RuntimeError):
    """A stage's command ended with an error."""


def _roboalign(command: str, *arguments: object, threads: int = 0) -> None:
    _module("roboalign_training.cli", command, *arguments, threads=threads)


def _module(module: str, *arguments: object, threads: int = 0) -> None:
    """Run a module as a process; ctrl-C reaches it too, and it is given the time to save."""
    words = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)} if threads else None
    process = subprocess.Popen(words, env=environment)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise
    if status:
        raise StageFailed(f"{' '.join(words[2:])} ended with status {status}")

"""The demo's stages in order: each is one function of the configuration, done once, resumable."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from roboalign_policy.sim import SUITES
from roboalign_training.data.index import load_index
from roboalign_training.demo.checks import check_prompts
from roboalign_training.demo.plan import ARMS, GRPO_SAMPLES, STAGE_NAMES, DemoConfig
from roboalign_training.demo.progress import bags_done, steps_done, unknown
from roboalign_training.evaluate.closed_loop import (
    DrivenEpisode,
    DrivingOptions,
    episodes_of_suites,
    run_closed_loop,
    summarise,
)
from roboalign_training.evaluate.seeds import CLOSED_LOOP_SEED, OPEN_LOOP_SEED, RECORD_SEED
from roboalign_training.shared.progress import Count, run_child
from roboalign_training.shared.run_layout import RUN

Stage = Callable[[DemoConfig, Path, Console], dict]
LOGS = "logs"


def record(config: DemoConfig, out: Path, console: Console) -> dict:
    """Expert demonstrations through the ROS nodes, one bag an episode."""
    for name, jobs in recordings(config).items():
        write_json(out / f"{name}.json", jobs)
        _module(
            "roboalign_training.nodes.record_worker",
            out / f"{name}.json",
            out / name,
            "--workers",
            config.workers,
            log=out / LOGS / "record.log",
            count=bags_done(out / name, len(jobs)),
            console=console,
        )
    return {"episodes": len(list((out / "bags").glob("[!.]*")))}


def recordings(config: DemoConfig) -> dict[str, list[dict]]:
    """The demonstrations to record, by the name of the folder that their bags go to."""
    noise = config.action_noise
    return {
        "bags": record_jobs(config.episodes, RECORD_SEED, noise),
        "bags-eval": record_jobs(config.open_loop_episodes, OPEN_LOOP_SEED, noise),
    }


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


def dataset(config: DemoConfig, out: Path, console: Console) -> dict:
    """Bags to data sets; statistics and FAST tokenizer fitted on the training one."""
    log = out / LOGS / "dataset.log"
    for command in (
        ("convert", out / "bags", "--out", out / "data", "--workers", config.workers),
        (
            "fit-tokenizer", out / "data", "--vocab-size", config.vocab_size,
            "--scale", config.scale,
        ),
        ("convert", out / "bags-eval", "--out", out / "data-eval", "--workers", config.workers),
    ):  # fmt: skip
        _roboalign(*command, log=log, count=unknown, console=console)
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


def base(config: DemoConfig, out: Path, console: Console) -> dict:
    """The pretrained model with the action vocabulary, no action learnt: what SFT starts from."""
    from roboalign_training.learning.base_policy import make_base_policy
    from roboalign_training.shared.library_log import library_log

    with library_log() as log:
        log.to_file(out / LOGS / "base.log")
        make_base_policy("roboalign-tiny", out / "data", out / "base")
    return {}


def sft(config: DemoConfig, out: Path, console: Console) -> dict:
    """Supervised fine-tuning."""
    check_prompts(config, out)
    _train(
        "sft", "--dataset", out / "data", "--out", out / "sft", "--max_steps", config.sft_steps,
        "--max_seconds", config.sft_seconds, config=config, out=out, console=console,
    )  # fmt: skip
    return json.loads((out / "sft" / "result.json").read_text())


def grpo(config: DemoConfig, out: Path, console: Console) -> dict:
    """GRPO from the SFT policy; the checkpoint that scores best on development frames is kept."""
    _train(
        "grpo", "--dataset", out / "data", "--base", out / "sft" / "policy", "--out",
        out / "grpo", "--samples", grpo_samples(config, out), "--max_seconds",
        config.grpo_seconds, config=config, out=out, console=console,
    )  # fmt: skip
    return json.loads((out / "grpo" / "result.json").read_text())


def grpo_samples(config: DemoConfig, out: Path) -> int:
    """Prompts of GRPO: as asked for; by default no more than there are frames."""
    if config.grpo_samples != GRPO_SAMPLES:
        return config.grpo_samples
    frames = json.loads((out / "sft" / RUN).read_text())["train_frames"]
    return min(GRPO_SAMPLES, frames)


def open_loop(config: DemoConfig, out: Path, console: Console) -> dict:
    """Both trained policies against demonstrations of other seeds."""
    from roboalign_training.evaluate.open_loop import open_loop_of
    from roboalign_training.shared.library_log import library_log

    with library_log() as log:
        log.to_file(out / LOGS / "open_loop.log")
        return {
            arm: open_loop_of(policy_of(out, arm), out / "data-eval", config.open_loop_frames)
            for arm in ARMS[1:]
        }


def closed_loop(config: DemoConfig, out: Path, console: Console) -> dict:
    """Base, SFT and SFT+GRPO drive the arm through policy_node, on the same unseen seeds."""
    episodes = driven_episodes(config)
    settings = DrivingOptions(workers=config.workers, replan_after_steps=config.replan_after_steps)
    return {
        arm: summarise(
            run_closed_loop(
                policy_of(out, arm), episodes, out / "closed_loop" / arm, settings, console=console
            )
        )
        for arm in ARMS
    }


def driven_episodes(config: DemoConfig) -> list[DrivenEpisode]:
    """The episodes that each arm drives."""
    return episodes_of_suites(SUITES, config.closed_loop_episodes, CLOSED_LOOP_SEED)


def report(config: DemoConfig, out: Path, console: Console) -> dict:
    """`report.json` and `report.html`."""
    from roboalign_training.evaluate.report import write_report

    return {"report": str(write_report(out, asdict(config)))}


STAGES: dict[str, Stage] = dict(
    zip(
        STAGE_NAMES,
        (record, dataset, base, sft, grpo, open_loop, closed_loop, report),
        strict=True,
    )
)
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


def _train(kind: str, *options: object, config: DemoConfig, out: Path, console: Console) -> None:
    _roboalign(
        kind,
        *options,
        log=out / LOGS / f"{kind}.log",
        count=steps_done(out / kind),
        console=console,
        threads=config.threads,
    )


def _roboalign(
    command: str, *words: object, log: Path, count: Count, console: Console, threads: int = 0
) -> None:
    _module(
        "roboalign_training.cli",
        command,
        *words,
        log=log,
        count=count,
        console=console,
        threads=threads,
    )


def _module(
    module: str, *words: object, log: Path, count: Count, console: Console, threads: int = 0
) -> None:
    """Run a module as a process; what it prints goes to the log."""
    run_child(
        [sys.executable, "-m", module, *map(str, words)],
        log,
        str(words[0]) if module.endswith("cli") else log.stem,
        count,
        console,
        {"OMP_NUM_THREADS": str(threads)} if threads else None,
    )


def write_json(path: Path, value: object) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=1))
    partial.replace(path)

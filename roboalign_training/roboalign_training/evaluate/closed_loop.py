"""Closed-loop evaluation: which episodes are driven, what came of them, what they add up to.

The driving itself needs ROS and runs as a process of its own,
``roboalign_training.nodes.closed_loop_worker``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from roboalign_training.shared.json_lines import read_json_lines
from roboalign_training.statistics import wilson_interval

RESULTS, FRAMES, JOBS = "results.jsonl", "frames", "jobs.json"


@dataclass(frozen=True)
class Episode:
    """One episode to drive: a task of a suite from a seed."""

    suite: str
    task: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.suite}-{self.task}-{self.seed}"


@dataclass(frozen=True)
class DriveSettings:
    """How episodes are driven.

    Attributes:
        contract: robot contract, path or packaged name.
        workers: simulators and policies side by side, each pair in a ROS domain of its own.
        replan_after_steps: steps executed of each chunk; 0 takes the whole chunk.
        think: reason before acting.
        grammar: keep answers inside the grammar.
        keep_every: every k-th camera frame is kept for the report; 0 keeps none.
        threads: torch threads of each policy.
    """

    contract: str = "sim_panda"
    workers: int = 2
    replan_after_steps: int = 0
    think: bool = True
    grammar: bool = True
    keep_every: int = 1
    threads: int = 1


def episodes_of_suites(
    suites: Mapping[str, Sequence], per_suite: int, first_seed: int
) -> list[Episode]:
    """``per_suite`` episodes of each suite, tasks in turn, seeds from ``first_seed`` on.

    Args:
        suites: suite name to its tasks (objects with a name), as ``roboalign_policy.sim.SUITES``.
        per_suite: episodes of each.
        first_seed: no recording, training or model-selection seed may lie among them.
    """
    return [
        Episode(suite, tasks[i % len(tasks)].name, first_seed + i)
        for suite, tasks in suites.items()
        for i in range(per_suite)
    ]


def run_closed_loop(
    policy: Path, episodes: Iterable[Episode], out: Path, settings: DriveSettings
) -> list[dict]:
    """Drive every episode once; results that ``out`` holds already are not driven again.

    Args:
        policy: checkpoint folder.
        episodes: what to drive.
        out: folder of results, frames and logs; one policy's and one setting's alone.
        settings: how.

    Returns:
        One record an episode, in order: suite, task, seed, success, steps, chunks, valid_chunks,
        faults, reasonings, instruction, mean_inference_s, end.

    Raises:
        RuntimeError: the worker failed; what was finished is kept.
        ValueError: ``out`` belongs to another policy or setting.
    """
    wanted = list(episodes)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, policy, settings)
    drop_torn_line(out)
    finished = read_results(out)
    if missing := [episode for episode in wanted if episode not in finished]:
        job = {
            "policy": str(policy.resolve()),
            "settings": asdict(settings),
            "episodes": [asdict(e) for e in missing],
        }
        (out / JOBS).write_text(json.dumps(job))
        command = [sys.executable, "-m", "roboalign_training.nodes.closed_loop_worker", str(out)]
        if status := subprocess.run(command, check=False).returncode:
            raise RuntimeError(
                f"closed-loop worker ended with status {status}; logs are in {out / 'logs'}"
            )
        finished = read_results(out)
    return [finished[episode] for episode in wanted]


def read_results(out: Path) -> dict[Episode, dict]:
    """Results of finished episodes in ``out``; a last line that a kill cut off is left out."""
    path = out / RESULTS
    lines = read_json_lines(path, whole_lines=True) if path.is_file() else []
    return {Episode(r["suite"], r["task"], r["seed"]): r for _, r in lines}


def drop_torn_line(out: Path) -> None:
    """Cut off a last line without its end, so that the next result begins on a line of its own."""
    path = out / RESULTS
    if path.is_file():
        whole = path.read_bytes().rpartition(b"\n")
        with path.open("r+b") as file:
            file.truncate(len(whole[0]) + len(whole[1]))


def summarise(records: Sequence[Mapping]) -> dict:
    """Successes of each suite with Wilson 95 % intervals, and how many chunks were valid."""
    suites: dict[str, dict] = {}
    for record in records:
        entry = suites.setdefault(record["suite"], {"successes": 0, "n": 0})
        entry["successes"] += bool(record["success"])
        entry["n"] += 1
    for entry in suites.values():
        entry["interval"] = list(wilson_interval(entry["successes"], entry["n"]))
    chunks = {
        "valid": sum(r["valid_chunks"] for r in records),
        "n": sum(r["chunks"] for r in records),
    }
    return {"suites": suites, "decode": chunks}


def _claim(out: Path, policy: Path, settings: DriveSettings) -> None:
    """Write whose results ``out`` holds, or compare."""
    path = out / "run.json"
    run = {
        "policy": json.loads((policy / "roboalign.json").read_text()),
        "settings": asdict(settings),
    }
    run["settings"].pop("workers")
    if not path.is_file():
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(json.dumps(run, indent=1))
        partial.replace(path)
        return
    found = json.loads(path.read_text())
    for part, expected in run.items():
        for key in sorted({*found[part], *expected}):
            if found[part].get(key) != expected.get(key):
                raise ValueError(
                    f"{path}: {part}.{key}: found {found[part].get(key)!r}, expected "
                    f"{expected.get(key)!r} of {policy}; choose another folder"
                )

"""Closed-loop evaluation: which episodes are driven, what came of them, what they add up to.

The driving itself needs ROS and runs as a process of its own,
``roboalign_training.nodes.closed_loop_worker``.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from roboalign_policy.core.drive.thoughts import ALWAYS, NEVER
from roboalign_training.evaluate.checks import check_driving, check_ros
from roboalign_training.evaluate.simulated_arm import simulated_arm
from roboalign_training.shared.json_lines import read_json_lines
from roboalign_training.shared.outputs import judge, only_writer, read_record, remove
from roboalign_training.shared.places import DRIVEN, check_place
from roboalign_training.shared.statistics import wilson_interval
from roboalign_training.shared.write_errors import writing

if TYPE_CHECKING:
    from rich.console import Console

RESULTS, FRAMES, JOBS, RUN, LOGS = "results.jsonl", "frames", "jobs.json", "run.json", "logs"
REPORT = "report.html"
PRODUCTS = (RESULTS, FRAMES, JOBS, RUN, LOGS, REPORT, f"{RESULTS}.new")


@dataclass(frozen=True)
class DrivenEpisode:
    """One episode to drive: a task of a suite from a seed."""

    suite: str
    task: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.suite}-{self.task}-{self.seed}"


@dataclass(frozen=True)
class DrivingOptions:
    """How episodes are driven.

    Attributes:
        contract: robot contract, path or packaged name; empty: the simulated arm's with the
            cameras that the policy was trained with.
        workers: simulators and policies side by side, each pair in a ROS domain of its own.
        replan_after_steps: steps executed of each chunk; 0: as many as the policy says, else all.
        think: reason before acting.
        grammar: keep answers inside the grammar.
        keep_every: every k-th camera frame is kept for the report; 0 keeps none.
        threads: torch threads of each policy.
        decoder: `fast` or `flow`, where the policy has both; `auto`: its own choice.
        reasoning: how long a thought is kept, as policy_node's parameter; not read where ``think``
            is False.
        reasoning_chunks: `every_n`: chunks that one thought serves.
    """

    contract: str = ""
    workers: int = 2
    replan_after_steps: int = 0
    think: bool = True
    grammar: bool = True
    keep_every: int = 1
    threads: int = 1
    decoder: str = "auto"
    reasoning: str = ALWAYS
    reasoning_chunks: int = 2

    @property
    def node_reasoning(self) -> str:
        """What policy_node is told."""
        return self.reasoning if self.think else NEVER


def episodes_of_suites(
    suites: Mapping[str, Sequence], per_suite: int, first_seed: int
) -> list[DrivenEpisode]:
    """``per_suite`` episodes of each suite, tasks in turn, seeds from ``first_seed`` on.

    Args:
        suites: suite name to its tasks (objects with a name), as ``roboalign_policy.sim.SUITES``.
        per_suite: episodes of each.
        first_seed: no recording, training or model-selection seed may lie among them.
    """
    return [
        DrivenEpisode(suite, tasks[i % len(tasks)].name, first_seed + i)
        for suite, tasks in suites.items()
        for i in range(per_suite)
    ]


def run_closed_loop(
    policy: Path,
    episodes: Iterable[DrivenEpisode],
    out: Path,
    settings: DrivingOptions,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> list[dict]:
    """Drive every episode once; results that ``out`` holds already are not driven again.

    Args:
        policy: checkpoint folder.
        episodes: what to drive.
        out: folder of results, frames and logs; one policy's and one setting's alone.
        settings: how.
        overwrite: remove the results that are there.
        console: where progress is shown; standard error when None.

    Returns:
        One record an episode, in order: suite, task, seed, success, steps, chunks, valid_chunks,
        faults, reasonings, instruction, mean_inference_s, end.

    Raises:
        ModelError: the policy cannot be used, or is of another robot.
        OutputError: ``out`` belongs to another policy or setting, or another process drives.
        ValueError: a setting or seed that cannot be driven.
        RuntimeError: there is no ROS, or the worker failed; what was finished is kept.
    """
    wanted = list(episodes)
    check_driving(wanted, settings)
    check_place("--out", out, DRIVEN, [("--policy", policy)])
    run = describe_run(policy, settings)
    told = ("contract", "replan_after_steps")
    settings = replace(settings, **{key: run["settings"][key] for key in told})

    def missing() -> list[DrivenEpisode]:
        """What is still to be driven."""
        finished = {} if overwrite else read_results(out)
        left = [episode for episode in wanted if episode not in finished]
        judge(out, RUN, run, PRODUCTS, finished=not left, overwrite=overwrite)
        return left

    if missing():
        check_ros()
        with writing(out, "results"):
            out.mkdir(parents=True, exist_ok=True)
            with only_writer(out):
                left = missing()  # another process may have driven meanwhile
                if overwrite:
                    remove(out, PRODUCTS)
                if left:
                    _drive(policy, left, out, settings, run, console)
    finished = read_results(out)
    return [finished[episode] for episode in wanted]


def copy_closed_loop(
    source: Path,
    policy: Path,
    episodes: Iterable[DrivenEpisode],
    out: Path,
    options: DrivingOptions,
) -> list[dict]:
    """The results of a policy that is equal to one that has driven, by its hash.

    Driving in lock step tells the same of the same policy, times apart, so that nothing would be
    learnt by driving it again.

    Args:
        source: folder of the other policy's results.
        policy: checkpoint folder.
        episodes: what would be driven; all of it is in ``source``.
        out: folder of this policy's results.
        options: how both drive.

    Raises:
        ModelError: the policy cannot be used, or is of another robot.
        OutputError: ``out`` holds something else, or another process drives.
        ValueError: the results are of another policy or lack an episode.
    """
    run, results, wanted = describe_run(policy, options), read_results(source), list(episodes)
    theirs = read_record(source / RUN) or {}
    for key in ("policy_hash", "settings"):
        if theirs.get(key) != run[key]:
            raise ValueError(
                f"{source / RUN}: {key}: found {theirs.get(key)}, expected {run[key]}"
            )
    if lacking := [episode.name for episode in wanted if episode not in results]:
        raise ValueError(f"{source / RESULTS}: found no {lacking[0]}, expected it")
    driven = read_results(out)
    finished = all(episode in driven for episode in wanted)
    judge(out, RUN, run, PRODUCTS, finished=finished)
    if not finished:
        with writing(out, "results"):
            out.mkdir(parents=True, exist_ok=True)
            with only_writer(out):
                _write_run(out, run)  # first: frames without it would be a stranger's
                if (source / FRAMES).is_dir():
                    shutil.copytree(source / FRAMES, out / FRAMES, dirs_exist_ok=True)
                fresh = out / f"{RESULTS}.new"
                fresh.write_text("".join(f"{json.dumps(results[e])}\n" for e in wanted), "utf-8")
                fresh.replace(out / RESULTS)
    return [results[episode] for episode in wanted]


def _write_run(out: Path, run: Mapping) -> None:
    partial = out / f"{RUN}.partial"
    partial.write_text(json.dumps(run, indent=1))
    partial.replace(out / RUN)


def describe_run(policy: Path, settings: DrivingOptions) -> dict:
    """Whose results they are: the policy and how it drives.

    Returns:
        `policy` (its `roboalign.json`), `policy_hash`, `settings` (what was asked for) and
        `chunk_steps`: how many steps of a chunk of how many are driven.

    Raises:
        ModelError: the policy cannot be used, or is of another robot than the simulated arm.
    """
    # Here, because torch takes seconds.
    from roboalign_policy.core.contract.contract import find_contract, load_contract
    from roboalign_policy.models.checkpoint import check_same_robot, read_checkpoint

    parts = read_checkpoint(policy, settings.decoder)
    contract = settings.contract or simulated_arm(parts.contract)
    robot = load_contract(find_contract(contract))
    check_same_robot(policy, parts.contract, robot, parts.images)
    record = json.loads((policy / "roboalign.json").read_text())
    how = {key: value for key, value in asdict(settings).items() if key != "workers"}
    how["contract"] = contract
    how["replan_after_steps"] = settings.replan_after_steps or parts.decoder.replan_after_steps
    if settings.decoder == "auto":  # as results from before there were two
        del how["decoder"]
    if settings.reasoning == ALWAYS:
        del how["reasoning"], how["reasoning_chunks"]
    horizon = robot.action.horizon
    steps = {"driven": how["replan_after_steps"] or horizon, "of": horizon}
    return {"policy": record, "policy_hash": parts.hash, "settings": how, "chunk_steps": steps}


def _drive(
    policy: Path,
    missing: Sequence[DrivenEpisode],
    out: Path,
    settings: DrivingOptions,
    run: Mapping,
    console: Console | None,
) -> None:
    from rich.console import Console

    from roboalign_training.shared.progress import run_child

    drop_torn_line(out)
    _write_run(out, run)
    job = {
        "policy": str(policy.resolve()),
        "settings": asdict(settings),
        "episodes": [asdict(e) for e in missing],
    }
    (out / JOBS).write_text(json.dumps(job))
    before = len(read_results(out))

    def count() -> tuple[int, int, str]:
        results = read_results(out)
        wins = sum(bool(r["success"]) for r in results.values())
        return len(results) - before, len(missing), f"episodes, {wins} of {len(results)} succeeded"

    run_child(
        [sys.executable, "-m", "roboalign_training.nodes.closed_loop_worker", str(out)],
        out / LOGS / "worker.log",
        f"closed loop {out.name}",
        count,
        console or Console(stderr=True),
    )


def read_results(out: Path) -> dict[DrivenEpisode, dict]:
    """Results of finished episodes in ``out``; a last line that a kill cut off is left out."""
    path = out / RESULTS
    lines = read_json_lines(path, whole_lines=True) if path.is_file() else []
    return {DrivenEpisode(r["suite"], r["task"], r["seed"]): r for _, r in lines}


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

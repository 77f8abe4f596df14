"""Drives closed-loop episodes: pairs of simulator and policy node, each result as it comes."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from roboalign_policy.core.host.facts import free_domains, release_domains
from roboalign_policy.core.rollout import RolloutJob, RolloutResult
from roboalign_policy.nodes.clients.rollout_client import run_rollouts
from roboalign_policy.nodes.node_process import NodeProcess
from roboalign_policy.nodes.start import module_of
from roboalign_training.evaluate.closed_loop import (
    FRAMES,
    JOBS,
    RESULTS,
    DrivenEpisode,
    DrivingOptions,
)

# Domains 1 .. 101 are safe on every platform. Source: docs.ros.org, "The ROS_DOMAIN_ID".
DOMAINS = range(1, 101)


def main(argv: Sequence[str] | None = None) -> int:
    """Drive the episodes of ``<folder>/jobs.json``; the only argument is the folder."""
    (name,) = sys.argv[1:] if argv is None else argv
    out = Path(name)
    job = json.loads((out / JOBS).read_text())
    settings = DrivingOptions(**job["settings"])
    episodes = [DrivenEpisode(**e) for e in job["episodes"]]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    starter = os.getppid()
    with (out / RESULTS).open("a") as file, Progress(*columns) as progress:
        bar = progress.add_task(f"closed loop {out.name}", total=len(episodes))
        for result in drive(Path(job["policy"]), episodes, out, settings):
            if result.frames:
                save_frames(out / FRAMES, result)
            file.write(json.dumps(record_of(result)) + "\n")
            file.flush()
            progress.advance(bar)
            if os.getppid() != starter:
                return 1  # killed; who goes on where it was may be driving already
    return 0


def drive(policy: Path, episodes: Sequence[DrivenEpisode], out: Path, settings: DrivingOptions):
    """Drive episodes with several pairs of simulator and policy at once.

    Yields:
        Each result as it comes.

    Raises:
        RolloutError, NodeProcessError: a pair failed; all pairs are stopped.
    """
    workers = min(settings.workers, len(episodes))
    results: queue.Queue[RolloutResult | BaseException] = queue.Queue()
    halt = threading.Event()

    def work(share: Sequence[DrivenEpisode], domain: int) -> None:
        jobs = [RolloutJob(e.suite, e.task, e.seed) for e in share]
        try:
            for result in run_rollouts(
                jobs,
                contract=settings.contract,
                keep_every=settings.keep_every,
                chunk_steps=settings.replan_after_steps,
                domain_id=domain,
            ):
                results.put(result)
                if halt.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the results are read
            results.put(error)

    with ExitStack() as stack:
        domains = free_domains(DOMAINS, workers)  # a robot's would be moved by the policy
        stack.callback(release_domains, domains)
        stack.callback(halt.set)
        nodes = []
        for number, domain in enumerate(domains):
            nodes += _start_pair(stack, policy, out / "logs", settings, domain)
            threading.Thread(
                target=work, args=(episodes[number::workers], domain), daemon=True
            ).start()
        for _ in episodes:
            result = _next(results, nodes)
            if isinstance(result, BaseException):
                raise result
            yield result


def _next(results: queue.Queue, nodes: Sequence[NodeProcess]) -> RolloutResult | BaseException:
    """The next result; a node that dies meanwhile is an error."""
    while True:
        try:
            return results.get(timeout=1.0)
        except queue.Empty:
            for node in nodes:
                node.check()


def _start_pair(
    stack: ExitStack, policy: Path, logs: Path, settings: DrivingOptions, domain: int
) -> list[NodeProcess]:
    """Simulator and policy of one domain; the stack stops them."""
    sim = {"mode": "lockstep", "contract": settings.contract}
    drive_by = {
        "policy": str(policy),
        "contract": settings.contract,
        "execution": "lockstep",
        "output": "command",
        "autostart": True,
        "replan_after_steps": settings.replan_after_steps,
        "reasoning": settings.node_reasoning,
        "reasoning_chunks": settings.reasoning_chunks,
        "decoder": settings.decoder,
        "grammar": settings.grammar,
        "num_threads": settings.threads,
    }
    env = {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": str(settings.threads)}
    return [
        stack.enter_context(
            NodeProcess(
                module_of(name),
                parameters,
                logs / f"{name}-{domain}.log",
                env=env,
            )
        )
        for name, parameters in (("sim_robot_node", sim), ("policy_node", drive_by))
    ]


def record_of(result: RolloutResult) -> dict:
    """A result as one JSON object."""
    keys = (
        "instruction",
        "success",
        "steps",
        "chunks",
        "valid_chunks",
        "faults",
        "reasonings",
        "wall_s",
        "end",
        "limit",
        "refused_run",
        "answer_steps",
        "answer_faults",
        "goals",
        "moved",
    )
    seconds = result.mean_inference_s
    return {
        **asdict(result.job),
        **{key: getattr(result, key) for key in keys},
        "mean_inference_s": seconds if np.isfinite(seconds) else None,
    }


def save_frames(folder: Path, result: RolloutResult) -> None:
    """Write an episode's camera frames in one ``.npz``.

    It holds ``steps`` (K,) int64 and ``images`` (K, H, W, 3) uint8 rgb.
    """
    folder.mkdir(parents=True, exist_ok=True)
    steps, images = zip(*result.frames, strict=True)
    job = result.job
    np.savez_compressed(
        folder / f"{DrivenEpisode(job.suite, job.task, job.seed).name}.npz",
        steps=np.array(steps),
        images=np.stack(images),
    )


if __name__ == "__main__":
    raise SystemExit(main())

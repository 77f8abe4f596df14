"""The stage that chooses which of the trained policies drives where nobody names one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from roboalign_policy.core.drive.thoughts import NEVER
from roboalign_policy.core.policy.default_place import BEST
from roboalign_training.data.index import write_whole
from roboalign_training.demo.driving import development_episodes, driven_as, driving_options
from roboalign_training.demo.equal_policies import policy_hash, twins
from roboalign_training.demo.experiment import CHOOSE, ArmPolicy, Experiment
from roboalign_training.evaluate.closed_loop import run_closed_loop
from roboalign_training.learning.best_policy import best_of, only_one


def choose(experiment: Experiment, out: Path, console: Console) -> dict:
    """The trained policies drive development seeds, and one is chosen to drive by default.

    Those that are equal drive once; where all are, nothing is driven.

    Args:
        experiment: whose.
        out: its folder; `best.json` in it names the policy.
        console: where progress is shown.
    """
    policies, won = experiment.trained(), {}
    same = twins(policies, out, driven_as(experiment))
    apart = [name for name, twin in same.items() if name == twin]
    episodes = development_episodes(experiment.settings)
    for name in apart if len(apart) > 1 else ():
        folder, options = policies[name].folder(out), driving_options(experiment, policies[name])
        options = replace(options, keep_every=0)
        records = run_closed_loop(folder, episodes, out / CHOOSE / name, options, console=console)
        won[name] = [bool(record["success"]) for record in records]
    best = best_of(won) if won else only_one(apart[0])
    policy = policies[best.name]
    chosen = {
        "arm": policy.arm.name,
        "policy": policy.folder(out).relative_to(out).as_posix(),
        "why": f"{best.why}{_to_be_told(experiment, policy)}",
        "hash": policy_hash(policy, out),
    }
    write_whole(out / BEST, json.dumps(chosen, indent=1))
    equal = {name: twin for name, twin in same.items() if name != twin}
    return {**chosen, "name": best.name, **best.record(), "same_as": equal}


def _to_be_told(experiment: Experiment, policy: ArmPolicy) -> str:
    """What policy_node must be told to drive as it was driven here; mostly nothing."""
    arm, steps = policy.arm, experiment.steps(policy.arm)
    told = [] if arm.thinks else [f"reasoning: {NEVER}"]
    if steps and arm.stage != "vla":  # a head knows it by itself
        told.append(f"replan_after_steps: {steps}")
    if not told:
        return ""
    return f"; it was driven with {' and '.join(told)}, which policy_node has to be told"

"""The stages of an experiment: each is one function of it, done once, resumable."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Container
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from roboalign_policy.core.policy.default_place import BEST
from roboalign_policy.sim import SUITES
from roboalign_training.data.index import load_index
from roboalign_training.demo.checks import check_prompts
from roboalign_training.demo.choosing import choose
from roboalign_training.demo.driving import driven_as, driven_episodes, driving_options
from roboalign_training.demo.equal_policies import twins
from roboalign_training.demo.equal_training import same_training, take_training
from roboalign_training.demo.experiment import BASE, CHOOSE, ArmPolicy, Experiment
from roboalign_training.demo.plan import Settings
from roboalign_training.demo.progress import bags_done, steps_then_driving, unknown
from roboalign_training.demo.stage_keys import stage_keys
from roboalign_training.evaluate.arms import ReportedArm
from roboalign_training.evaluate.closed_loop import (
    copy_closed_loop,
    run_closed_loop,
    summarise,
)
from roboalign_training.evaluate.seeds import (
    OPEN_LOOP_SEED,
    RECORD_SEED,
)
from roboalign_training.shared.progress import Count, run_child
from roboalign_training.shared.run_layout import FEATURES, RESULT, RUN

Stage = Callable[[Experiment, Path, Console], dict]
LOGS, CONFIGS, RECORDING = "logs", "configs", "record.json"


def record(experiment: Experiment, out: Path, console: Console) -> dict:
    """Expert demonstrations through the ROS nodes, one bag an episode."""
    write_json(out / RECORDING, recorded_with(experiment.settings))
    for name, jobs in recordings(experiment.settings).items():
        write_json(out / f"{name}.json", jobs)
        _module(
            "roboalign_training.nodes.record_worker",
            out / f"{name}.json",
            out / name,
            "--contract",
            experiment.settings.contract,
            "--workers",
            experiment.workers,
            log=out / LOGS / "record.log",
            count=bags_done(out / name, len(jobs)),
            console=console,
        )
    return {"episodes": len(list((out / "bags").glob("[!.]*")))}


def recorded_with(settings: Settings) -> dict[str, object]:
    """What the bags do not say of themselves by their names."""
    return {"contract": settings.contract}


def recordings(settings: Settings) -> dict[str, list[dict]]:
    """The demonstrations to record, by the name of the folder that their bags go to."""
    noise = settings.action_noise
    return {
        "bags": record_jobs(settings.episodes, RECORD_SEED, noise),
        "bags-eval": record_jobs(settings.open_loop_episodes, OPEN_LOOP_SEED, noise),
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


def dataset(experiment: Experiment, out: Path, console: Console) -> dict:
    """Bags to data sets; statistics and FAST tokenizer fitted on the training one."""
    log, settings = out / LOGS / "dataset.log", experiment.settings
    how = ("--contract", settings.contract, "--workers", experiment.workers)
    for command in (
        ("convert", out / "bags", "--out", out / "data", *how),
        (
            "fit-tokenizer", out / "data", "--vocab-size", settings.vocab_size,
            "--scale", settings.scale,
        ),
        ("convert", out / "bags-eval", "--out", out / "data-eval", *how),
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


def make_base(policy: ArmPolicy, experiment: Experiment, out: Path, console: Console) -> dict:
    """A base model with the action vocabulary, no action learnt: the comparator."""
    from roboalign_training.learning.base_policy import make_base_policy
    from roboalign_training.shared.library_log import library_log

    with library_log() as log:
        log.to_file(out / LOGS / f"{policy.name}.log")
        make_base_policy(policy.arm.start, out / "data", policy.folder(out))
    return {}


def train(policy: ArmPolicy, experiment: Experiment, out: Path, console: Console) -> dict:
    """A run of `roboalign sft`, `grpo` or `vla` with the arm's options and the seed."""
    if policy.start not in experiment.trained():
        check_prompts(experiment, out)
    arm, folder = policy.arm, out / policy.name

    def told(policy: ArmPolicy) -> dict[str, Any]:
        return training_keys(policy, experiment)

    if (same := same_training(policy, experiment, out, told)) is not None:
        console.print(f"{policy.name}: the same training as {same}, taken from there",
                      highlight=False)  # fmt: skip
        return take_training(same, out / same, folder)
    keys = told(policy)
    if arm.stage == "grpo" and experiment.fewer_prompts:
        keys["samples"] = grpo_samples(keys["samples"], out / policy.start)
    driven = 2 * len(SUITES) * keys.get("develop_episodes", 0)
    config = config_of(policy, out)
    config.parent.mkdir(exist_ok=True)
    config.write_text(yaml.safe_dump(keys, sort_keys=False), "utf-8")
    base = experiment.policies()[policy.start].folder(out) if policy.start else arm.start
    _roboalign(
        arm.stage, "--config", config, "--dataset", out / "data", "--base", base, "--out", folder,
        log=out / LOGS / f"{policy.name}.log", count=steps_then_driving(folder, driven),
        console=console, threads=experiment.threads,
    )  # fmt: skip
    # They are larger than all else, and nothing of a finished run reads them.
    shutil.rmtree(folder / FEATURES, ignore_errors=True)
    return json.loads((folder / RESULT).read_text())


def training_keys(policy: ArmPolicy, experiment: Experiment) -> dict[str, Any]:
    """What a training is told, but for its data, its base and its folder."""
    keys = {**stage_keys(policy.arm.stage, policy.arm.options), "seed": policy.seed}
    steps = experiment.steps(policy.arm)
    if policy.arm.stage == "grpo":
        keys |= {"workers": experiment.workers, "replan_after_steps": steps}
    if policy.arm.stage == "vla" and steps:  # what is driven here, it drives by itself
        keys["replan_after_steps"] = steps
    return keys


def config_of(policy: ArmPolicy, out: Path) -> Path:
    """The file that a training is told it by."""
    return out / CONFIGS / f"{policy.name}.yaml"


def grpo_samples(asked: int, start: Path) -> int:
    """Prompts of GRPO, no more than there are frames.

    Args:
        asked: how many at most.
        start: folder of the SFT run that it starts from.
    """
    return min(asked, json.loads((start / RUN).read_text())["train_frames"])


def open_loop(experiment: Experiment, out: Path, console: Console) -> dict:
    """The trained policies against demonstrations of other seeds; equal ones once."""
    from roboalign_training.evaluate.open_loop import open_loop_of
    from roboalign_training.shared.library_log import library_log

    frames, found = experiment.settings.open_loop_frames, {}
    policies = experiment.trained()
    with library_log() as log:
        log.to_file(out / LOGS / "open_loop.log")
        for name, twin in twins(policies, out, lambda policy: policy.arm.thinks).items():
            if name != twin:
                found[name] = found[twin]
                continue
            policy = policies[name]
            found[name] = open_loop_of(
                policy.folder(out), out / "data-eval", frames, think=policy.arm.thinks
            )
    return found


def closed_loop(experiment: Experiment, out: Path, console: Console) -> dict:
    """Every policy drives the arm through policy_node, on the same unseen seeds.

    What two equal policies do is the same, to the byte but for times: the second is not driven.
    """
    episodes = driven_episodes(experiment.settings)
    found, policies = {}, experiment.policies()
    for name, twin in twins(policies, out, driven_as(experiment)).items():
        folder, target = policies[name].folder(out), out / "closed_loop" / name
        options = driving_options(experiment, policies[name])
        if twin == name:
            records = run_closed_loop(folder, episodes, target, options, console=console)
        else:
            source = out / "closed_loop" / twin
            records = copy_closed_loop(source, folder, episodes, target, options)
            console.print(f"{name}: the same policy as {twin}, not driven again", highlight=False)
        found[name] = {**summarise(records), **({"same_as": twin} if twin != name else {})}
    return found


def report(experiment: Experiment, out: Path, console: Console) -> dict:
    """`report.json` and `report.html`."""
    from roboalign_training.evaluate.report import write_report

    config = {**asdict(experiment.settings), "experiment": experiment.source}
    for arm in experiment.arms.values():
        config |= {experiment.key(arm.name, option): v for option, v in arm.options.items()}
    page = write_report(out, reported_arms(experiment), experiment.compare, config)
    return {"report": str(page)}


def reported_arms(experiment: Experiment) -> list[ReportedArm]:
    """The arms as the report has them."""
    policies = experiment.policies()
    return [
        ReportedArm(
            arm.name, arm.stage, arm.title, arm.text,
            {name: policy.seed for name, policy in policies.items() if policy.arm is arm},
        )
        for arm in experiment.arms.values()
    ]  # fmt: skip


def stages_of(experiment: Experiment) -> dict[str, Stage]:
    """The stages in order."""
    known = {
        "record": record, "dataset": dataset, "open_loop": open_loop, "closed_loop": closed_loop,
        CHOOSE: choose, "report": report,
    }  # fmt: skip
    made = {name: _maker(policy) for name, policy in experiment.policies().items()}
    return {name: {**known, **made}[name] for name in experiment.stages()}


def _maker(policy: ArmPolicy) -> Stage:
    def stage(experiment: Experiment, out: Path, console: Console) -> dict:
        make = make_base if policy.arm.stage == BASE else train
        return make(policy, experiment, out, console)

    stage.__doc__ = f"{policy.arm.stage} from {policy.start or policy.arm.start}"
    stage.__doc__ += "" if policy.seed is None else f", training seed {policy.seed}"
    return stage


def products_of(experiment: Experiment) -> dict[str, tuple[str, ...]]:
    """Folders that doing a stage again begins by removing."""
    return {
        "record": ("bags", "bags-eval"),
        "dataset": ("data", "data-eval"),
        **{name: (name,) for name in experiment.policies()},
        "closed_loop": ("closed_loop",),
        CHOOSE: (CHOOSE, BEST),
    }


def options_of(
    experiment: Experiment, stage: str, made: Container[str] | None = None
) -> dict[str, object]:
    """What decides a stage's result: a finished one is kept only for the same.

    Args:
        experiment: whose.
        stage: its name.
        made: policies that are finished; None: all. Others have not been driven yet.
    """
    if stage in (policies := experiment.policies()):
        policy = policies[stage]
        arm = policy.arm
        options = {experiment.key(arm.name, key): value for key, value in arm.options.items()}
        if arm.stage == "vla":  # stands in its checkpoint
            options["replan_after_steps"] = experiment.steps(arm)
        return {"stage": arm.stage, "from": arm.start, "seed": policy.seed, **options}
    if stage == "report":
        told = [[arm.name, arm.title, arm.text] for arm in experiment.arms.values()]
        return {"arms": told, "compare": [list(pair) for pair in experiment.compare]}
    names = {
        "record": ("contract", "episodes", "open_loop_episodes", "action_noise"),
        "dataset": ("vocab_size", "scale"),
        "open_loop": ("open_loop_frames",),
        "closed_loop": ("closed_loop_episodes", "replan_after_steps"),
        CHOOSE: ("develop_episodes", "replan_after_steps"),
    }
    options = {name: getattr(experiment.settings, name) for name in names.get(stage, ())}
    able = {n: p.arm for n, p in policies.items() if made is None or n in made}
    if stage in ("open_loop", "closed_loop", CHOOSE):
        options["without_thought"] = sorted(n for n, arm in able.items() if not arm.thinks)
    if stage in ("closed_loop", CHOOSE):
        own = {n: arm.replan_after_steps for n, arm in able.items()}
        options["replan_after_steps_of"] = {n: v for n, v in own.items() if v is not None}
    return options


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

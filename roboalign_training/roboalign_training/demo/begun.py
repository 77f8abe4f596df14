"""What stages that were interrupted left: whether it is of the options of this call.

All bags of a recording are converted, and all results of a policy are reported: of other options,
they would be told as those of this call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from roboalign_training.demo.driving import development_episodes, driven_episodes
from roboalign_training.demo.earlier import with_what_was_not_noted
from roboalign_training.demo.experiment import CHOOSE, CLOSED_LOOP, ArmPolicy, Experiment
from roboalign_training.demo.stages import (
    RECORDING,
    config_of,
    recorded_with,
    recordings,
    training_keys,
)
from roboalign_training.evaluate.closed_loop import DrivenEpisode, read_results
from roboalign_training.learning.run_folder import NO_OTHER_POLICY
from roboalign_training.shared.outputs import read_record
from roboalign_training.shared.plain_yaml import load_yaml
from roboalign_training.shared.run_layout import RUN

_SINCE = ("replan_after_steps",)


def check_begun(experiment: Experiment, out: Path, stages: Iterable[str]) -> None:
    """Refuse to go on with stages that were begun with other options; changes nothing.

    Args:
        experiment: of this call.
        out: folder of the experiment.
        stages: names of those that are neither finished nor to be done again.

    Raises:
        ValueError: naming the file and what differs.
    """
    checks = {
        "record": _recording_fault, CLOSED_LOOP: _driving_fault, CHOOSE: _choosing_fault
    }  # fmt: skip
    trained = experiment.trained()
    for name in stages:
        if name in trained and (fault := _training_fault(trained[name], experiment, out)):
            raise ValueError(f"{fault}: add --redo {name}, or choose another --out")
        if fault := checks.get(name, lambda experiment, out: "")(experiment, out):
            raise ValueError(f"{fault}: add --redo {name}, or choose another --out")


def _recording_fault(experiment: Experiment, out: Path) -> str:
    path, wanted = out / RECORDING, recorded_with(experiment.settings)
    if any((out / name).exists() for name in recordings(experiment.settings)):
        begun = with_what_was_not_noted("record", _recorded_with(path))
        for key, value in wanted.items():
            if begun.get(key) != value:
                return f"{path}: recording was begun with {key} {begun.get(key)}, expected {value}"
    for name, jobs in recordings(experiment.settings).items():
        path = out / f"{name}.json"
        if (out / name).exists() and (found := _read(path)) != jobs:
            return f"{path}: recording was begun with {_differing(found, jobs)}"
    return ""


def _recorded_with(path: Path) -> dict[str, Any]:
    """What was noted when a recording began; nothing by earlier versions.

    Raises:
        ValueError: the file is damaged: what the bags are of cannot be told.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: found no JSON ({error}): add --redo record") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: found {found!r}, expected keys: add --redo record")
    return found


def _read(path: Path) -> list[dict[str, Any]]:
    """The episodes of a recording; none where the file is missing or damaged."""
    try:
        jobs = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return jobs if isinstance(jobs, list) else []


def _differing(found: list[dict[str, Any]], jobs: list[dict[str, Any]]) -> str:
    if len(found) != len(jobs):
        return f"{len(found)} episodes, expected {len(jobs)}"
    at = next(at for at, job in enumerate(jobs) if found[at] != job)
    return f"episode {at} {found[at]}, expected {jobs[at]}"


def _training_fault(policy: ArmPolicy, experiment: Experiment, out: Path) -> str:
    """Whether a training was begun with other options; those that change no policy may differ."""
    path, run = config_of(policy, out), out / policy.name
    if not (run / RUN).is_file() or not path.is_file():
        return ""
    try:
        found = load_yaml(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        return f"{path}: found no YAML ({error})"
    wanted = training_keys(policy, experiment)
    if experiment.fewer_prompts:
        found, wanted = ({**keys, "samples": None} for keys in (found, wanted))
    for key in {**wanted, **found}:
        # Of an earlier version it has not what came since, which has done nothing then.
        if key in NO_OTHER_POLICY or (key not in found and key in _SINCE):
            continue
        if found.get(key) != wanted.get(key):
            was = f"{key} {found[key]}" if key in found else f"no {key}"
            return f"{path}: {policy.name} was begun with {was}, expected {wanted.get(key)}"
    return ""


def _driving_fault(experiment: Experiment, out: Path) -> str:
    return _driven_fault(
        experiment, out / CLOSED_LOOP, driven_episodes(experiment.settings),
        f"closed_loop_episodes {experiment.settings.closed_loop_episodes}",
    )  # fmt: skip


def _choosing_fault(experiment: Experiment, out: Path) -> str:
    return _driven_fault(
        experiment, out / CHOOSE, development_episodes(experiment.settings),
        f"develop_episodes {experiment.settings.develop_episodes}",
    )  # fmt: skip


def _driven_fault(
    experiment: Experiment, place: Path, wanted: Iterable[DrivenEpisode], said: str
) -> str:
    """Whether what policies have driven there was begun in another way, or other episodes."""
    known = set(wanted)
    for name, policy in experiment.policies().items():
        folder, steps = place / name, experiment.steps(policy.arm)
        run = read_record(folder / RUN) or {}
        before = run.get("settings", {}).get("replan_after_steps", steps)
        by_policy = steps == 0 and policy.arm.stage == "vla"  # it says how many
        if before != steps and not by_policy:
            return (
                f"{folder / RUN}: driving was begun with replan_after_steps {before}, expected "
                f"{steps}"
            )
        if others := read_results(folder).keys() - known:
            return (
                f"{folder}: driving was begun with {len(others)} episodes that are not among "
                f"those of {said}"
            )
    return ""

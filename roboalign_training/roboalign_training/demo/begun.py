"""What stages that were interrupted left: whether it is of the options of this call.

All bags of a recording are converted, and all results of a policy are reported: of other options,
they would be told as those of this call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from roboalign_training.demo.earlier import with_what_was_not_noted
from roboalign_training.demo.experiment import Experiment
from roboalign_training.demo.stages import (
    RECORDING,
    driven_episodes,
    recorded_with,
    recordings,
)
from roboalign_training.evaluate.closed_loop import read_results


def check_begun(experiment: Experiment, out: Path, stages: Iterable[str]) -> None:
    """Refuse to go on with stages that were begun with other options; changes nothing.

    Args:
        experiment: of this call.
        out: folder of the experiment.
        stages: names of those that are neither finished nor to be done again.

    Raises:
        ValueError: naming the file and what differs.
    """
    checks = {"record": _recording_fault, "closed_loop": _driving_fault}
    for name in stages:
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


def _driving_fault(experiment: Experiment, out: Path) -> str:
    wanted = set(driven_episodes(experiment.settings))
    for name in experiment.policies():
        folder = out / "closed_loop" / name
        if others := read_results(folder).keys() - wanted:
            return (
                f"{folder}: driving was begun with {len(others)} episodes that are not among "
                f"those of closed_loop_episodes {experiment.settings.closed_loop_episodes}"
            )
    return ""

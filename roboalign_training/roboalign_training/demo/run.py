"""Runs an experiment's stages in order: each once, resumable, with its seconds and options."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from roboalign_training.demo.begun import check_begun
from roboalign_training.demo.checks import check_options
from roboalign_training.demo.earlier import is_not_known, with_what_was_not_noted
from roboalign_training.demo.experiment import CHOOSE, CLOSED_LOOP, Experiment
from roboalign_training.demo.stages import (
    LOGS,
    Stage,
    options_of,
    products_of,
    stages_of,
    write_json,
)
from roboalign_training.demo.trainer_options import check_trainer_options
from roboalign_training.shared.outputs import OutputError, only_writer
from roboalign_training.shared.progress import ChildFailed
from roboalign_training.shared.run_layout import SAME_AS
from roboalign_training.shared.write_errors import writing

StageFailed = ChildFailed


class StageRefused(RuntimeError):
    """A stage that cannot do with what those before it made; no refusal: others are done."""


def run_stages(experiment: Experiment, out: Path, redo: Sequence[str], console: Console) -> Path:
    """Do every stage that is not done; results and seconds go to ``stages.json``.

    Args:
        experiment: what is run.
        out: its folder.
        redo: stages to do again, with all that need them.
        console: where progress is shown.

    Returns:
        The folder of the experiment.

    Raises:
        ValueError: ``redo`` names no stage, a stage would refuse its options, or one was done or
            begun with others.
        OutputError: another process is at it, or the folder holds what no demo made.
        StageFailed: a stage's command failed; running again goes on there.
        StageRefused: a stage cannot do with what those before it made.
    """
    check_options(experiment)
    stages = stages_of(experiment)
    _refuse_strangers(experiment, out)
    state = read_state(out)
    if unknown_stages := sorted(set(redo) - set(stages)):
        raise ValueError(f"redo: found {unknown_stages}, expected some of {list(stages)}")
    forgotten = _following(experiment, redo, state)
    _check_options(experiment, out, {k: v for k, v in state.items() if k not in forgotten})
    to_do = [name for name in stages if name not in state or name in forgotten]
    grown = _to_go_on(experiment, state, to_do)
    to_do += grown
    check_begun(experiment, out, [name for name in to_do if name not in forgotten])
    if to_do:
        console.print("[dim]options: looked at as every stage takes them[/dim]")
    check_trainer_options(experiment, to_do)
    if state.get("report", {}).get("options") != options_of(experiment, "report"):
        state.pop("report", None)  # it told of other pairs, or in other words
    with writing(out, "the results"):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        _forget(experiment, forgotten, out, state)
        for name in grown:  # what they have of the others is kept
            write_json(out / f".{name}.seconds", state.pop(name)["seconds"])
        if grown:
            write_json(out / "stages.json", state)
        if forgotten or not (out / "stages.json").exists():
            write_json(out / "stages.json", state)  # from now on the folder is an experiment's
        for name, stage in stages.items():
            if name in state:
                console.print(f"[dim]{name}: done, {state[name]['seconds']:.0f} s[/dim]")
            else:
                # The report tells of all stages, so it is made anew where one was.
                state.pop("report", None)
                _do(name, stage, experiment, out, state, console)
    return out


def _do(
    name: str, stage: Stage, experiment: Experiment, out: Path, state: dict, console: Console
) -> None:
    """One stage, with its seconds, those of interrupted tries included."""
    console.rule(f"{name}: {(stage.__doc__ or '').strip().splitlines()[0]}")
    (out / LOGS).mkdir(exist_ok=True)
    spent = _spent_before(out, name)
    started = time.monotonic()
    try:
        with writing(out, f"stage {name}"):
            result = stage(experiment, out, console)
    except ValueError as error:
        raise StageRefused(f"{name}: {error}") from error
    finally:
        write_json(out / f".{name}.seconds", spent + time.monotonic() - started)
    state[name] = {
        "seconds": spent + time.monotonic() - started,
        "result": result,
        "options": options_of(experiment, name),
    }
    write_json(out / "stages.json", state)
    (out / f".{name}.seconds").unlink()
    console.print(f"{name}: {state[name]['seconds']:.0f} s", highlight=False)


def read_state(out: Path) -> dict:
    """Finished stages with their seconds and results."""
    path = out / "stages.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _following(experiment: Experiment, redo: Sequence[str], state: dict) -> list[str]:
    """The stages named, and all that need one of them or have taken its result."""
    found: list[str] = []
    trained = experiment.trained()
    for name, needed in experiment.stages().items():
        taken = state.get(name, {}).get("result", {}).get(SAME_AS) if name in trained else None
        if name in redo or set(needed) & set(found) or taken in found:
            found.append(name)
    return found


def _to_go_on(experiment: Experiment, state: dict, to_do: Sequence[str]) -> list[str]:
    """Finished evaluations of policies to which others have come."""
    needs = experiment.stages()
    return [
        name
        for name in ("open_loop", CLOSED_LOOP, CHOOSE)
        if name in state and name not in to_do and set(needs.get(name, ())) & set(to_do)
    ]


def _forget(experiment: Experiment, names: Sequence[str], out: Path, state: dict) -> None:
    """Drop stages, with what they made."""
    products = products_of(experiment)
    for name in names:
        state.pop(name, None)
        (out / f".{name}.seconds").unlink(missing_ok=True)
        for product in products.get(name, ()):
            if (path := out / product).is_file():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)


def _check_options(experiment: Experiment, out: Path, state: dict) -> None:
    """A report over stages of different configurations would name one and show another."""
    path, stages = out / "stages.json", experiment.stages()
    for name, entry in state.items():
        if name not in stages:
            raise ValueError(
                f"{path}: found the stage {name}, expected some of {list(stages)}: it is of "
                "another experiment; choose another --out"
            )
        if name == "report":
            continue  # is made anew
        found = with_what_was_not_noted(name, entry.get("options", {}))
        wanted = options_of(experiment, name, state)
        for key in {**wanted, **found}:
            if is_not_known(key, found):
                continue
            if found.get(key) != wanted.get(key):
                was = f"{key} {found[key]}" if key in found else f"no {key}"
                raise ValueError(
                    f"{path}: {name} was done with {was}, expected {wanted.get(key)}: "
                    f"add --redo {name}, or choose another --out"
                )


def _refuse_strangers(experiment: Experiment, out: Path) -> None:
    """Results under the names of ours, in a folder that no experiment made, are somebody's own."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: found a file, expected a folder or nothing")
    if (out / "stages.json").is_file() or list(out.glob(".*.seconds")):
        return
    names = sorted({name for made in products_of(experiment).values() for name in made})
    if there := [name for name in names if (out / name).exists()]:
        raise OutputError(
            f"{out}: found {', '.join(there[:4])} and no stages.json, so no demo made that; "
            "nothing was changed: choose another --out"
        )


def _spent_before(out: Path, name: str) -> float:
    """Seconds that an interrupted run has spent on a stage."""
    path = out / f".{name}.seconds"
    return float(json.loads(path.read_text())) if path.is_file() else 0.0

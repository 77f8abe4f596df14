"""Runs the demo's stages in order: each once, resumable, with its seconds and its options."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

from rich.console import Console

from roboalign_training.demo.begun import check_begun
from roboalign_training.demo.checks import check_options
from roboalign_training.demo.plan import DemoConfig
from roboalign_training.demo.stages import LOGS, OPTIONS, PRODUCTS, STAGES, Stage, write_json
from roboalign_training.shared.outputs import OutputError, only_writer
from roboalign_training.shared.progress import ChildFailed
from roboalign_training.shared.write_errors import writing

StageFailed = ChildFailed


class StageRefused(RuntimeError):
    """A stage that cannot do with what those before it made; no refusal: the demo was begun."""


def run_stages(config: DemoConfig, console: Console) -> Path:
    """Do every stage that is not done; results and seconds go to ``stages.json``.

    Returns:
        The folder of the demo.

    Raises:
        ValueError: ``redo`` names no stage, a stage would refuse its options, or one was done or
            begun with others.
        OutputError: another process is at it, or the folder holds what no demo made.
        StageFailed: a stage's command failed; running again goes on there.
        StageRefused: a stage cannot do with what those before it made.
    """
    out = Path(config.out)
    check_options(config)
    _refuse_strangers(out)
    state = read_state(out)
    if unknown_stages := sorted(set(config.redo) - set(STAGES)):
        raise ValueError(f"redo: found {unknown_stages}, expected some of {list(STAGES)}")
    forgotten = _following(config.redo)
    _check_options(config, out, {k: v for k, v in state.items() if k not in forgotten})
    check_begun(config, out, [k for k in STAGES if k not in state and k not in forgotten])
    with writing(out, "the demo"):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        _forget(forgotten, out, state)
        if forgotten or not (out / "stages.json").exists():
            write_json(out / "stages.json", state)  # from now on the folder is a demo's
        for name, stage in STAGES.items():
            if name in state:
                console.print(f"[dim]{name}: done, {state[name]['seconds']:.0f} s[/dim]")
            else:
                # The report tells of all stages, so it is made anew where one was.
                state.pop("report", None)
                _do(name, stage, config, out, state, console)
    return out


def _do(
    name: str, stage: Stage, config: DemoConfig, out: Path, state: dict, console: Console
) -> None:
    """One stage, with its seconds, those of interrupted tries included."""
    console.rule(f"{name}: {(stage.__doc__ or '').strip().splitlines()[0]}")
    (out / LOGS).mkdir(exist_ok=True)
    spent = _spent_before(out, name)
    started = time.monotonic()
    try:
        with writing(out, f"stage {name}"):
            result = stage(config, out, console)
    except ValueError as error:
        raise StageRefused(f"{name}: {error}") from error
    finally:
        write_json(out / f".{name}.seconds", spent + time.monotonic() - started)
    state[name] = {
        "seconds": spent + time.monotonic() - started,
        "result": result,
        "options": _options(config, name),
    }
    write_json(out / "stages.json", state)
    (out / f".{name}.seconds").unlink()
    console.print(f"{name}: {state[name]['seconds']:.0f} s", highlight=False)


def read_state(out: Path) -> dict:
    """Finished stages with their seconds and results."""
    path = out / "stages.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _following(redo: list[str]) -> list[str]:
    """The stages named and all that follow the first of them."""
    names = list(STAGES)
    return names[min(names.index(r) for r in redo) :] if redo else []


def _forget(names: list[str], out: Path, state: dict) -> None:
    """Drop stages, with what they made."""
    for name in names:
        state.pop(name, None)
        (out / f".{name}.seconds").unlink(missing_ok=True)
        for folder in PRODUCTS.get(name, ()):
            shutil.rmtree(out / folder, ignore_errors=True)


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


def _refuse_strangers(out: Path) -> None:
    """Results under the demo's names, in a folder that is no demo's, are somebody's own."""
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: found a file, expected a folder or nothing")
    if (out / "stages.json").is_file() or list(out.glob(".*.seconds")):
        return
    names = sorted({name for made in PRODUCTS.values() for name in made})
    if there := [name for name in names if (out / name).exists()]:
        raise OutputError(
            f"{out}: found {', '.join(there[:4])} and no stages.json, so no demo made that; "
            "nothing was changed: choose another --out"
        )


def _spent_before(out: Path, name: str) -> float:
    """Seconds that an interrupted run has spent on a stage."""
    path = out / f".{name}.seconds"
    return float(json.loads(path.read_text())) if path.is_file() else 0.0

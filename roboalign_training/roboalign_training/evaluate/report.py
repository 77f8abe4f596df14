"""The demo's report: every figure with its n in ``report.json``, and a page to look at."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from roboalign_training.evaluate.closed_loop import FRAMES, Episode, read_results
from roboalign_training.evaluate.figures import (
    curves_figure,
    error_figure,
    filmstrip,
    success_figure,
)
from roboalign_training.run_layout import METRICS
from roboalign_training.shared.json_lines import read_json_lines

ARMS = ("base", "sft", "grpo")
STRIPS_PER_SUITE = 2


def make_report(out: Path, config: dict) -> dict:
    """All figures of a finished demo.

    Args:
        out: folder of the demo, with ``stages.json``.
        config: the demo's configuration, for the record.

    Returns:
        ``closed_loop.<suite>.<arm>.{successes, n, interval}``, ``decode.{valid, n}`` over the
        trained arms and by arm, ``open_loop.<arm>``, ``data``, ``samples``, ``seconds.<stage>``.
    """
    state = json.loads((out / "stages.json").read_text())
    results = {name: entry["result"] for name, entry in state.items()}
    driven = results["closed_loop"]
    suites = next(iter(driven.values()))["suites"]
    trained = [driven[arm]["decode"] for arm in ARMS[1:]]
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "closed_loop": {
            suite: {arm: driven[arm]["suites"][suite] for arm in ARMS} for suite in suites
        },
        "decode": {
            "valid": sum(d["valid"] for d in trained),
            "n": sum(d["n"] for d in trained),
            "by_arm": {arm: driven[arm]["decode"] for arm in ARMS},
        },
        "open_loop": results["open_loop"],
        "data": results["dataset"],
        "samples": {arm: results[arm]["samples"] for arm in ARMS[1:]},
        "training": {arm: results[arm] for arm in ARMS[1:]},
        "seconds": {name: entry["seconds"] for name, entry in state.items()},
        "config": config,
    }


def write_report(out: Path, config: dict) -> Path:
    """Write ``report.json`` and the self-contained ``report.html``; returns the page's path."""
    report = make_report(out, config)
    (out / "report.json").write_text(json.dumps(report, indent=1))
    figures = {
        "success": success_figure(report["closed_loop"], ARMS),
        "loss": curves_figure(read_metrics(out / "sft"), {"loss": "SFT loss"}, "loss"),
        "reward": curves_figure(
            read_metrics(out / "grpo"),
            {"reward": "sampled reward", "dev_score": "greedy score, development frames"},
            "reward",
        ),
        "errors": error_figure(report["open_loop"]),
    }
    template = (
        resources.files("roboalign_training.evaluate").joinpath("report.html.j2").read_text()
    )
    page = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        template
    )
    path = out / "report.html"
    path.write_text(
        page.render(report=report, arms=ARMS, figures=figures, strips=collect_strips(out))
    )
    return path


def read_metrics(run: Path) -> list[dict]:
    """Lines of a run's ``metrics.jsonl``; a last line that a kill cut off is left out."""
    path = run / METRICS
    lines = read_json_lines(path, whole_lines=True) if path.is_file() else []
    return [values for _, values in lines]


def collect_strips(out: Path) -> list[dict]:
    """Filmstrips with their reasoning: of each suite and trained arm a success and a failure.

    Where there are none of a kind, or no frames were kept, there is no strip.
    """
    strips = []
    for arm in ARMS[1:]:
        folder = out / "closed_loop" / arm
        shown: dict[tuple[str, bool], int] = {}
        for episode, record in read_results(folder).items():
            key = (episode.suite, bool(record["success"]))
            path = folder / FRAMES / f"{episode.name}.npz"
            if shown.get(key, 0) >= STRIPS_PER_SUITE // 2 or not path.is_file():
                continue
            shown[key] = shown.get(key, 0) + 1
            strips.append(_strip(arm, episode, record, path))
    return sorted(strips, key=lambda s: (s["suite"], s["arm"], not s["success"]))


def _strip(arm: str, episode: Episode, record: dict, path: Path) -> dict:
    with np.load(path, allow_pickle=False) as saved:
        image = filmstrip(saved["images"])
    return {
        "arm": arm,
        "suite": episode.suite,
        "seed": episode.seed,
        "instruction": record["instruction"],
        "success": bool(record["success"]),
        "steps": record["steps"],
        "reasonings": record["reasonings"],
        "image": image,
    }

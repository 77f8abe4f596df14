"""The figures of a finished demo or evaluation, each with its n, and the page that shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

from roboalign_training.data.index import write_whole
from roboalign_training.evaluate.animation import ANIMATION, write_animation
from roboalign_training.evaluate.causes import count_causes
from roboalign_training.evaluate.closed_loop import REPORT, read_results, summarise
from roboalign_training.evaluate.pairs import Results, compare
from roboalign_training.evaluate.report_page import render_report
from roboalign_training.shared.json_lines import read_json_lines
from roboalign_training.shared.run_layout import METRICS
from roboalign_training.shared.statistics import wilson_interval

ARMS = ("base", "sft", "grpo")


def make_report(out: Path, config: dict) -> dict:
    """All figures of a finished demo.

    Args:
        out: folder of the demo, with ``stages.json``.
        config: the demo's configuration, for the record.

    Returns:
        ``closed_loop.<suite>.<arm>.{successes, n, interval}``, ``total.<arm>`` likewise,
        ``paired``, ``causes.<arm>``, ``decode.{valid, n}`` over the trained arms and by arm,
        ``open_loop.<arm>``, ``data``, ``samples``, ``seconds.<stage>``.
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
        **compared(read_arms(out)),
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


def compared(arms: Mapping[str, Results]) -> dict:
    """What follows from the single episodes: totals, arms on the same seeds, causes of failure."""
    totals = {}
    for arm, results in arms.items():
        won, n = sum(bool(r["success"]) for r in results.values()), len(results)
        totals[arm] = {"successes": won, "n": n, "interval": list(wilson_interval(won, n))}
    return {
        "total": totals,
        "paired": [vars(pair) for pair in compare(arms)],
        "causes": {arm: dict(count_causes(of.values()).most_common()) for arm, of in arms.items()},
    }


def read_arms(out: Path) -> dict[str, Results]:
    """Results of each arm of a demo."""
    return {arm: read_results(out / "closed_loop" / arm) for arm in ARMS}


def write_report(out: Path, config: dict) -> Path:
    """Write the figures, the animated image and the page of a finished demo.

    They are ``report.json``, ``arm.webp`` and the self-contained ``report.html``.

    Returns:
        The page's path.
    """
    report = make_report(out, config)
    (out / "report.json").write_text(json.dumps(report, indent=1))
    animation = write_animation(out / "closed_loop" / ARMS[-1], out / ANIMATION)
    page = render_report(
        report,
        read_arms(out),
        {arm: out / "closed_loop" / arm for arm in ARMS},
        {arm: read_metrics(out / arm) for arm in ARMS[1:]},
        animation,
    )
    write_whole(out / REPORT, page)
    return out / REPORT


def write_closed_loop_report(out: Path, policy: Path) -> Path:
    """Write ``report.html`` of one policy's closed-loop results; returns its path.

    Args:
        out: folder of the results.
        policy: whose they are.
    """
    name = "policy"
    arms = {name: read_results(out)}
    summary = summarise(list(arms[name].values()))
    report = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "closed_loop": {suite: {name: entry} for suite, entry in summary["suites"].items()},
        **compared(arms),
        "decode": {**summary["decode"], "by_arm": {name: summary["decode"]}},
        "policy": str(policy),
    }
    write_whole(out / REPORT, render_report(report, arms, {name: out}, {}))
    return out / REPORT


def read_metrics(run: Path) -> list[dict]:
    """Lines of a run's ``metrics.jsonl``; a last line that a kill cut off is left out."""
    path = run / METRICS
    lines = read_json_lines(path, whole_lines=True) if path.is_file() else []
    return [values for _, values in lines]

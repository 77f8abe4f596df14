"""The figures of a finished experiment or evaluation, each with its n, and their page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from roboalign_training.data.index import write_whole
from roboalign_training.evaluate.animation import ANIMATION, write_animation
from roboalign_training.evaluate.arms import ReportedArm, Results, compare, rate
from roboalign_training.evaluate.causes import count_causes
from roboalign_training.evaluate.closed_loop import REPORT, read_results, summarise
from roboalign_training.evaluate.report_page import render_report
from roboalign_training.shared.json_lines import read_json_lines
from roboalign_training.shared.run_layout import METRICS


def make_report(
    out: Path, arms: Sequence[ReportedArm], pairs: Sequence[tuple[str, str]], config: Mapping
) -> dict:
    """All figures of a finished experiment.

    Args:
        out: its folder, with ``stages.json``.
        arms: in order.
        pairs: of arms that are compared.
        config: its configuration, for the record.

    Returns:
        ``closed_loop.<suite>.<arm>.{successes, n, scenes, interval}``, ``total.<arm>`` likewise,
        ``by_seed.<arm>.<seed>`` likewise, ``paired``, ``causes.<policy>``,
        ``decode.{valid, n}`` over the trained policies, equal ones once, and by policy,
        ``same_as.<policy>``, ``open_loop.<policy>``, ``data``, ``samples``, ``training``,
        ``seconds.<stage>``; ``chosen`` where one policy was chosen to drive by default.
    """
    state = json.loads((out / "stages.json").read_text())
    results = {name: entry["result"] for name, entry in state.items()}
    driven = results["closed_loop"]
    trained = [name for arm in arms if arm.trained for name in arm.policies]
    # A policy that is another one was not driven again: what that one did counts once.
    apart = dict.fromkeys(driven[name].get("same_as", name) for name in trained)
    decoded = [driven[name]["decode"] for name in apart]
    chosen = {"chosen": results["choose"]} if "choose" in results else {}
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **compared(arms, pairs, read_policies(out, arms)),
        "decode": {
            "valid": sum(d["valid"] for d in decoded),
            "n": sum(d["n"] for d in decoded),
            "by_arm": {name: entry["decode"] for name, entry in driven.items()},
        },
        **chosen,
        "same_as": {n: entry["same_as"] for n, entry in driven.items() if "same_as" in entry},
        "open_loop": results["open_loop"],
        "data": results["dataset"],
        "samples": {name: results[name]["samples"] for name in trained},
        "training": {name: results[name] for name in trained},
        "seconds": {name: entry["seconds"] for name, entry in state.items()},
        "config": dict(config),
    }


def compared(
    arms: Sequence[ReportedArm], pairs: Sequence[tuple[str, str]], results: Mapping[str, Results]
) -> dict:
    """What follows from the single episodes, those of all training seeds of an arm together.

    Args:
        arms: in order.
        pairs: of arms that are compared on the same episodes.
        results: of each policy, by name.
    """
    driven = {arm.name: [results[name] for name in arm.policies] for arm in arms}
    suites = list(
        dict.fromkeys(r["suite"] for of in driven.values() for one in of for r in one.values())
    )
    by_seed = {
        arm.name: {str(seed): rate([results[name]]) for name, seed in arm.policies.items()}
        for arm in arms
        if arm.trained
    }
    return {
        "arms": {
            arm.name: {"stage": arm.stage, "title": arm.title, "text": arm.text,
                       "policies": dict(arm.policies)}
            for arm in arms
        },
        "closed_loop": {
            suite: {name: rate(of, suite) for name, of in driven.items()} for suite in suites
        },
        "total": {name: rate(of) for name, of in driven.items()},
        "by_seed": by_seed,
        "paired": [vars(pair) for pair in compare(arms, pairs, results)],
        "causes": {n: dict(count_causes(of.values()).most_common()) for n, of in results.items()},
    }  # fmt: skip


def read_policies(out: Path, arms: Sequence[ReportedArm]) -> dict[str, Results]:
    """Results of each policy of an experiment, by name."""
    names = [name for arm in arms for name in arm.policies]
    return {name: read_results(out / "closed_loop" / name) for name in names}


def write_report(
    out: Path, arms: Sequence[ReportedArm], pairs: Sequence[tuple[str, str]], config: Mapping
) -> Path:
    """Write the figures, the animated image and the page of a finished experiment.

    They are ``report.json``, ``arm.webp`` of the policy that was chosen, or else of the last one,
    and the self-contained ``report.html``.

    Args: as `make_report`.

    Returns:
        The page's path.
    """
    report = make_report(out, arms, pairs, config)
    (out / "report.json").write_text(json.dumps(report, indent=1))
    policies = read_policies(out, arms)
    shown = report["chosen"]["name"] if "chosen" in report else list(policies)[-1]
    animation = write_animation(out / "closed_loop" / shown, out / ANIMATION)
    page = render_report(
        report,
        policies,
        {name: out / "closed_loop" / name for name in policies},
        {name: read_metrics(out / name) for name in report["training"]},
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
    results = {name: read_results(out)}
    summary = summarise(list(results[name].values()))
    arm = ReportedArm(name, "", f"the policy {policy}", "", {name: None})
    report = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        **compared([arm], [], results),
        "decode": {**summary["decode"], "by_arm": {name: summary["decode"]}},
        "policy": str(policy),
    }
    write_whole(out / REPORT, render_report(report, results, {name: out}, {}))
    return out / REPORT


def read_metrics(run: Path) -> list[dict]:
    """Lines of a run's ``metrics.jsonl``; a last line that a kill cut off is left out."""
    path = run / METRICS
    lines = read_json_lines(path, whole_lines=True) if path.is_file() else []
    return [values for _, values in lines]

"""The report as a page: a sentence, totals, arms side by side, episodes to play, training."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.evaluate.arms import Results, episodes_by_suite
from roboalign_training.evaluate.causes import cause_of, detail_of
from roboalign_training.evaluate.charts import Series, bars, lines, metric_points
from roboalign_training.evaluate.closed_loop import DrivenEpisode
from roboalign_training.evaluate.played import choose, name_of, scenes_of
from roboalign_training.learning.choice import choice_of
from roboalign_training.look.document import document
from roboalign_training.look.inspect_views import View
from roboalign_training.look.look import Look
from roboalign_training.look.shell import own, render

TEMPLATE, STYLE = "evaluate/report.html.j2", "evaluate/report.css"
CONTRACT = "sim_panda"
"""Of the embedded arm, which is what closed loops are driven on."""

STYLES = 5
"""Colours of charts, in turn."""
MEANINGFUL_P = 0.05
MOST_FAILURES = 500
"""Of an arm, listed one by one."""


class Cell(NamedTuple):
    """One episode in the table of seeds.

    Attributes:
        won: whether it succeeded; None where the arm did not drive it.
        text: seed, task and what came of it.
        address: where it can be played on the page; empty where it cannot.
    """

    won: bool | None
    text: str
    address: str


def render_report(
    report: Mapping,
    policies: Mapping[str, Results],
    folders: Mapping[str, Path],
    metrics: Mapping[str, Sequence[Mapping]],
    animation: bytes = b"",
) -> str:
    """The page's text.

    Args:
        report: figures, as `report.make_report`; those of open loop, data and training may lack.
        policies: results of each policy.
        folders: of each policy, with the frames that were kept.
        metrics: lines of each trained policy's metrics.
        animation: WebP of driven episodes; empty where there is none.
    """
    played = choose(policies, folders)
    scenes = scenes_of(played, policies, load_contract(CONTRACT).period_ns)
    addresses = {
        (arm, episode): "#episode=" + quote(name_of(arm, episode), safe="")
        for arm, episode, _ in played
    }
    return render(
        TEMPLATE,
        document(Look(View("episodes"), scenes)),
        style=own(STYLE),
        report=report,
        arms=list(report["total"]),
        policies=list(policies),
        p_text=p_text,
        sentences=sentences(report),
        several=any(len(of) > 1 for of in report["by_seed"].values()),
        samples=_samples(report),
        trainings=_trainings(report),
        seeds=seed_table(policies, addresses),
        failures=failures(policies, addresses),
        episodes=len(scenes),
        charts=_charts(report, metrics),
        animation=base64.b64encode(animation).decode(),
    )


def sentences(report: Mapping) -> list[str]:
    """What came out, in words: the chosen arm or the last, the others, and whether they differ."""
    totals, chosen = report["total"], report.get("chosen")
    first = chosen["arm"] if chosen else list(totals)[-1]
    others = [arm for arm in totals if arm != first]
    low, high = (100 * bound for bound in totals[first]["interval"])
    title = report["arms"][first]["title"]
    said = [
        f"{title[0].upper()}{title[1:]} succeeded in {_share(totals[first])} episodes on unseen "
        f"scenes (95 % interval: {low:.0f} to {high:.0f} %)."
    ]
    if others:
        titles = [f"{report['arms'][arm]['title']} in {_share(totals[arm])}" for arm in others]
        said[0] += f" On the same scenes {_listed(titles)}."
    if chosen:
        said.append(f"{chosen['name']} drives by default: {chosen['why']}.")
    for name, result in report.get("training", {}).items():
        if "same_as" in result:
            said.append(
                f"{name} is the same training as {result['same_as']}, as both start from the same "
                "policy: it was not done again."
            )
    for name, twin in report.get("same_as", {}).items():
        said.append(f"{name} is the same policy as {twin} and was not driven again.")
    # What was chosen beside what it was made of, else the last pair.
    pairs = [pair for pair in report["paired"] if pair["second"] == first] or report["paired"]
    for pair in pairs[-1:]:
        if pair["p"] is None:
            said.append(f"{pair['second']} and {pair['first']} have no episode in common.")
            continue
        verdict = "more than chance explains"
        if pair["p"] > MEANINGFUL_P:
            verdict = "no more than chance explains"
        said.append(
            f"{pair['only_second']} episodes succeed with {pair['second']} alone and "
            f"{pair['only_first']} with {pair['first']} alone: {verdict} "
            f"({pair['test']} p {p_text(pair['p'])})."
        )
    return said


def _listed(texts: Sequence[str]) -> str:
    *first, last = texts
    return f"{', '.join(first)} and {last}" if first else last


def _samples(report: Mapping) -> str:
    """How much each policy was trained on."""
    units = {"grpo": "prompts"}
    again = [n for n, result in report.get("training", {}).items() if "same_as" in result]
    return ", ".join(
        f"{report['samples'][name]} {name.upper()} {units.get(arm['stage'], 'samples')}"
        for arm in report["arms"].values()
        for name in arm["policies"]
        if name in report.get("samples", {}) and name not in again
    )


def _trainings(report: Mapping) -> list[str]:
    """What came of each training, in a sentence."""
    said = []
    for arm in report["arms"].values():
        for name in arm["policies"]:
            result = report.get("training", {}).get(name)
            if result is None:
                continue
            if "same_as" in result:
                said.append(f"{name}: the same training as {result['same_as']}, not done again.")
                continue
            text = f"{name}: {result['steps']} steps"
            if "dev_score" in result:
                text += f", score {result['dev_score']:.3f}"
            if "dev_action_error" in result:
                text += f", action error {100 * result['dev_action_error']:.2f} % of the range"
            if "choice" in result:
                text += f"; {choice_of(result['choice']).text('', result['steps'])}"
            said.append(f"{text}.")
    return said


def p_text(p: float | None) -> str:
    """A p-value beside its sign; a dash where there is none."""
    if p is None:
        return "–"
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def _share(entry: Mapping) -> str:
    return f"{entry['successes']} of {entry['n']}"


def seed_table(
    arms: Mapping[str, Results], addresses: Mapping[tuple[str, DrivenEpisode], str]
) -> dict[str, tuple[str, dict[str, list[Cell]]]]:
    """Of each suite its seeds in words, and of each arm one cell a seed, in the same order."""
    table = {}
    for suite, episodes in episodes_by_suite(arms).items():
        rows = {
            arm: [_cell(arm, episode, results, addresses) for episode in episodes]
            for arm, results in arms.items()
        }
        table[suite] = (f"seeds {episodes[0].seed} to {episodes[-1].seed}", rows)
    return table


def _cell(
    arm: str,
    episode: DrivenEpisode,
    results: Results,
    addresses: Mapping[tuple[str, DrivenEpisode], str],
) -> Cell:
    record = results.get(episode)
    where = f"seed {episode.seed}, {episode.task}, {arm}"
    if record is None:
        return Cell(None, f"{where}: not driven", "")
    said = f"success after {record['steps']} steps" if record["success"] else cause_of(record)
    return Cell(bool(record["success"]), f"{where}: {said}", addresses.get((arm, episode), ""))


def failures(
    arms: Mapping[str, Results], addresses: Mapping[tuple[str, DrivenEpisode], str]
) -> dict[str, list[tuple[str, ...]]]:
    """Of each arm its failed episodes: suite, seed, task, steps, cause, detail, address."""
    found = {}
    for arm, results in arms.items():
        lost = [(e, r) for e, r in results.items() if not r["success"]]
        lost.sort(key=lambda item: (item[0].suite, item[0].seed))
        found[arm] = [
            (e.suite, str(e.seed), e.task, str(r["steps"]), cause_of(r), detail_of(r),
             addresses.get((arm, e), ""))
            for e, r in lost[:MOST_FAILURES]
        ]  # fmt: skip
    return found


def _charts(report: Mapping, metrics: Mapping[str, Sequence[Mapping]]) -> dict[str, Markup]:
    """The page's charts; empty ones where there is nothing to draw."""
    suites, arms = list(report["closed_loop"]), list(report["total"])
    groups = [*suites, "all"]
    entries = [*report["closed_loop"].values(), report["total"]]
    success = [
        Series(
            arm, number % STYLES,
            bars=[100 * e[arm]["successes"] / max(e[arm]["n"], 1) for e in entries],
            intervals=[[100 * bound for bound in e[arm]["interval"]] for e in entries],
        )
        for number, arm in enumerate(arms)
    ]  # fmt: skip
    opened = report.get("open_loop", {})
    dims = next((list(e["action_l1_by_dimension"]) for e in opened.values()
                 if e["action_l1_by_dimension"]), [])  # fmt: skip
    colours = {
        name: number % STYLES
        for number, arm in enumerate(report["arms"].values())
        for name in arm["policies"]
    }
    errors = [
        Series(name, colours[name], bars=[e["action_l1_by_dimension"].get(d) for d in dims])
        for name, e in opened.items()
    ]
    steps = "optimiser step"
    losses, rewards = Markup(""), Markup("")
    for name, of in metrics.items():
        loss = [Series("training loss", 1, metric_points(of, "loss")),
                Series("validation loss", 3, metric_points(of, "eval_loss"))]  # fmt: skip
        reward = [Series("sampled reward", 2, metric_points(of, "reward"))]
        if reward[0].points:
            rewards += lines(f"{name.upper()} reward", reward, steps, "mean over samples")
        else:
            losses += lines(f"{name.upper()} loss", loss, steps, "loss", log=True)
    return {
        "success": bars("success", groups, success, "% of the episodes", top=100.0),
        "errors": bars("action error", dims, errors, "mean |error|, action units") if dims else "",
        "loss": losses,
        "validation": Markup("").join(
            _validation(name, colours[name], of) for name, of in metrics.items()
        ),
        "reward": rewards,
    }


def _validation(name: str, style: int, metrics: Sequence[Mapping]) -> Markup:
    """The scores on held-out episodes during a run; nothing where there is only one."""
    kinds = {"dev_score": ("score", style), "dev_prefix_accuracy": ("prefix accuracy", 3),
             "dev_format": ("format", 0)}  # fmt: skip
    found = [
        Series(text, style, metric_points(metrics, key)) for key, (text, style) in kinds.items()
    ]
    if max(len(series.points) for series in found) < 2:
        return Markup("")
    return lines(
        f"{name.upper()} validation", found, "optimiser step",
        "greedy answers on held-out episodes",
    )  # fmt: skip

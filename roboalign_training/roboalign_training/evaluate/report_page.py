"""The report as a page: a sentence, totals, arms side by side, episodes to play, training."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from roboalign_policy.core.contract.contract import load_contract
from roboalign_training.evaluate.causes import cause_of, detail_of
from roboalign_training.evaluate.charts import Series, bars, lines, metric_points
from roboalign_training.evaluate.closed_loop import DrivenEpisode
from roboalign_training.evaluate.pairs import Results, episodes_by_suite
from roboalign_training.evaluate.played import choose, name_of, scenes_of
from roboalign_training.look.document import document
from roboalign_training.look.inspect_views import View
from roboalign_training.look.look import Look
from roboalign_training.look.shell import own, render

TEMPLATE, STYLE = "evaluate/report.html.j2", "evaluate/report.css"
CONTRACT = "sim_panda"
"""Of the embedded arm, which is what closed loops are driven on."""

STYLES = {"base": 0, "sft": 1, "grpo": 2}
NAMES = {
    "base": "the pretrained model with the action vocabulary, no action learnt",
    "sft": "after stage 1, supervised fine-tuning",
    "grpo": "after stages 1 and 2",
}
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
    arms: Mapping[str, Results],
    folders: Mapping[str, Path],
    metrics: Mapping[str, Sequence[Mapping]],
    animation: bytes = b"",
) -> str:
    """The page's text.

    Args:
        report: figures, as `report.make_report`; those of open loop, data and training may lack.
        arms: results of each arm.
        folders: of each arm, with the frames that were kept.
        metrics: lines of each trained arm's metrics.
        animation: WebP of driven episodes; empty where there is none.
    """
    played = choose(arms, folders)
    scenes = scenes_of(played, arms, load_contract(CONTRACT).period_ns)
    addresses = {
        (arm, episode): "#episode=" + quote(name_of(arm, episode), safe="")
        for arm, episode, _ in played
    }
    return render(
        TEMPLATE,
        document(Look(View("episodes"), scenes)),
        style=own(STYLE),
        report=report,
        arms=list(arms),
        names=NAMES,
        p_text=p_text,
        sentences=sentences(report),
        seeds=seed_table(arms, addresses),
        failures=failures(arms, addresses),
        episodes=len(scenes),
        charts=_charts(report, metrics),
        animation=base64.b64encode(animation).decode(),
    )


def sentences(report: Mapping) -> list[str]:
    """What came out, in words: the last arm, the others, and whether they differ beyond chance."""
    totals = report["total"]
    *others, last = totals
    low, high = (100 * bound for bound in totals[last]["interval"])
    who = _name(last) if others else f"The policy {report['policy']}"
    said = [
        f"{who} succeeded in {_share(totals[last])} unseen scenes "
        f"(95 % interval: {low:.0f} to {high:.0f} %)."
    ]
    if others:
        rest = " and ".join(f"{_name(arm)} in {_share(totals[arm])}" for arm in others)
        said[0] += f" On the same scenes {rest}."
    for pair in report["paired"][-1:]:
        verdict = "more than chance explains"
        if pair["p"] > MEANINGFUL_P:
            verdict = "no more than chance explains"
        said.append(
            f"{pair['only_second']} scenes succeed with {pair['second']} alone and "
            f"{pair['only_first']} with {pair['first']} alone: {verdict} "
            f"(McNemar p {p_text(pair['p'])})."
        )
    return said


def p_text(p: float) -> str:
    """A p-value beside its sign."""
    return f"= {p:.2g}" if p >= 1e-4 else "< 0.0001"


def _name(arm: str) -> str:
    known = {"base": "the base model", "sft": "SFT alone", "grpo": "The policy after SFT and GRPO"}
    return known.get(arm, f"the policy {arm}")


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
            arm, STYLES.get(arm, 1),
            bars=[100 * e[arm]["successes"] / max(e[arm]["n"], 1) for e in entries],
            intervals=[[100 * bound for bound in e[arm]["interval"]] for e in entries],
        )
        for arm in arms
    ]  # fmt: skip
    opened = report.get("open_loop", {})
    dims = next((list(e["action_l1_by_dimension"]) for e in opened.values()
                 if e["action_l1_by_dimension"]), [])  # fmt: skip
    errors = [
        Series(arm, STYLES.get(arm, 1), bars=[e["action_l1_by_dimension"].get(d) for d in dims])
        for arm, e in opened.items()
    ]
    sft, grpo = metrics.get("sft", ()), metrics.get("grpo", ())
    loss = [Series("training loss", 1, metric_points(sft, "loss")),
            Series("validation loss", 3, metric_points(sft, "eval_loss"))]  # fmt: skip
    reward = [Series("sampled reward", 2, metric_points(grpo, "reward"))]
    steps = "optimiser step"
    return {
        "success": bars("success", groups, success, "% of the episodes", top=100.0),
        "errors": bars("action error", dims, errors, "mean |error|, action units") if dims else "",
        "loss": lines("SFT loss", loss, steps, "loss", log=True),
        "validation": Markup("").join(_validation(arm, of) for arm, of in metrics.items()),
        "reward": lines("GRPO reward", reward, steps, "mean over samples, 0 to 1"),
    }


def _validation(arm: str, metrics: Sequence[Mapping]) -> Markup:
    """The scores on held-out episodes during a run; nothing where there is only one."""
    kinds = {"dev_score": ("score", STYLES[arm]), "dev_prefix_accuracy": ("prefix accuracy", 3),
             "dev_format": ("format", 0)}  # fmt: skip
    found = [
        Series(text, style, metric_points(metrics, key)) for key, (text, style) in kinds.items()
    ]
    if max(len(series.points) for series in found) < 2:
        return Markup("")
    name = f"{arm.upper()} validation"
    return lines(name, found, "optimiser step", "greedy answers on held-out episodes, 0 to 1")

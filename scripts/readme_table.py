"""Puts the figures of a finished demo into README.md, between the two report markers.

Usage: readme_table.py [--report out/demo/report.json] [--readme README.md]; with --realtime
SUMMARY (of bench/realtime.py, paired with lock step) those of real time, between the two realtime
markers, and nothing else. Figures are copied as they stand in the report, the intervals
too; one that is missing is an error, never a blank.
Runs on the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- report:begin -->", "<!-- report:end -->"
REALTIME = ("<!-- realtime:begin -->", "<!-- realtime:end -->")
TITLES = {
    "base": "base",
    "sft": "SFT",
    "grpo": "SFT + GRPO",
    "sft_head": "SFT + head",
    "grpo_head": "SFT + GRPO + head",
}
"""Of the demo's arms; another arm stands under its name."""
MEANINGFUL_P = 0.05


class ReportError(ValueError):
    """A report or a README that cannot be used; says which file, what was found and expected."""


class Report:
    """Figures of a report by their path of keys, e.g. `closed_loop.object.sft.n`."""

    def __init__(self, path: Path) -> None:
        """Reads the report.

        Raises:
            ReportError: if it is missing or no JSON object.
        """
        self.path = path
        try:
            self._document = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ReportError(
                f"{path}: not found, expected the report of a finished demo; run `make demo` first"
            ) from error
        except ValueError as error:
            raise ReportError(f"{path}: expected JSON ({error})") from error
        if not isinstance(self._document, dict):
            found = type(self._document).__name__
            raise ReportError(f"{path}: found {found}, expected an object")

    def get(self, *keys: str) -> object:
        """The value below these keys.

        Raises:
            ReportError: if there is none.
        """
        value = self._document
        for depth, key in enumerate(keys):
            if not isinstance(value, dict) or key not in value:
                raise ReportError(f"{self.path}: {'.'.join(keys[: depth + 1])}: not found")
            value = value[key]
        return value

    def names(self, *keys: str) -> list[str]:
        """Keys of the object below these keys.

        Raises:
            ReportError: if there is none, or an empty one.
        """
        value = self.get(*keys)
        if not isinstance(value, dict) or not value:
            where = f"{self.path}: {'.'.join(keys)}"
            raise ReportError(f"{where}: found {value!r}, expected an object with entries")
        return list(value)

    def number(self, *keys: str) -> float:
        """A number below these keys.

        Raises:
            ReportError: if there is none.
        """
        value = self.get(*keys)
        if isinstance(value, bool) or not isinstance(value, int | float):
            where = f"{self.path}: {'.'.join(keys)}"
            raise ReportError(f"{where}: found {value!r}, expected a number")
        return value

    def interval(self, *keys: str) -> tuple[float, float]:
        """Two numbers below these keys, the lower one first.

        Raises:
            ReportError: if there are none.
        """
        value = self.get(*keys)
        numbers = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
        if not numbers or len(value) != 2 or value[0] > value[1]:
            where = f"{self.path}: {'.'.join(keys)}"
            raise ReportError(f"{where}: found {value!r}, expected [low, high]")
        return value[0], value[1]

    def date(self) -> str:
        """The day on which it was made, as 2026-01-31.

        Raises:
            ReportError: if `created` is no time in ISO 8601.
        """
        value = self.get("created")
        try:
            return datetime.fromisoformat(value).date().isoformat()
        except (TypeError, ValueError) as error:
            raise ReportError(
                f"{self.path}: created: found {value!r}, expected ISO 8601"
            ) from error


def make_block(report: Report) -> str:
    """The Markdown between the markers.

    Raises:
        ReportError: if a figure is missing.
    """
    parts = [
        f"Made by `make demo` on {report.date()} (UTC): {_data_line(report)}",
        "**Closed loop**: successes on seeds that no training saw, through `policy_node`"
        " (Wilson 95 % interval). The arms drive the same seeds.",
        _closed_loop_table(report),
        _kept_line(report),
        *_head_lines(report),
        *_chosen_lines(report),
        f"Chunks of the trained arms that decoded: {_decoded(report)}.",
        "**Open loop**: on demonstrations of other seeds (mean, 95 % interval).",
        _open_loop_table(report),
        _seconds_line(report),
    ]
    return "\n\n".join(parts)


def make_realtime_block(report: Report) -> str:
    """The Markdown between the real-time markers.

    Raises:
        ReportError: if a figure is missing.
    """
    rows = []
    for suite in report.names("suites"):
        at, pair = ("suites", suite), ("suites", suite, "lockstep")
        n = report.number(*at, "n")
        rows.append(
            [
                suite,
                _share(report, at, n),
                f"{report.number(*at, 'in_time')}/{n}",
                _share(report, pair, n),
                " / ".join(
                    str(report.number(*pair, f"only_{x}")) for x in ("realtime", "lockstep")
                ),
                f"{report.number(*pair, 'mcnemar_p'):.2f}",
            ]
        )
    head = ["suite", "in real time", "waiting counted", "in lock step", "only in one", "p"]
    answer_s = report.number("inference_p50_s")
    stops = report.number("suites", "all", "stopped_by_gate")
    return "\n\n".join(
        [
            f"**In real time**, on {report.date()} (UTC), {report.number('cores')} cores, through"
            f" `{report.get('command')}`: the same policy and seeds as in lock step; an answer"
            f" takes {answer_s:.2f} s (median), the safety gate stopped {stops} runs. In lock step"
            " the simulator waits while the model computes. In real time the arm waits instead;"
            " its waiting does not count as steps, except in the column *waiting counted*."
            " Wilson 95 % intervals, exact McNemar test.",
            _table(head, rows),
        ]
    )


def _share(report: Report, at: Sequence[str], n: float) -> str:
    low, high = report.interval(*at, "interval")
    return f"{report.number(*at, 'successes')}/{n} ({100 * low:.0f}-{100 * high:.0f} %)"


def fill(
    readme: str, block: str, name: str = "README.md", markers: tuple[str, str] = (BEGIN, END)
) -> str:
    """The README's text with `block` between the markers; all else stays as it is.

    Raises:
        ReportError: if the markers are not there exactly once, in order.
    """
    begin, end = markers
    counts = {marker: readme.count(marker) for marker in markers}
    for marker, count in counts.items():
        if count != 1:
            raise ReportError(f"{name}: found {count} times {marker}, expected it once")
    before, rest = readme.split(begin)
    if end not in rest:
        raise ReportError(f"{name}: found {end} before {begin}, expected it after")
    return f"{before}{begin}\n{block}\n{end}{rest.split(end)[1]}"


def _data_line(report: Report) -> str:
    episodes, frames = report.number("data", "episodes"), report.number("data", "frames")
    sft, grpo = report.number("samples", "sft"), report.number("samples", "grpo")
    learnt = [f"{sft:,} SFT samples", f"{grpo:,} GRPO prompts"]
    for arm in report.names("samples"):
        if arm not in ("sft", "grpo") and _same_training(report, arm) is None:
            learnt.append(f"{report.number('samples', arm):,} samples of {title(arm)}")
    return f"{episodes:,} demonstrations with {frames:,} frames, {', '.join(learnt)}."


def title(arm: str) -> str:
    """What the table calls an arm."""
    return TITLES.get(arm, arm)


def _same_training(report: Report, arm: str) -> str | None:
    """The arm whose training is this one's, too; None where it has one of its own."""
    result = report.get("training", arm)
    same = result.get("same_as") if isinstance(result, dict) else None
    return same if isinstance(same, str) else None


def _head_lines(report: Report) -> list[str]:
    """Which arms are one training."""
    return [
        f"{title(arm)} is the same training as {title(same)}: both start from the same policy."
        for arm in report.names("training")
        if (same := _same_training(report, arm)) is not None
    ]


def _chosen_lines(report: Report) -> list[str]:
    """Which arm drives by default, and why; nothing of a report without a choice."""
    if "chosen" not in report.names():
        return []
    arm = report.get("chosen", "arm")
    if arm not in report.names("total"):
        raise ReportError(f"{report.path}: chosen.arm: found {arm!r}, expected one of the arms")
    why = report.get("chosen", "why")
    return [f"**{title(arm)}** drives by default, chosen on development seeds: {why}."]


def _kept_line(report: Report) -> str:
    """Which policy of GRPO is driven, and why: where its base was kept, two arms are one."""
    place = ("training", "grpo", "choice")
    steps, kept = int(report.number("training", "grpo", "steps")), report.number(*place, "kept")
    step, n = (int(report.number(*place, key)) for key in ("candidate", "n"))
    base, score = (report.number(*place, key) for key in ("base", "score"))
    if report.get(*place, "rule") == "driven":
        figures = (
            f"succeeded in {round(score * n)} of {n} driven development episodes, its SFT policy "
            f"in {round(base * n)} (McNemar p = {report.number(*place, 'p'):.2g})"
        )
    else:
        figures = f"scored {score:.4f} there, its SFT policy {base:.4f}"
    same = "no difference beyond noise, so SFT and SFT + GRPO are the same policy."
    if report.get(*place, "undecided"):
        same = "too few to tell it from noise, so SFT and SFT + GRPO are the same policy."
    elif score < base and _beyond_noise(report, *place):
        same = "worse beyond noise, so SFT is kept: SFT and SFT + GRPO are the same policy."
    end = f"step {step} is kept." if kept else same
    return f"Of {steps} GRPO steps, the best on held-out episodes (step {step}) {figures}: {end}"


def _beyond_noise(report: Report, *place: str) -> bool:
    """Whether the best step differs from its base, by the test that decided."""
    if report.get(*place, "rule") == "driven":
        return report.number(*place, "p") <= MEANINGFUL_P
    if report.get(*place, "interval") is None:
        return False
    low, high = report.interval(*place, "interval")
    return low > 0 or high < 0


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _closed_loop_table(report: Report) -> str:
    arms = report.names("total")
    rows = [
        [suite, *(_success(report, suite, arm) for arm in arms)]
        for suite in report.names("closed_loop")
    ]
    return _table(["suite", *map(title, arms)], rows)


def _success(report: Report, suite: str, arm: str) -> str:
    successes = report.number("closed_loop", suite, arm, "successes")
    n = report.number("closed_loop", suite, arm, "n")
    low, high = report.interval("closed_loop", suite, arm, "interval")
    return f"{successes}/{n} ({100 * low:.0f}-{100 * high:.0f} %)"


def _decoded(report: Report) -> str:
    valid, n = report.number("decode", "valid"), report.number("decode", "n")
    if not 0 <= valid <= n or n == 0:
        found = f"valid {valid}, n {n}"
        raise ReportError(f"{report.path}: decode: found {found}, expected 0 <= valid <= n, n > 0")
    # Cut, not rounded: 100 % shall mean all of them.
    percent = int(1000 * valid / n) / 10
    return f"{valid:,} of {n:,} ({percent:g} %)"


def _open_loop_table(report: Report) -> str:
    rows = []
    for arm in report.names("open_loop"):
        cells = [title(arm)]
        for figure in ("prefix_accuracy", "action_l1"):
            head = report.get("arms", arm, "stage") == "vla"
            if head and figure == "prefix_accuracy":
                cells.append("no tokens")
                continue
            mean = report.number("open_loop", arm, figure)
            low, high = report.interval("open_loop", arm, f"{figure}_interval")
            cells.append(f"{mean:.3f} ({low:.3f}-{high:.3f})")
        rows.append([*cells, f"{report.number('open_loop', arm, 'n'):,}"])
    return _table(["arm", "prefix accuracy", "action L1, action units", "frames"], rows)


def _seconds_line(report: Report) -> str:
    seconds = {stage: report.number("seconds", stage) for stage in report.names("seconds")}
    parts = [f"{stage} {spent:.0f}" for stage, spent in seconds.items()]
    return f"Seconds: {', '.join(parts)}; together {sum(seconds.values()):.0f}."


def main(argv: Sequence[str] | None = None) -> int:
    """Fills the README; returns the exit status, 1 when that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, default=ROOT / "out/demo/report.json")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--realtime", type=Path, help="summary of bench/realtime.py")
    options = parser.parse_args(argv)
    try:
        if options.realtime is None:
            block, markers = make_block(Report(options.report)), (BEGIN, END)
        else:
            block, markers = make_realtime_block(Report(options.realtime)), REALTIME
        if not options.readme.is_file():
            raise ReportError(f"{options.readme}: not found, expected the README")
        text = options.readme.read_text(encoding="utf-8")
        filled = fill(text, block, str(options.readme), markers)
    except ReportError as error:
        print(f"readme_table: {error}", file=sys.stderr)
        return 1
    partial = options.readme.with_name(f".{options.readme.name}.{os.getpid()}.part")
    partial.write_text(filled, encoding="utf-8")
    partial.replace(options.readme)
    print(f"{options.readme}: {'unchanged' if filled == text else 'filled'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

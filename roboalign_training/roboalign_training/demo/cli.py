"""`roboalign demo` and `roboalign experiment`: the stages, a table, the report."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from roboalign_policy.core.policy.default_place import BEST
from roboalign_training.demo.experiment import (
    Experiment,
    demo_experiment,
    load_experiment,
    packaged_experiment,
)
from roboalign_training.demo.plan import Call, DemoConfig
from roboalign_training.learning.choice import choice_of
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.fields import add_fields, underscored
from roboalign_training.shared.left_out import LeftOut, add_strict
from roboalign_training.shared.run_layout import SAME_AS
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import write_fault


def parser() -> argparse.ArgumentParser:
    """The options of `roboalign demo`."""
    p = argparse.ArgumentParser(
        prog="roboalign demo",
        description="Record demonstrations of the simulated arm, learn from them, drive with what "
        "was learnt, and write a report. The same command goes on after an interruption; what is "
        "done is not done again.",
        allow_abbrev=False,
    )
    add_fields(p, DemoConfig)
    add_strict(p)
    stages = list(load_experiment(packaged_experiment("demo")).stages())
    (redo,) = (action for action in p._actions if action.dest == "redo")
    redo.choices = stages
    redo.help = str(redo.help).replace("again,", f"again ({', '.join(stages)}),")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when finished, 1 when a stage failed, 130 when it was interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser()
    given = vars(options.parse_args(underscored(words, options._option_string_actions)))
    strict = given.pop("strict")

    def prepare() -> tuple[Experiment, Call]:
        config = DemoConfig(**given)
        return demo_experiment(config), config

    return run_command("demo", prepare, strict, words)


class Terminated(Exception):
    """SIGTERM came, which the program of a stage has not heard: it is ended, and saves."""


@contextmanager
def terminated_by_signal() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated`; else it would leave the program of a stage running."""

    def end(number: int, frame: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_command(
    name: str,
    prepare: Callable[[], tuple[Experiment, Call]],
    strict: bool,
    words: Sequence[str],
) -> int:
    """Run an experiment and show what came out; returns the exit status.

    Args:
        name: of the command.
        prepare: gives what is run, and how; may refuse by ValueError.
        strict: whether what was left out is an exit status.
        words: of the command line.
    """
    console = Console()
    # Here, so that help does not wait for torch.
    from roboalign_training.demo.run import StageFailed, run_stages

    try:
        experiment, call = prepare()
        with terminated_by_signal():
            out = run_stages(experiment, Path(call.out), call.redo, console)
    except (RuntimeError, ValueError) as error:  # a stage's command, model or data set; an option
        goes_on = "\nOnce that is mended, the same command goes on from here."
        said = f"{error}{goes_on if isinstance(error, StageFailed) else ''}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        return status_of(error)
    except OSError as error:
        if (fault := write_fault(error, words)) is None:
            raise
        console.print(f"roboalign {name}: not written: {fault}", markup=False, soft_wrap=True)
        return 1
    except (KeyboardInterrupt, Terminated):
        console.print("interrupted; run the same command again to go on from here")
        return 130
    report = json.loads((out / "report.json").read_text())
    print_whole(console, success_table(report))
    for line in result_lines(experiment, out, report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    left_out = left_out_of(experiment, out)
    console.print(left_out.line(), markup=False, highlight=False, soft_wrap=True)
    return left_out.status(strict)


def result_lines(experiment: Experiment, out: Path, report: dict) -> list[str]:
    """Which policy each arm kept, how arms compare, where all stands, and which one drives."""
    from roboalign_training.evaluate.report_page import p_text

    said = []
    for name, policy in experiment.trained().items():
        result = json.loads((out / name / "result.json").read_text())
        if "choice" in result:
            text = choice_of(result["choice"]).text(policy.start or "", result["steps"])
            said.append(f"{name}: {text}")
        if SAME_AS in result:
            said.append(
                f"{name} is the same training as {result[SAME_AS]}, as both start from the same "
                "policy: not done again"
            )
    for name, twin in report["same_as"].items():
        said.append(f"{name} is the same policy as {twin}: not driven again")
    for pair in report["paired"]:
        said.append(
            f"{pair['second']} against {pair['first']} on the same seeds: "
            f"{pair['only_second']} only the one, {pair['only_first']} only the other, "
            f"{pair['test']} p {p_text(pair['p'])}"
        )
    said.append(f"what the stages printed: {out / 'logs'}")
    if (chosen := report.get("chosen")) is not None:
        said.append(f"{chosen['name']} drives by default ({out / BEST}): {chosen['why']}")
    return said


def left_out_of(experiment: Experiment, out: Path) -> LeftOut:
    """What the training stages left out."""
    left = LeftOut()
    for stage in experiment.trained():
        record = json.loads((out / stage / "result.json").read_text())
        for what, causes in record.get("left_out", {}).items():
            for cause, count in causes.items():
                left.add(what, f"{cause} ({stage})", count)
    return left


def success_table(report: dict) -> Table:
    """Closed-loop successes of the report as a table for the terminal."""
    table = Table(title="closed-loop success, unseen seeds (Wilson 95 % interval)")
    table.add_column("suite")
    for arm in report["total"]:
        table.add_column(arm, justify="right")
    rows = {**report["closed_loop"]}
    seeds = {seed for of in report["by_seed"].values() for seed in of}
    if len(seeds) > 1:
        rows["all"] = report["total"]
        for seed in sorted(seeds, key=int):
            rows[f"seed {seed}"] = {arm: of.get(seed) for arm, of in report["by_seed"].items()}
    for name, arms in rows.items():
        table.add_row(name, *(_cell(arms.get(arm)) for arm in report["total"]))
    return table


def _cell(entry: dict | None) -> str:
    if entry is None:
        return "-"
    low, high = (100 * bound for bound in entry["interval"])
    return f"{entry['successes']}/{entry['n']} ({low:.0f}-{high:.0f} %)"


if __name__ == "__main__":
    raise SystemExit(main())

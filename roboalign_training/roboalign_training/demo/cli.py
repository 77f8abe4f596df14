"""`roboalign demo`: runs the stages, shows the table, writes the report."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from roboalign_training.demo.plan import ARMS, DemoConfig
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.fields import add_fields, underscored
from roboalign_training.shared.left_out import LeftOut, add_strict
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import write_fault


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign demo",
        description="Record demonstrations of the simulated arm, learn from them, drive with what "
        "was learnt, and write a report. The same command goes on after an interruption; what is "
        "done is not done again.",
        allow_abbrev=False,
    )
    add_fields(p, DemoConfig)
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when finished, 1 when a stage failed, 130 when it was interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = parser()
    given = vars(options.parse_args(underscored(words, options._option_string_actions)))
    strict = given.pop("strict")
    console = Console()
    # Here, so that help does not wait for torch.
    from roboalign_training.demo.run import StageFailed, run_stages

    try:
        out = run_stages(DemoConfig(**given), console)
    except (RuntimeError, ValueError) as error:  # a stage's command, model or data set; an option
        goes_on = "\nOnce that is mended, the same command goes on from here."
        said = f"{error}{goes_on if isinstance(error, StageFailed) else ''}"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
        return status_of(error)
    except OSError as error:
        if (fault := write_fault(error, words)) is None:
            raise
        console.print(f"roboalign demo: not written: {fault}", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; run the same command again to go on from here")
        return 130
    report = json.loads((out / "report.json").read_text())
    print_whole(console, success_table(report))
    for line in result_lines(out):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    left_out = left_out_of(out)
    console.print(left_out.line(), markup=False, highlight=False, soft_wrap=True)
    return left_out.status(strict)


def result_lines(out: Path) -> list[str]:
    """Whose policy GRPO kept, and where everything stands."""
    result = json.loads((out / "grpo" / "result.json").read_text())
    best, steps = result["best_step"], result["steps"]
    if best == 0:
        kept = "GRPO kept the SFT policy as it was: no step was better on held-out episodes"
    else:
        kept = f"GRPO kept step {best} of {steps if best <= steps else 'before an interruption'}"
    return [kept, f"what the stages printed: {out / 'logs'}"]


def left_out_of(out: Path) -> LeftOut:
    """What the training stages left out."""
    left = LeftOut()
    for stage in ARMS[1:]:
        record = json.loads((out / stage / "result.json").read_text())
        for what, causes in record.get("left_out", {}).items():
            for cause, count in causes.items():
                left.add(what, f"{cause} ({stage})", count)
    return left


def success_table(report: dict) -> Table:
    """Closed-loop successes of the report as a table for the terminal."""
    table = Table(title="closed-loop success, unseen seeds (Wilson 95 % interval)")
    table.add_column("suite")
    for arm in ARMS:
        table.add_column(arm, justify="right")
    for suite, arms in report["closed_loop"].items():
        cells = []
        for arm in ARMS:
            entry = arms[arm]
            low, high = (100 * bound for bound in entry["interval"])
            cells.append(f"{entry['successes']}/{entry['n']} ({low:.0f}-{high:.0f} %)")
        table.add_row(suite, *cells)
    return table


if __name__ == "__main__":
    raise SystemExit(main())

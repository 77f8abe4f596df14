"""`roboalign demo`: runs the stages, shows the table, writes the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from trl import TrlParser

from roboalign_training.demo.plan import ARMS, DemoConfig
from roboalign_training.demo.stages import run_stages


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when finished, 1 when a stage failed, 130 when it was interrupted."""
    (config,) = TrlParser(DemoConfig).parse_args_and_config(
        list(sys.argv[1:] if argv is None else argv)
    )
    console = Console()
    try:
        out = run_stages(config, console)
    except (RuntimeError, ValueError) as error:  # a stage's command, model or data set
        console.print(f"{error}\nRun the same command again to go on from here.", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; run the same command again to go on from here")
        return 130
    report = json.loads((out / "report.json").read_text())
    console.print(success_table(report))
    console.print(f"report: {out / 'report.html'}")
    return 0


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

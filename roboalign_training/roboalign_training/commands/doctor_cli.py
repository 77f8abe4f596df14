"""`roboalign doctor`: a robot contract against the live graph, every fault with its fix."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roboalign_policy.core.contract.contract import Contract, ContractError, load_contract
from roboalign_policy.core.contract.faults import ERROR, WARNING
from roboalign_policy.core.doctor.finding import OK, SEVERITIES, Finding, counted
from roboalign_policy.core.doctor.graph_check import audit_streams, check_graph
from roboalign_policy.core.doctor.stream_audit import StreamAudit, lateness_text
from roboalign_policy.core.host import shared_memory
from roboalign_policy.core.host.facts import read_host_facts
from roboalign_training.shared.exit_status import FAILED, REFUSED
from roboalign_training.shared.outputs import OutputError, add_overwrite, refuse_existing
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import writing

if TYPE_CHECKING:
    from roboalign_policy.core.doctor.graph_snapshot import GraphSnapshot

SCHEMA = "roboalign-doctor/1"
_COLOURS = {OK: "green", WARNING: "yellow", ERROR: "bold red"}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign doctor", description=__doc__)
    p.add_argument("contract", metavar="CONTRACT", help="a path, or a packaged contract's name")
    p.add_argument(
        "--seconds", type=_seconds, default=5.0, help="how long to listen (default: %(default)s)"
    )
    p.add_argument("--namespace", default="", metavar="NS", help="of the robot's topics")
    p.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    add_overwrite(p)
    p.add_argument(
        "--audit", action="store_true", help="show how late, fast and regular every stream is"
    )
    p.add_argument(
        "--clean-shared-memory",
        action="store_true",
        help="first remove what killed nodes left in /dev/shm and no process uses",
    )
    return p


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.5 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0.5 to 3600 seconds")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 where nothing is wrong (warnings allowed); 1 with an error; 2 where contract or options
        cannot be used; 130 when interrupted.
    """
    options = parser().parse_args(argv)
    console, errors = Console(), Console(stderr=True)
    try:
        contract = load_contract(options.contract)
        if options.json is not None:  # rather now than after listening
            refuse_existing(options.json, options.overwrite)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=options.json.parent):
                pass
    except (ContractError, OutputError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"roboalign doctor: --json: {error}", file=sys.stderr)
        return FAILED
    try:
        from roboalign_policy.nodes.clients.graph_probe import GraphProbe
    except ModuleNotFoundError as error:
        print(
            f"roboalign doctor: {error}: source scripts/env.sh, or the set-up file of ROS 2",
            file=sys.stderr,
        )
        return FAILED
    if options.clean_shared_memory:
        freed = shared_memory.remove(shared_memory.abandoned())
        console.print(f"shared memory: {freed / 2**20:.3g} MiB of killed nodes removed")
    # Before listening: what this program itself does is not the robot's load.
    host = read_host_facts()
    try:
        probe = GraphProbe(contract, options.namespace)
    except ValueError as error:
        print(f"roboalign doctor: {error}", file=sys.stderr)
        return REFUSED
    try:
        with probe, errors.status("discovering") as status:
            snapshot = probe.take(options.seconds, lambda text: status.update(escape(text)))
    except KeyboardInterrupt:
        print("roboalign doctor: interrupted", file=sys.stderr)
        return 130
    findings = check_graph(contract, snapshot, host)
    audits = audit_streams(contract, snapshot)
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    console.print(
        f"[bold]{escape(contract.name)}[/] in namespace {escape(snapshot.namespace)}, "
        f"ROS_DOMAIN_ID {escape(domain)}: listened {options.seconds:g} s",
        soft_wrap=True,
    )
    if options.audit and audits:
        show_audit(audits, contract, console)
    show_findings(findings, console)
    if options.json is not None:
        report = make_report(contract, snapshot, findings, audits)
        with writing(options.json, "the report"):
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        console.print(f"report: {escape(str(options.json))}", soft_wrap=True)
    return int(any(finding.severity == ERROR for finding in findings))


def show_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print what is in order as a table, then each fault with its fix, the worst last.

    Fixes are not wrapped, so that commands can be copied.
    """
    table = Table(title="in order", title_justify="left", title_style="bold green", box=None)
    for name in ("check", "of", "found"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        if finding.severity == OK:
            table.add_row(*map(escape, (finding.check, finding.subject, finding.found)))
    if table.row_count:
        print_whole(console, table)
    for finding in findings:
        if finding.severity == OK and finding.fix:
            text = f"  hint for {finding.subject}: {finding.fix}"
            console.print(escape(text), soft_wrap=True, highlight=False)
    for severity in SEVERITIES[1:]:
        for finding in findings:
            if finding.severity == severity:
                _show_fault(finding, console)
    counts = Counter(finding.severity for finding in findings)
    colour = next((_COLOURS[s] for s in reversed(SEVERITIES) if counts[s]), _COLOURS[OK])
    console.print(
        f"\n[{colour}]{counted(counts[ERROR], 'error')}, {counted(counts[WARNING], 'warning')}"
        f"[/], {counts[OK]} in order",
        soft_wrap=True,
    )


def _show_fault(finding: Finding, console: Console) -> None:
    colour = _COLOURS[finding.severity]
    console.print(
        f"\n[{colour}]{finding.severity}[/] [bold]{escape(finding.subject)}[/]: {finding.check}",
        soft_wrap=True,
    )
    for label in ("found", "expected", "fix"):
        text = escape(getattr(finding, label))
        mark = f"[bold]{label:<9}[/]" if label == "fix" else f"[dim]{label:<9}[/]"
        console.print(f"  {mark} {text}", soft_wrap=True, highlight=False)


def show_audit(audits: Sequence[StreamAudit], contract: Contract, console: Console) -> None:
    """Print rate, regularity and lateness of every stream as a table, and lateness in words."""
    table = Table(
        title=f"lateness, ms (a control step is {1e3 / contract.rate_hz:g} ms)",
        title_justify="left",
        title_style="bold",
        box=SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("\nstream", overflow="fold", min_width=max(len(a.key) for a in audits))
    for name in ("\ncount", "\nHz", "period\n50 / 99 %", "longest\ngap", "late\n50 %", "\n95 %",
                 "\n99 %", "\nmax", "steps\nlate"):  # fmt: skip
        table.add_column(name, justify="right", no_wrap=True)
    for a in audits:
        late = (a.late.p50, a.late.p95, a.late.p99, a.late.max)
        table.add_row(
            escape(a.key),
            str(a.count),
            f"{a.rate_hz:.1f}",
            f"{_ms(a.period.p50)} / {_ms(a.period.p99)}",
            _ms(a.longest_gap_s),
            *map(_ms, late),
            "-" if math.isnan(a.steps_late) else _steps(a.steps_late),
        )
    print_whole(console, table)
    for a in audits:
        console.print(escape(lateness_text(a, contract.rate_hz)), soft_wrap=True, highlight=False)
    console.print()


def _steps(steps: float) -> str:
    return f"{steps:.1f}" if abs(steps) < 10_000 else f"{steps:.0e}"


def _ms(seconds: float) -> str:
    """Milliseconds; what a foreign clock makes of them, in short."""
    if math.isnan(seconds):
        return "-"
    return f"{seconds * 1e3:.0f}" if abs(seconds) < 1000 else f"{seconds:.1g} s"


def make_report(
    contract: Contract,
    snapshot: GraphSnapshot,
    findings: Sequence[Finding],
    audits: Sequence[StreamAudit],
) -> dict[str, Any]:
    """Everything as plain data for JSON; durations in s, times in ns of the system's clock."""
    counts = Counter(finding.severity for finding in findings)
    return {
        "schema": SCHEMA,
        "contract": {"name": contract.name, "hash": contract.hash, "rate_hz": contract.rate_hz},
        "namespace": snapshot.namespace,
        "domain": os.environ.get("ROS_DOMAIN_ID") or "0",
        "listened_ns": [snapshot.start_ns, snapshot.end_ns],
        "counts": {severity: counts[severity] for severity in SEVERITIES},
        "findings": [finding.to_dict() for finding in findings],
        "streams": [
            {**audit.to_dict(), "words": lateness_text(audit, contract.rate_hz)}
            for audit in audits
        ],
    }


if __name__ == "__main__":
    sys.exit(main())

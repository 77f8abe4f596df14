"""Fault campaign of the safety gate: many kinds of faults, each many times, on real processes.

Gate and policy_node are the real nodes in processes of their own; a robot made of topics and a
stand-in for its controllers stand around them. Each repeat brings the arm to steady motion, waits
for a random phase, puts the fault in at a recorded instant, and looks at what reached the
controllers: when motion ended, whether the safe action came last, why the gate latched, that the
end of the fault moves nothing, and that ~/reset and ~/enable do.

    python bench/faults.py --out out/bench/faults            # all kinds, about an hour
    python bench/faults.py --kinds camera_dropped,jump --repeats 3
    python bench/faults.py --list

A kind that has been run is not run again (``--redo`` does), so an interrupted campaign goes on
where it was. Exit status 0: all of it held; 1: something did not, see the table and faults.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fault_campaign.campaign import Campaign
from fault_campaign.kind import Kind
from fault_campaign.kinds import KINDS
from fault_campaign.patience import PATIENCE_VARIABLE, patience
from fault_campaign.report import failures, kind_record, machine, save, table
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from roboalign_policy.core.host.facts import free_domains


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign; exit status."""
    options = _options(arguments)
    if options.list:
        for kind in KINDS.values():
            print(f"{kind.name:22} {kind.text}")
        return 0
    kinds = [KINDS[name] for name in options.kinds] if options.kinds else list(KINDS.values())
    os.environ["ROS_DOMAIN_ID"] = str(options.domain)
    os.environ[PATIENCE_VARIABLE] = str(options.patience)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Under nohup, or in the background of a shell, they are ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    (options.out / "kinds").mkdir(parents=True, exist_ok=True)
    console = Console()
    broken = _run(kinds, options, console)
    files = {kind.name: options.out / "kinds" / f"{kind.name}.json" for kind in kinds}
    records = [json.loads(f.read_text(encoding="utf-8")) for f in files.values() if f.exists()]
    failed = failures(records)
    where = {"machine": machine(), "seed": options.seed, "domain": options.domain}
    where["patience"] = patience()
    save(options.out / "faults.json", {**where, "broken": broken, "kinds": records})
    text = table(records)
    (options.out / "faults.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    for what, count in sorted(failed.items()):
        console.print(f"did not hold, {count} times: {what}", markup=False)
    for name, why in broken.items():
        console.print(f"not run: {name}: {why}", markup=False)
    return 1 if failed or broken else 0


def _run(kinds: list[Kind], options: argparse.Namespace, console: Console) -> dict[str, str]:
    """Run what has not been run; kinds that could not be, with the reason."""
    broken: dict[str, str] = {}
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with (
        Progress(*columns, console=console) as progress,
        tempfile.TemporaryDirectory(prefix="faults-") as sockets,
    ):
        campaign = Campaign(options.out / "logs", Path(sockets), options.seed)
        everything = progress.add_task("all", total=len(kinds) * options.repeats)
        for kind in kinds:
            path = options.out / "kinds" / f"{kind.name}.json"
            if not options.redo and _is_done(path, options):
                progress.advance(everything, options.repeats)
                continue
            task = progress.add_task(kind.name, total=options.repeats)
            before, begun_s = os.getloadavg()[0], time.monotonic()

            def advanced(number: int, task: Any = task) -> None:
                progress.update(task, completed=number)
                progress.advance(everything)

            try:
                results = campaign.run(kind, options.repeats, advanced)
            except Exception as error:  # noqa: BLE001 - the other kinds are run all the same
                broken[kind.name] = f"{type(error).__name__}: {error}"
                console.print(f"{kind.name}: {broken[kind.name]}", markup=False)
            else:
                load = [before, os.getloadavg()[0]]
                save(
                    path,
                    kind_record(
                        kind, options.seed, results, campaign.stops, campaign.rebuilt, load
                    ),
                )
                _tell(console, kind, results, time.monotonic() - begun_s)
            progress.update(everything, completed=(kinds.index(kind) + 1) * options.repeats)
            progress.remove_task(task)
    return broken


def _tell(console: Console, kind: Kind, results: list[dict[str, Any]], took_s: float) -> None:
    ends = [r["end_ms"] for r in results if r["end_ms"] is not None]
    failed = sorted({what for r in results for what in r["failed"]})
    end = f"motion ended within {max(ends):.0f} ms" if ends else "motion went on"
    verdict = f"did not hold: {', '.join(failed)}" if failed else "held"
    console.print(
        f"{kind.name}: {len(results)} times, {end}, {took_s:.0f} s, {verdict}", markup=False
    )


def _is_done(path: Path, options: argparse.Namespace) -> bool:
    if not path.exists():
        return False
    record = json.loads(path.read_text(encoding="utf-8"))
    return record["seed"] == options.seed and len(record["repeats"]) >= options.repeats


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"found {', '.join(unknown)}, expected some of {', '.join(KINDS)}"
        )
    return names


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20, help="of each kind")
    parser.add_argument("--kinds", type=_names, default=[], help="names, comma between; all")
    parser.add_argument("--out", type=Path, default=Path("out/bench/faults"))
    parser.add_argument("--seed", type=int, default=0, help="of the phases")
    parser.add_argument("--redo", action="store_true", help="run again what has been run")
    parser.add_argument(
        "--patience",
        type=float,
        default=1.0,
        help="1 to 30: time-outs and bounds so many times longer, for a busy machine",
    )
    parser.add_argument("--list", action="store_true", help="say which kinds there are")
    parser.add_argument(
        "--domain",
        type=int,
        default=free_domains(range(1, 11), 1)[0],
        help="ROS_DOMAIN_ID; by chance a free one of 1 to 10, which the tests leave alone",
    )
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats: found {options.repeats}, expected 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())

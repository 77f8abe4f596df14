"""Damages bags at random places and reads them: no crash, hang, lost part or endless memory.

Half of the cases cut a file off, half flip 1 to 16 bits, over small bags of every storage,
compression and layout, with and without metadata. Each case is read; where that is refused, which
is what should happen, it is recovered, and every message in parts that no damage touched must be
in the new bag. Cases run in a process with an address-space limit and an alarm.

    python bench/bag_fuzz.py --cases 2000 --out out/bench
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bag_damage.bases import KINDS, make_base  # noqa: E402
from bag_damage.case import (  # noqa: E402
    ALTERED,
    FAILURES,
    LIMIT_S,
    REFUSED,
    WHOLE,
    Result,
    run_case,
)

HEADROOM = 768 << 20
"""Bytes of address space that a case may take beyond what the process has to begin with."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the cases.

    Returns:
        0 when none failed.
    """
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("--cases", type=int, default=2000, help="default: 2000")
    p.add_argument("--seed", type=int, default=0, help="default: 0")
    p.add_argument("--out", type=Path, help="folder for bag_fuzz.json")
    p.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = p.parse_args(argv)
    if args.worker:
        work(args.worker, args.seed)
        return 0
    began = time.monotonic()
    results = []
    for result in campaign(range(args.cases), args.seed):
        results.append(result)
        if sys.stderr.isatty():
            print(f"\r{len(results)} of {args.cases}", end="", file=sys.stderr)
    report = table(results)
    print(report)
    print(f"{len(results)} cases in {time.monotonic() - began:.0f} s")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        document = {"seed": args.seed, "cases": [result.to_dict() for result in results]}
        (args.out / "bag_fuzz.json").write_text(json.dumps(document, indent=1) + "\n")
    return int(any(result.outcome in FAILURES for result in results))


def campaign(numbers: Sequence[int], seed: int) -> Iterator[Result]:
    """Runs cases in a process of their own, which is started again where one kills it."""
    with tempfile.TemporaryDirectory(prefix="bag-fuzz-") as folder:
        worker = None
        for number in numbers:
            if worker is None:
                worker = _start(Path(folder), seed)
            worker.stdin.write(f"{number}\n")
            worker.stdin.flush()
            ready, _, _ = select.select([worker.stdout], [], [], 3 * LIMIT_S + 60)
            line = worker.stdout.readline() if ready else ""
            if line:
                yield Result(**json.loads(line))
                continue
            worker.kill()
            status = worker.wait()
            worker = None
            base, cut = _case(number)
            outcome = "crash" if ready else "hang"
            yield Result(number, base, "cut" if cut else "flip", outcome, 0.0, 0.0, 0.0,
                         f"the process ended with {status}")  # fmt: skip
        if worker is not None:
            worker.stdin.close()
            worker.wait(timeout=60)
            worker.stdout.close()


def _start(folder: Path, seed: int) -> subprocess.Popen:
    command = [sys.executable, __file__, "--worker", str(folder), "--seed", str(seed)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _case(number: int) -> tuple[str, bool]:
    """Which bag a case damages, and whether it cuts it off."""
    names = list(KINDS)
    return names[number % len(names)], bool(number // len(names) % 2)


def work(folder: Path, seed: int) -> None:
    """Runs the cases whose numbers come in, one line of JSON each."""
    bases = {}
    for number in map(int, sys.stdin):
        name, cut = _case(number)
        if name not in bases:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
            bases[name] = make_base(name, Path(tempfile.mkdtemp(dir=folder)) / "bag")
        _limit_memory()
        case = Path(tempfile.mkdtemp(dir=folder))
        result = run_case(number, seed, bases[name], cut, case)
        print(json.dumps(result.to_dict()), flush=True)


def _limit_memory() -> None:
    """Limits the address space to what is taken now and HEADROOM."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (taken + HEADROOM, hard))


def table(results: Sequence[Result]) -> str:
    """The outcomes by bag and damage, as text."""
    head = ("bag", "damage", "cases", WHOLE, ALTERED, REFUSED, "failed", "kept %", "worst s")
    rows = [head]
    for name in KINDS:
        for damage in ("cut", "flip"):
            some = [r for r in results if (r.base, r.damage) == (name, damage)]
            if some:
                rows.append((name, damage, *_figures(some)))
    rows.append(("all", "", *_figures(results)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(w) if i < 2 else cell.rjust(w)
                  for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]  # fmt: skip
    lines.append(f"most memory of a process: {max(r.rss_mb for r in results):.0f} MB")
    lines += [
        f"FAILED case {r.number} ({r.base}, {r.damage}): {r.outcome}: {r.detail}"
        for r in results
        if r.outcome in FAILURES
    ]
    return "\n".join(lines)


def _figures(results: Sequence[Result]) -> tuple[str, ...]:
    counts = [sum(r.outcome == outcome for r in results) for outcome in (WHOLE, ALTERED, REFUSED)]
    failed = sum(r.outcome in FAILURES for r in results)
    kept = 100 * sum(r.kept for r in results) / len(results)
    worst = max(r.seconds for r in results)
    return (str(len(results)), *map(str, counts), str(failed), f"{kept:.1f}", f"{worst:.2f}")


if __name__ == "__main__":
    sys.exit(main())

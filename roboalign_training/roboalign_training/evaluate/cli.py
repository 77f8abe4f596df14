"""`roboalign evaluate`: a checkpoint against recordings, or on the arm in closed loop."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from roboalign_training.data.errors import DataError
from roboalign_training.demo.plan import DEVELOPMENT_SEED
from roboalign_training.evaluate.closed_loop import (
    DriveSettings,
    episodes_of_suites,
    run_closed_loop,
    summarise,
)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign evaluate", description=__doc__)
    commands = p.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("policy", type=Path, help="checkpoint folder")
    shared.add_argument("--no-think", action="store_true", help="act without reasoning first")

    opened = commands.add_parser("open-loop", parents=[shared], help="chunks against a data set")
    opened.add_argument("dataset", type=Path, help="data set that no training saw")
    opened.add_argument("--frames", type=int, default=200, help="frames drawn from it")
    opened.add_argument("--seed", type=int, default=0, help="seed of the draw")

    closed = commands.add_parser("closed-loop", parents=[shared], help="drive the simulated arm")
    closed.add_argument(
        "--out", type=Path, required=True, help="folder of results, frames and report.html"
    )
    closed.add_argument("--suites", nargs="+", help="suites; default: all")
    closed.add_argument("--episodes", type=int, default=25, help="episodes a suite")
    closed.add_argument(
        "--first-seed",
        type=int,
        default=DEVELOPMENT_SEED,
        help="of the scenes; the default are development seeds, which no report uses",
    )
    closed.add_argument(
        "--replan-after-steps", type=int, default=0, help="steps of a chunk; 0: all"
    )
    closed.add_argument("--workers", type=int, default=2, help="simulators side by side")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures as JSON; 0 when done, 1 when it cannot be done."""
    args = parser().parse_args(argv)
    try:
        result = _open_loop(args) if args.command == "open-loop" else _closed_loop(args)
    except (DataError, OSError, RuntimeError, ValueError) as error:  # of model, data, driving
        print(f"roboalign evaluate: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=1))
    return 0


def _open_loop(args: argparse.Namespace) -> dict:
    from roboalign_training.evaluate.open_loop import open_loop_of

    return open_loop_of(
        args.policy, args.dataset, args.frames, seed=args.seed, think=not args.no_think
    )


def _closed_loop(args: argparse.Namespace) -> dict:
    from roboalign_policy.sim import SUITES

    chosen = args.suites or list(SUITES)
    if unknown := set(chosen) - set(SUITES):
        raise ValueError(f"suites: found {sorted(unknown)}, expected some of {list(SUITES)}")
    episodes = episodes_of_suites({s: SUITES[s] for s in chosen}, args.episodes, args.first_seed)
    settings = DriveSettings(
        workers=args.workers,
        replan_after_steps=args.replan_after_steps,
        think=not args.no_think,
    )
    from roboalign_training.evaluate.report import write_closed_loop_report

    result = summarise(run_closed_loop(args.policy, episodes, args.out, settings))
    page = write_closed_loop_report(args.out, args.policy)
    return {**result, "report": str(page)}

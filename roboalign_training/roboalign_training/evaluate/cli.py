"""`roboalign evaluate`: a checkpoint against recordings, or on the arm in closed loop."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from roboalign_policy.core.drive.thoughts import ALWAYS, EVERY_N, WHEN_FULFILLED
from roboalign_training.evaluate.closed_loop import (
    REPORT,
    RESULTS,
    DrivingOptions,
    episodes_of_suites,
    run_closed_loop,
    summarise,
)
from roboalign_training.evaluate.seeds import DEVELOPMENT_SEED
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.old_names import add_old_option, add_old_words, take_old_words
from roboalign_training.shared.outputs import add_overwrite, read_record
from roboalign_training.shared.run_layout import RUN
from roboalign_training.shared.suggestions import did_you_mean
from roboalign_training.shared.write_errors import write_fault


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign evaluate", description=__doc__)
    commands = p.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--policy", metavar="FOLDER", help="checkpoint folder")
    shared.add_argument("--no-think", action="store_true", help="act without reasoning first")
    shared.add_argument(
        "--decoder",
        choices=("auto", "fast", "flow"),
        default="auto",
        help="tokens or action head, where a policy has both (default: as its folder says)",
    )
    add_old_words(shared)

    opened = commands.add_parser("open-loop", parents=[shared], help="chunks against a data set")
    opened.add_argument("--dataset", metavar="FOLDER", help="data set that no training saw")
    opened.add_argument(
        "--frames", type=int, default=200, help="frames drawn from it (default: %(default)s)"
    )
    opened.add_argument(
        "--seed", type=int, default=0, help="seed of the draw (default: %(default)s)"
    )

    closed = commands.add_parser("closed-loop", parents=[shared], help="drive the simulated arm")
    closed.add_argument(
        "--out", type=Path, required=True, help="folder of results, frames and report.html"
    )
    closed.add_argument("--suites", nargs="+", metavar="SUITE", help="suites; default: all")
    closed.add_argument(
        "--episodes", type=int, default=25, help="episodes a suite (default: %(default)s)"
    )
    closed.add_argument(
        "--seed",
        type=int,
        default=DEVELOPMENT_SEED,
        help="of the first scene; the default are development seeds, which no report uses",
    )
    add_old_option(closed, "--first-seed", "--seed", type=int, dest="seed")
    closed.add_argument(
        "--replan-after-steps",
        type=int,
        default=0,
        help="steps of a chunk; 0: as many as the policy says, else all (default: %(default)s)",
    )
    closed.add_argument(
        "--workers", type=int, default=2, help="simulators side by side (default: %(default)s)"
    )
    closed.add_argument(
        "--reasoning",
        choices=(ALWAYS, EVERY_N, WHEN_FULFILLED),
        default=ALWAYS,
        help="how long a thought is kept (default: %(default)s: for one chunk)",
    )
    closed.add_argument(
        "--reasoning-chunks",
        type=int,
        default=2,
        help="every_n: chunks that one thought serves (default: %(default)s)",
    )
    add_overwrite(closed)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate and print the figures as JSON.

    Returns:
        0 when done; 1 when it cannot be done; 2 when policy, data set or options cannot be used;
        130 after ctrl-C.
    """
    options = parser()
    args = options.parse_args(argv)
    names = ("policy", "dataset") if args.command == "open-loop" else ("policy",)
    take_old_words(options, args, names)
    try:
        result = _open_loop(args) if args.command == "open-loop" else _closed_loop(args)
    except OSError as error:
        fault = write_fault(error, argv or ()) or str(error)
        print(f"roboalign evaluate: {fault}", file=sys.stderr)
        return status_of(error)
    except (RuntimeError, ValueError) as error:  # of model, data, driving
        print(f"roboalign evaluate: {error}", file=sys.stderr)
        return status_of(error)
    except KeyboardInterrupt:
        print("roboalign evaluate: stopped: the same command goes on", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=1))
    return 0


def _open_loop(args: argparse.Namespace) -> dict:
    from roboalign_training.evaluate.open_loop import open_loop_of

    return open_loop_of(
        Path(args.policy),
        Path(args.dataset),
        args.frames,
        seed=args.seed,
        think=not args.no_think,
        decoder=args.decoder,
    )


def _closed_loop(args: argparse.Namespace) -> dict:
    from roboalign_policy.sim import SUITES

    chosen = args.suites or list(SUITES)
    if unknown := sorted(set(chosen) - set(SUITES)):
        near = did_you_mean(unknown[0], SUITES)
        raise ValueError(f"suites: found {unknown}, expected some of {list(SUITES)}{near}")
    for name in ("episodes", "workers"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name}: found {getattr(args, name)}, expected at least 1")
    episodes = episodes_of_suites({s: SUITES[s] for s in chosen}, args.episodes, args.seed)
    if args.no_think and args.reasoning != ALWAYS:
        raise ValueError(f"--reasoning: found {args.reasoning}, expected none with --no-think")
    settings = DrivingOptions(
        workers=args.workers,
        replan_after_steps=args.replan_after_steps,
        think=not args.no_think,
        decoder=args.decoder,
        reasoning=args.reasoning,
        reasoning_chunks=args.reasoning_chunks,
    )
    from roboalign_training.evaluate.report import write_closed_loop_report

    records = run_closed_loop(
        Path(args.policy), episodes, args.out, settings, overwrite=args.overwrite
    )
    page = args.out / REPORT
    if not page.is_file() or page.stat().st_mtime_ns < (args.out / RESULTS).stat().st_mtime_ns:
        page = write_closed_loop_report(args.out, Path(args.policy))
    run = read_record(args.out / RUN) or {}
    steps = {key: run[key] for key in ("chunk_steps",) if key in run}  # not in older ones
    return {**summarise(records), **steps, "report": str(page)}

"""`roboalign import`: a LeRobot data set, v2.1 or v3.0, to a data set."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from roboalign_policy.core.contract.contract import ContractError, load_contract
from roboalign_policy.core.instruction import instruction_fault
from roboalign_training.bags.errors import DataError, OptionError
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.lerobot.importing import Imported, import_contract, import_dataset
from roboalign_training.lerobot.progress import frame_progress, say_not_written
from roboalign_training.lerobot.source import open_source
from roboalign_training.lerobot.texts import text_fault
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.left_out import add_strict
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.resumable import say_stopped


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign import",
        description="Turn a LeRobot data set (v2.1 or v3.0) into a data set, or add it to one. "
        "Episodes that the data set holds already are not read again, so the same command "
        "finishes an interrupted run.",
    )
    p.add_argument("source", type=Path, help="folder of the LeRobot data set (the one with meta/)")
    p.add_argument("--out", required=True, type=Path, help="folder of the data set")
    p.add_argument(
        "--contract", help="contract: a file or a packaged name; default: the one in the source"
    )
    p.add_argument(
        "--map",
        nargs="+",
        action="extend",
        default=[],
        metavar="FEATURE=KEY",
        help="what stands for what, e.g. observation.images.wrist=image.hand",
    )
    p.add_argument(
        "--rename",
        nargs="+",
        action="extend",
        default=[],
        metavar="[FEATURE:]THEIRS=OURS",
        help="dimensions with other names in the contract, e.g. j0=shoulder_pan; one without a "
        "name of its own by its place, from 0 on, e.g. 6=gripper",
    )
    p.add_argument(
        "--gain",
        nargs="+",
        action="extend",
        default=[],
        metavar="OURS=GAIN[:OFFSET]",
        help="dimensions in other units there: ours = theirs * gain + offset, in state and "
        "action, e.g. shoulder_pan=0.0174533",
    )
    p.add_argument("--instruction", help="what was asked for; default: the episode's task")
    p.add_argument("--min-frames", type=int, help="least frames; default: half a chunk")
    p.add_argument(
        "--overwrite",
        action="store_true",
        help="replace episodes that were imported before with other options or from other files; "
        "those that are not fit any more are removed",
    )
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 when every episode was taken or left out by the rules; 1 when one could not be read; 2
        when source, options and data set do not fit; 3 with --strict when something was left out;
        130 after ctrl-C.
    """
    args = parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        contract = load_contract(args.contract) if args.contract else None
        options = {
            "maps": _pairs(args.map, "--map"),
            "renames": _pairs(args.rename, "--rename", many=True),
            "gains": _gains(args.gain),
            "recipe": _recipe(args),
        }
        with console.status(f"reading {escape(str(args.source))}"):
            source = open_source(args.source)
        contract = import_contract(source, contract)
        total = source.frames * max(1, len(contract.images))
        with frame_progress(console, {"import": total}) as (on_frame,):
            done = import_dataset(
                source,
                args.out,
                contract,
                **options,
                overwrite=args.overwrite,
                on_frame=on_frame,
            )
    except (DataError, ContractError, OutputError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return status_of(error)
    except OSError as error:  # a full disk, a folder that may not be written
        return say_not_written(console, args.out, error)
    except KeyboardInterrupt:
        return say_stopped(console)
    _report(args, done, console)
    return 1 if done.failed else done.left_out.status(args.strict)


def _recipe(args: argparse.Namespace) -> Recipe | None:
    """The rules that were given, or None."""
    given = {"instruction": args.instruction, "min_frames": args.min_frames}
    given = {key: value for key, value in given.items() if value is not None}
    if args.instruction is not None:
        fault = text_fault(args.instruction) or instruction_fault(args.instruction)
        if fault:
            raise OptionError("command line", f"--instruction: {fault}")
    try:
        return Recipe(**given) if given else None
    except ValueError as error:
        raise OptionError("command line", str(error)) from error


def _pairs(texts: Sequence[str], option: str, many: bool = False) -> dict[str, str]:
    """`A=B` texts as a dictionary; `many` A may have the same B."""
    found: dict[str, str] = {}
    for text in texts:
        left, sign, right = text.partition("=")
        if not (left and sign and right):
            raise OptionError("command line", f"{option}: found {text!r}, expected LEFT=RIGHT")
        if left in found or (right in found.values() and not many):
            raise OptionError("command line", f"{option}: {text!r} says something twice")
        found[left] = right
    return found


def _gains(texts: Sequence[str]) -> dict[str, tuple[float, float]]:
    """`NAME=GAIN[:OFFSET]` texts as a dictionary."""
    found = {}
    for name, numbers in _pairs(texts, "--gain", many=True).items():
        gain, _, offset = numbers.partition(":")
        try:
            found[name] = (float(gain), float(offset or 0.0))
        except ValueError:
            found[name] = (0.0, 0.0)
        if not (math.isfinite(sum(found[name])) and found[name][0]):
            raise OptionError(
                "command line", f"--gain {name}: found {numbers!r}, expected GAIN or GAIN:OFFSET"
            )
    return found


def _report(args: argparse.Namespace, done: Imported, console: Console) -> None:
    """Prints what came of it."""
    for note in done.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    for entry in (*done.out_before, *done.skipped):
        text = escape(f"{entry['id']}: {entry['reason']}")
        console.print(f"[yellow]left out:[/] {text}", soft_wrap=True)
    for text in done.failed:
        console.print(f"[red]not read:[/] {escape(text)}", soft_wrap=True)
    taken = ", ".join(f"{key} from {feature}" for key, feature in done.fmap.features.items())
    print(f"taken: {taken}")
    if done.fmap.unused:
        print(f"not taken: {', '.join(done.fmap.unused)}")
    print(
        f"{args.out}: {len(done.index.episodes)} episodes, {done.index.frames} frames "
        f"({len(done.added)} new episodes, {done.known} known before)"
    )
    print(done.left_out.line())


if __name__ == "__main__":
    sys.exit(main())

"""`roboalign export`: a data set to a LeRobot data set v3.0."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from roboalign_training.data.index import load_index
from roboalign_training.images.video import CODECS
from roboalign_training.lerobot.export import export_dataset
from roboalign_training.lerobot.layout import PNG
from roboalign_training.lerobot.progress import frame_progress, say_not_written
from roboalign_training.shared.exit_status import status_of
from roboalign_training.shared.left_out import add_strict
from roboalign_training.shared.resumable import say_stopped


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign export",
        description="Write a data set as a LeRobot data set v3.0. Contract, hashes and frame "
        "times travel along, so that `roboalign import` gives the same data set back. The same "
        "command finishes an interrupted run.",
    )
    p.add_argument("dataset", type=Path, help="folder of the data set")
    p.add_argument("--out", required=True, type=Path, help="folder of the LeRobot data set")
    p.add_argument(
        "--images",
        choices=[*CODECS, PNG],
        default="h264",
        help="videos (h264, av1), or pictures in the data files, bit for bit (png); default h264",
    )
    defaults = ", ".join(f"{name} {codec.crf}" for name, codec in CODECS.items())
    p.add_argument(
        "--crf", type=int, help=f"quality of videos, lower is better; default: {defaults}"
    )
    p.add_argument(
        "--overwrite",
        action="store_true",
        help="replace another export that is at --out, or one that lacks files, once the new one "
        "is done; not where files of somebody else are in it",
    )
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0 on success, also where the same export is there; 1 on an error; 2 when data set, options
        and --out do not fit; 3 with --strict when something was left out; 130 after ctrl-C.
    """
    args = parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        index = load_index(args.dataset)
        streams = len(index.contract.images)
        kinds = 1 if args.images == PNG else 1 + streams
        totals = {"episodes": index.frames * streams, "files": index.frames * kinds}
        with frame_progress(console, totals) as (on_frame, on_filed):
            done = export_dataset(
                args.dataset,
                args.out,
                images=args.images,
                crf=args.crf,
                overwrite=args.overwrite,
                on_frame=on_frame,
                on_filed=on_filed,
            )
    except ValueError as error:  # of data set, options, place
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        return status_of(error)
    except OSError as error:  # a full disk, a folder that may not be written
        return say_not_written(console, args.out, error)
    except KeyboardInterrupt:
        return say_stopped(console)
    for note in done.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)
    state = " (the same export was there)" if done.existed else ""
    print(f"{args.out}: {done.episodes} episodes, {done.frames} frames{state}")
    print(done.left_out.line())
    return done.left_out.status(args.strict)


if __name__ == "__main__":
    sys.exit(main())

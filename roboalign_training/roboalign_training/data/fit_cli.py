"""`roboalign fit-tokenizer`: statistics and FAST tokenizer of a data set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from roboalign_policy.fast.errors import FastError
from roboalign_training.data.fit import fit_dataset, fitted_before
from roboalign_training.shared.exit_status import REFUSED, status_of
from roboalign_training.shared.left_out import LeftOut, add_strict
from roboalign_training.shared.whole_lines import print_whole
from roboalign_training.shared.write_errors import write_fault


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign fit-tokenizer",
        description="Compute the statistics of a data set and fit a FAST tokenizer to its "
        "normalised action chunks. Writes stats.json and fast/ into the data set.",
    )
    p.add_argument("dataset", type=Path, help="folder of the data set")
    p.add_argument("--vocab-size", type=int, default=1024, help="most tokens (default 1024)")
    p.add_argument("--scale", type=float, default=10.0, help="resolution, see docs (default 10)")
    p.add_argument("--held-out", type=float, default=0.0, help="share of episodes not looked at")
    p.add_argument("--seed", type=int, default=0, help="seed of the held-out share")
    p.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a tokenizer of other options, or of the data before episodes were added",
    )
    add_strict(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        0; 1 when the data are at fault; 2 when the options are, or there is no data set; with
        --strict 3 when chunks were left out.
    """
    args = parser().parse_args(argv)
    console, errors = Console(), Console(stderr=True)
    options = {
        "vocab_size": args.vocab_size,
        "scale": args.scale,
        "held_out": args.held_out,
        "seed": args.seed,
    }
    try:
        before = fitted_before(args.dataset, options, overwrite=args.overwrite)
        with errors.status("fitting statistics and tokenizer"):
            found = before or fit_dataset(args.dataset, **options, overwrite=args.overwrite)
    except FastError as error:
        said = f"--vocab-size {args.vocab_size}, --scale {args.scale:g}: {error}"
        errors.print(f"[red]error:[/] {escape(said)}", soft_wrap=True)
        return REFUSED
    except (ValueError, OSError) as error:
        fault = write_fault(error, [str(args.dataset)]) if isinstance(error, OSError) else None
        errors.print(f"[red]error:[/] {escape(fault or str(error))}", soft_wrap=True)
        return status_of(error)
    if before:
        console.print(f"{args.dataset}: was fitted with these options before; nothing was changed")
    tokens = found["tokens_per_chunk"]
    console.print(
        f"{args.dataset}: {found['chunks']} chunks, {found['vocab_size']} tokens "
        f"({found['tokens_used']} used), {tokens['mean']:.2f} tokens a chunk "
        f"(95 %: {tokens['p95']:g}, most: {tokens['max']})",
        soft_wrap=True,
    )
    table = Table(title="what decoding gives back", title_justify="left")
    for name in ("dimension", "unit", "mean error", "greatest error"):
        table.add_column(name)
    for name, row in found["reconstruction"].items():
        table.add_row(name, row["unit"], f"{row['mean']:.4f}", f"{row['max']:.4f}")
    print_whole(console, table)
    left = LeftOut()
    left.add("chunk", "a frame is missing within it", found.get("broken_chunks", 0))
    console.print(left.line(), soft_wrap=True)
    return left.status(args.strict)


if __name__ == "__main__":
    sys.exit(main())

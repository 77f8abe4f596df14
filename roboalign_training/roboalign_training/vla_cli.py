"""`roboalign vla`: the command line of vla.py; no torch before it is needed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from roboalign_training.learning.training_cli import run_main
from roboalign_training.learning.training_options import make_parser


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    return make_parser("vla")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_main("vla", argv)

#!/usr/bin/env python3
"""Runs a command beside busy loops: `python3 scripts/beside_busy_loops.py 3 make test`.

Each loop is a process that computes without end. They end with the command, or with this program.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys


def _compute() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        sum(range(100_000))


def main() -> int:
    """Start the loops, run the command, end the loops; the command's status."""
    if len(sys.argv) < 3 or not sys.argv[1].isdecimal():
        print("usage: beside_busy_loops.py NUMBER COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    loops = [
        multiprocessing.Process(target=_compute, daemon=True) for _ in range(int(sys.argv[1]))
    ]
    for loop in loops:
        loop.start()
    try:
        return subprocess.run(sys.argv[2:], check=False).returncode
    finally:
        for loop in loops:
            loop.kill()


if __name__ == "__main__":
    sys.exit(main())

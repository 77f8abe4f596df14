"""Runs the steps of a set-up so that an interrupted or outdated one is mended by running it again.

A step leaves a stamp when it has finished. The stamp holds a hash of the step's inputs and of all
steps before it, so a step is done again when it was interrupted, when its inputs changed, or when
an earlier step was done again. Runs on the standard library alone.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL_LINES = 25  # of a failed command's output, shown with the error


class SetupError(Exception):
    """A fault of the set-up that its user can mend; the text says how."""


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: file name of stamp and log, unique among the steps.
        title: what a person reads while it runs.
        inputs: everything the result depends on: versions, paths, contents of files.
        action: does the work; it must cope with what an interrupted run of itself left behind.
    """

    name: str
    title: str
    inputs: tuple[str, ...]
    action: Callable[[], None]


def step_keys(steps: Sequence[Step]) -> list[str]:
    """The stamp of each step: a SHA-256 (hex) over the inputs of it and of the steps before it."""
    keys: list[str] = []
    for step in steps:
        parts = [keys[-1] if keys else "", step.name, *step.inputs]
        keys.append(hashlib.sha256("\0".join(parts).encode()).hexdigest())
    return keys


def pending_from(steps: Sequence[Step], stamps: Path) -> int:
    """Index of the first step to do; ``len(steps)`` when all are done."""
    for index, (step, key) in enumerate(zip(steps, step_keys(steps), strict=True)):
        stamp = stamps / step.name
        if not stamp.is_file() or stamp.read_text() != key:
            return index
    return len(steps)


def run_steps(steps: Sequence[Step], stamps: Path, say: Callable[[str], None] = print) -> int:
    """Does what is left to do, in order.

    Args:
        steps: all steps of the set-up.
        stamps: folder of the stamps; the first step may remove it with all that it speaks of.
        say: takes one line of progress.

    Returns:
        The number of steps that were done.

    Raises:
        SetupError: from a step; the steps before it keep their stamps.
    """
    first, keys = pending_from(steps, stamps), step_keys(steps)
    for step in steps[first:]:
        (stamps / step.name).unlink(missing_ok=True)
    for index in range(first, len(steps)):
        step, start = steps[index], time.monotonic()
        say(f"[{index + 1}/{len(steps)}] {step.title}")
        step.action()
        stamps.mkdir(parents=True, exist_ok=True)
        (stamps / step.name).write_text(keys[index])
        say(f"[{index + 1}/{len(steps)}] {step.title}: done in {time.monotonic() - start:.0f} s")
    return len(steps) - first


def run_logged(
    command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, what: str = ""
) -> None:
    """Runs a command with its output in a log, and a running clock where a person watches.

    Args:
        command: program and arguments.
        log: file that the output is appended to.
        env: whole environment of the command; None takes over the present one.
        what: names the command in an error; default: its first words.

    Raises:
        SetupError: if it fails, with the end of its output.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    start, watched = time.monotonic(), sys.stdout.isatty()
    with log.open("ab") as output:
        begin = output.tell()
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    if watched:
                        print(f"\r      {time.monotonic() - start:4.0f} s ", end="", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            if watched:
                print("\r\033[K", end="", flush=True)
    if status != 0:
        name = what or " ".join(command[:4])
        lines = log.read_bytes()[begin:].decode(errors="replace").splitlines()
        raise SetupError(
            "\n".join(
                [
                    f"{name} failed with status {status}; its last lines:",
                    *(f"    {line}" for line in lines[-TAIL_LINES:]),
                    f"The whole output is in {log}. Run it again to go on from here.",
                ]
            )
        )

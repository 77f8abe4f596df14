"""Appends finished bags to a data set in a process of its own, away from every callback."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LAST_LINES = 5
GRACE_S = 30.0


def convert_command(dataset: Path, contract: Path, bags: Sequence[Path]) -> list[str]:
    """Command that appends bags to a data set; the offline package is started, never imported."""
    convert = [sys.executable, "-m", "roboalign_training.cli", "convert", "--append"]
    return [*convert, "--contract", str(contract), "--out", str(dataset), *map(str, bags)]


@dataclass(frozen=True)
class AppendResult:
    """How one run went: the bags, and the fault (empty when they are in the data set)."""

    bags: tuple[Path, ...]
    fault: str


class DatasetAppender:
    """A thread that runs the conversion for whatever bags have come since the last run.

    Attributes:
        failed: bags that could not be appended so far; they stay where they are.
    """

    def __init__(
        self,
        make_command: Callable[[Sequence[Path]], list[str]],
        report: Callable[[AppendResult], None],
    ) -> None:
        """Start the thread.

        Args:
            make_command: bags -> the command that appends them.
            report: called from the thread after each run.
        """
        self.failed = 0
        self._make_command, self._report = make_command, report
        self._bags: list[Path] = []
        self._closing = False
        self._process: subprocess.Popen | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="dataset_appender", daemon=True)
        self._thread.start()

    def add(self, bag: Path) -> None:
        """Append a bag soon."""
        with self._changed:
            self._bags.append(bag)
            self._changed.notify()

    def close(self) -> tuple[Path, ...]:
        """Let the present run end (at most ``GRACE_S``) and stop.

        Returns the bags that were not begun.
        """
        with self._changed:
            self._closing = True
            left, self._bags = tuple(self._bags), []
            self._changed.notify()
        self._thread.join(GRACE_S)
        if self._thread.is_alive() and self._process is not None:
            self._process.terminate()
            self._thread.join()
        return left

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._bags or self._closing)
                if self._closing:
                    return
                bags, self._bags = tuple(self._bags), []
            fault = self._append(bags)
            self.failed += len(bags) if fault else 0
            self._report(AppendResult(bags, fault))

    def _append(self, bags: tuple[Path, ...]) -> str:
        """Run the conversion; returns its last words when it failed."""
        command = self._make_command(bags)
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        except OSError as error:
            return f"{command[0]}: {error.strerror}"
        output, _ = self._process.communicate()
        if self._process.returncode == 0:
            return ""
        last = " | ".join(output.strip().splitlines()[-LAST_LINES:])
        return f"exit code {self._process.returncode}: {last}"

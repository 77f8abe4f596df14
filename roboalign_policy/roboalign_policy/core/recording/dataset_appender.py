"""Appends finished bags to a data set in a process of its own, away from every callback.

The process is in a session of its own: ctrl-C in the terminal, its closing and the death of who
started it do not reach it, so that an episode is in the data set or it is not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LAST_LINES = 5
GRACE_S = 150.0  # below the sigterm_timeout of record.launch.py


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
    """A thread that runs the conversion for whatever bags have come since the last run."""

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
        self._busy = False
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

    @property
    def busy(self) -> bool:
        """Whether bags are being appended or wait for it."""
        with self._changed:
            return self._busy or bool(self._bags)

    def close(self, grace_s: float = GRACE_S) -> tuple[Path, ...]:
        """Append what has come, and stop; returns the bags that were not begun in time.

        Args:
            grace_s: s; how long that may take; then the present run is told to end.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(grace_s)
        with self._changed:
            left, self._bags = tuple(self._bags), []
        if self._thread.is_alive() and self._process is not None:
            self._process.terminate()
            self._thread.join()
        return left

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._bags or self._closing)
                if not self._bags:
                    return
                bags, self._bags = tuple(self._bags), []
                self._busy = True
            fault = self._append(bags)
            self._report(AppendResult(bags, fault))
            with self._changed:
                self._busy = False

    def _append(self, bags: tuple[Path, ...]) -> str:
        """Run the conversion; returns its last words when it failed."""
        command = self._make_command(bags)
        # A file, no pipe: should this process be killed, the run goes on to its end all the same.
        with tempfile.TemporaryFile() as output:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                return f"{command[0]}: {error.strerror}"
            if (code := self._process.wait()) == 0:
                return ""
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
        return f"exit code {code}: {' | '.join(lines[-LAST_LINES:])}"

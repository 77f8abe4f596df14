"""One start of nodes and one end of them, of those that `ends.py` measures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from end_processes import Watcher, starter

from roboalign_policy.core.host.shared_memory import abandoned, files_of, remove

END_S = 60.0


class Trial:
    """One start and one end.

    Attributes:
        folder: of this trial.
        watcher: what the graph tells.
        rng: of phases.
        pids: of the nodes.
    """

    def __init__(
        self, commands: dict[str, list[str]], folder: Path, watcher: Watcher, rng: Any
    ) -> None:
        """Start nodes, by a process of their own that can be killed."""
        self.folder, self.watcher, self.rng = folder, watcher, rng
        watcher.forget()
        self._starter = starter(commands, folder)
        self.pids = json.loads(self._starter.stdout.readline())

    def log(self, name: str = "") -> str:
        """What the nodes said."""
        return "".join(
            p.read_text(errors="replace") for p in sorted(self.folder.glob(f"{name}*.log"))
        )

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        """Wait for a condition while the watcher listens.

        Raises:
            TimeoutError: it does not come true.
        """
        until_s = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until_s:
                raise TimeoutError(f"waited {seconds:g} s for {what}: {self.log()[-1500:]}")
            self.watcher.spin(0.05)

    def end(self, way: str) -> str:
        """End it one way; what was not clean, empty where all was."""
        number = getattr(signal, way.rpartition(" ")[2])
        # Segments: ports are shared with all other processes of the machine, which come and go.
        shared = {
            path
            for pid in self.pids.values()
            for path in files_of(pid)
            if "_port" not in path.name
        }
        if way.startswith("starter"):
            self._starter.send_signal(number)
        else:
            for pid in self.pids.values():
                os.kill(pid, number)
        statuses: dict[str, int] = {}
        try:
            self.until(lambda: not any(map(runs, self.pids.values())), END_S, "the end")
        except TimeoutError:
            left = [name for name, pid in self.pids.items() if runs(pid)]
            return f"{', '.join(left)} still ran after {END_S:g} s"
        finally:
            self.close()
        if not way.startswith("starter"):
            statuses = json.loads((self.folder / "statuses.json").read_text())
        wrong = [f"{name} ended with {code}" for name, code in statuses.items() if code]
        if "Traceback" in (log := self.log()):
            wrong.append("traceback: " + log.strip().rpartition("\n")[2])
        if left := abandoned(shared):
            wrong.append(f"left in shared memory: {', '.join(sorted(p.name for p in left))}")
            remove(left)
        return "; ".join(wrong)

    def close(self) -> None:
        """Leave nothing running."""
        if any(map(runs, self.pids.values())):
            for pid in filter(runs, self.pids.values()):
                os.kill(pid, signal.SIGKILL)
        try:
            self._starter.wait(5.0)
        except subprocess.TimeoutExpired:
            self._starter.kill()
            self._starter.wait()


def runs(pid: int) -> bool:
    """True while the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

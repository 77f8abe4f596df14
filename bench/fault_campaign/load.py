"""What else the machine has to do: processes that keep every core busy."""

from __future__ import annotations

import os
import subprocess
import sys

#: Busy processes a core: the suite's own share of a core falls to about a tenth.
PER_CORE = 10


class Load:
    """Busy loops; none until `start`."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen] = []

    def start(self) -> None:
        """Start PER_CORE busy processes for every core."""
        self.stop()
        for _ in range(PER_CORE * (os.cpu_count() or 1)):
            command = [sys.executable, "-S", "-c", "while True: pass"]
            self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()

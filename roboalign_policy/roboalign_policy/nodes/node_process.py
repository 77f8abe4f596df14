"""Starts a node of this suite as a process of its own and ends it in order.

For demo, tests and `roboalign up`. A node whose starter dies ends by itself (`core.host.ending`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from roboalign_policy.core.host.ending import ENDS_WITH, ends_with_this_process

LAST_BYTES = 4000


class NodeProcessError(RuntimeError):
    """A node that ended when it should run; the text holds its last words."""


class NodeProcess:
    """One running node.

    Attributes:
        name: stem of its module.
        log: file with everything it printed.
    """

    def __init__(
        self,
        module: str,
        parameters: Mapping[str, bool | int | float | str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        namespace: str = "",
    ):
        """Start it.

        Args:
            module: e.g. ``roboalign_policy.nodes.recorder.recorder_node``.
            parameters: ROS parameters that differ from their defaults.
            log: file for its output; made new.
            env: variables to set besides those of this process, e.g. ``ROS_DOMAIN_ID``.
            namespace: of the node; empty: none.
        """
        self.name, self.log = module.rsplit(".", 1)[-1], log
        command = [sys.executable, "-m", module, "--ros-args"]
        if namespace:
            command += ["-r", f"__ns:=/{namespace.strip('/')}"]
        for key, value in parameters.items():
            command += ["-p", f"{key}:={_shown(value)}"]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            # A group of its own: ctrl-C in the terminal reaches the caller, which ends the nodes
            # in its order.
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, ENDS_WITH: ends_with_this_process(), **(env or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            NodeProcessError: it has ended.
        """
        if (code := self._process.poll()) is not None:
            raise NodeProcessError(
                f"{self.name} ended with code {code}; {self.log} ends with:\n{self.tail()}"
            )

    def tail(self) -> str:
        """The last lines that it printed."""
        return self.log.read_bytes()[-LAST_BYTES:].decode(errors="replace").strip()

    def kill(self) -> None:
        """End it at once (SIGKILL), as a crash or a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self, timeout_s: float = 20.0, first: int = signal.SIGINT) -> int:
        """End it by the signal ``first``, then SIGTERM, then SIGKILL, each after ``timeout_s``.

        Returns its exit code.
        """
        for number in (first, signal.SIGTERM):
            if self._process.poll() is None:
                self._process.send_signal(number)
            try:
                return self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                continue
        self.kill()
        return self._process.returncode

    def __enter__(self) -> NodeProcess:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def _shown(value: bool | int | float | str) -> str:
    """A value as the ROS command line's YAML reads it back with the same type."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)

"""A line of JSON to a process of the campaign and one back: what to do, and when it was done.

Faults must not travel over the topics that they disturb, so this is beside ROS. Times are those of
``time.monotonic_ns``, which all processes of one machine share.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Environment variable that names the socket of a process.
SOCKET_VARIABLE = "FAULT_CAMPAIGN_SOCKET"


class ControlError(RuntimeError):
    """A process of the campaign does not answer, or answers with an error."""


def serve(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Answer requests in a thread of their own, on the socket that the environment names.

    Args:
        handle: takes a request, gives the answer; what it raises goes to the caller as text.
    """
    path = Path(os.environ[SOCKET_VARIABLE])
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen(1)
    threading.Thread(target=_serve, args=(server, handle), name="control", daemon=True).start()


def _serve(server: socket.socket, handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    while True:
        connection, _ = server.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as lines:
            for line in lines:
                try:
                    answer = handle(json.loads(line))
                except Exception as error:  # noqa: BLE001 - the caller raises it
                    answer = {"error": f"{type(error).__name__}: {error}"}
                lines.write(json.dumps(answer) + "\n")
                lines.flush()


class Control:
    """The campaign's end of one process."""

    def __init__(self, path: Path) -> None:
        """Not connected yet; ``path``: of the socket."""
        self.path = path
        self._socket: socket.socket | None = None
        self._lines: Any = None

    def connect(self, timeout_s: float, alive: Callable[[], None]) -> None:
        """Wait until the process listens.

        Args:
            timeout_s: s; how long.
            alive: raises where the process has ended.

        Raises:
            ControlError: it does not.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            alive()
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.connect(str(self.path))
                break
            except OSError:
                self._socket.close()
                if time.monotonic() > end_s:
                    raise ControlError(f"{self.path.name}: not up after {timeout_s:g} s") from None
                time.sleep(0.02)
        self._socket.settimeout(20.0)
        self._lines = self._socket.makefile("rw", encoding="utf-8")

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises:
            ControlError: there is none, or it is an error.
        """
        try:
            self._lines.write(json.dumps(request) + "\n")
            self._lines.flush()
            line = self._lines.readline()
        except OSError as error:
            raise ControlError(f"{self.path.name}: {error}") from error
        if not line:
            raise ControlError(f"{self.path.name}: ended")
        answer = json.loads(line)
        if "error" in answer:
            raise ControlError(f"{self.path.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Disconnect and remove the socket's file: call it before the process is started anew."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.path.unlink(missing_ok=True)

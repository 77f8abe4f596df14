"""When a process is to end: ctrl-C, SIGTERM, a closed terminal, or the death of who started it.

Only the standard library: nothing here waits for ROS.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import MutableMapping
from pathlib import Path

#: Environment variable that names the process whose death ends this one: ``parent``, ``PID`` or
#: ``PID:START`` (its start time, so that a number that is given out again is no other process).
#: Whoever starts nodes for their own sake sets it; unset, a node outlives who started it, as it
#: must under nohup, setsid, a service manager or in a container.
ENDS_WITH = "ROBOALIGN_ENDS_WITH"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.25  # only where the kernel does not tell of a process's end (pidfd, Linux 5.3)
_START_FIELD = 19  # of /proc/PID/stat after the name. Source: proc(5), field 22


class StarterError(ValueError):
    """`ENDS_WITH` cannot be read."""


def ends_with_this_process() -> str:
    """Value of `ENDS_WITH` for children that shall end with the calling process."""
    return f"{os.getpid()}:{_start(os.getpid())}"


class EndRequest:
    """Whether and why this process shall end; made in the main thread, once, before all else.

    Signals do nothing but ask, as often as they come: a second ctrl-C cuts no ending short. A
    signal that was ignored when the process began stays so where that is SIGHUP (nohup).
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Listen to signals, and look at who started this process.

        Args:
            environ: `ENDS_WITH` is taken out of it: it is not meant for children.

        Raises:
            StarterError: the variable's value is no process.
        """
        self._why = ""
        # A pipe, since a handler that takes a lock may meet itself in the thread that holds it.
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        # The kernel may give a signal to any thread: this wakes the main one, which handles it.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            signal.signal(number, self._on_signal)
        self._starter = _Starter(environ.pop(ENDS_WITH, ""))

    def ask(self, why: str) -> None:
        """Ask for the end, from any thread."""
        self._why = self._why or why
        try:
            os.write(self._write, b"!")
        except BlockingIOError:
            pass  # full of what asks the same

    def wait(self, timeout_s: float | None = None) -> str:
        """Wait until somebody asks, and say why; empty: nobody did within ``timeout_s``."""
        until_s = None if timeout_s is None else time.monotonic() + timeout_s
        waits = select.poll()
        waits.register(self._read, select.POLLIN)
        if self._starter.descriptor is not None:
            waits.register(self._starter.descriptor, select.POLLIN)
        while not self._why:
            if self._starter.ended():
                self._why = f"process {self._starter.pid}, which started this one, has ended"
                break
            left_s = None if until_s is None else until_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                break
            steps = [s for s in (left_s, self._starter.look_every_s) if s is not None]
            waits.poll(min(steps) * 1e3 if steps else None)
        return self._why

    @property
    def why(self) -> str:
        """Who asked; empty while nobody did."""
        return self.wait(0.0)

    @staticmethod
    def deafen() -> None:
        """Take no signal any more: all is done, and what is left of Python's end is short."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.ask(signal.Signals(number).name)


class _Starter:
    """The process whose death ends this one.

    Attributes:
        pid: its number; 0: there is none.
        descriptor: becomes readable when it ends; None where the kernel has no such thing.
        look_every_s: s; how often `ended` must be asked; None: when the descriptor says so.
    """

    def __init__(self, value: str) -> None:
        self.pid, self._began = _parse(value)
        self.descriptor: int | None = None
        self._gone = False
        if self.pid:
            try:
                self.descriptor = os.pidfd_open(self.pid)
            except ProcessLookupError:
                self._gone = True
            except (AttributeError, OSError):
                pass  # an old kernel, or a container that forbids it
        self.look_every_s = _POLL_S if self.pid and self.descriptor is None else None

    def ended(self) -> bool:
        """Whether it has."""
        # By its start time too: the number may have been given out again before it was opened.
        if self.pid and not self._gone:
            self._gone = not self._began or _start(self.pid) != self._began
        return self._gone


def _parse(value: str) -> tuple[int, str]:
    """Number and start time of the process that a value of `ENDS_WITH` names."""
    if not value:
        return 0, ""
    if value == "parent":
        # Where that has died already the number is that of who took over, who starts no nodes.
        return os.getppid(), _start(os.getppid())
    pid, _, began = value.partition(":")
    if not pid.isdigit() or (began and not began.isdigit()):
        raise StarterError(f"{ENDS_WITH}: found {value!r}, expected parent, PID or PID:START")
    return int(pid), began or _start(int(pid))


def _start(pid: int) -> str:
    """When a process began, in ticks of the kernel; empty where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[_START_FIELD]

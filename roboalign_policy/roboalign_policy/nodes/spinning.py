"""Serving a node until the process is told to end, and ending in order.

The node has a thread of its own. The main thread waits for signals, so that one never comes amidst
a callback: rclpy's own handlers shut the context down under whoever is just publishing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from roboalign_policy.core.host.ending import EndRequest
from roboalign_policy.core.parameters.files import entries_from_arguments
from roboalign_policy.nodes.python_pauses import freeze_garbage, prompt_threads, thaw_garbage
from roboalign_policy.ros.parameters import check_no_words

STOP_TIMEOUT_S = 30.0
RESULT_GRACE_S = 0.3  # lets an action client fetch the result of a goal that the stop ended
_STUCK_S = 5.0


def run_node(
    make_node: Callable[[EndRequest], Any],
    args: Sequence[str] | None = None,
    stop_timeout_s: float | None = STOP_TIMEOUT_S,
    takes_words: bool = True,
) -> int:
    """Make a node, serve it, and end it in order on a signal or its starter's death; exit status.

    All of the node happens in one thread, which is not the main one. Optional parts of it:
    ``begin()`` runs first in the executor, False ends the process; ``stop()``, a coroutine, runs
    in the executor while callbacks still do, for work to finish; ``close()`` is called instead of
    ``destroy_node()``; ``busy_loading`` says that the executor waits for something that nobody can
    interrupt and that moves nothing.

    Args:
        make_node: makes the node; what it is given lets the node itself ask for the end.
        args: command line for ROS, the program first; None: that of the process.
        stop_timeout_s: s; how long ``stop`` may take; None: as long as it takes.
        takes_words: the program reads what stands outside ``--ros-args``; else that is an error.

    Returns:
        0, or 1 where the node could not start, said on stderr.

    Raises:
        Exception: whatever a callback of the node raised.
    """
    try:
        request = EndRequest()
        argv = sys.argv if args is None else args
        if not takes_words:
            check_no_words(argv[1:])
        entries_from_arguments(argv)  # a file that is none: rcl would say so by a traceback
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except (ValueError, RuntimeError) as error:  # of ROS: an argument that is none
        _say(f"cannot start: {error}")
        return 1
    runner = _Runner(make_node, request)
    try:
        why = request.wait()
        ended = runner.end(why, stop_timeout_s)
    finally:
        rclpy.try_shutdown()
        request.deafen()
    if runner.failures:
        raise runner.failures[0]
    if ended:
        runner.forget()
    if not ended or threading.active_count() > 1:
        # Python's own end would wait for a thread within a model, or crash under it.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(runner.status)
    return runner.status


def _say(text: str) -> None:
    """A line on stderr, if that is still there."""
    with contextlib.suppress(OSError):
        print(f"{Path(sys.argv[0]).stem}: {text}", file=sys.stderr, flush=True)


class _Runner:
    """The thread of a node and its executor.

    Attributes:
        failures: what a callback raised.
        status: exit status.
    """

    def __init__(self, make_node: Callable[[EndRequest], Any], request: EndRequest) -> None:
        """Start it."""
        self.failures: list[BaseException] = []
        self.status = 0
        self._make, self._request = make_node, request
        self._node: Any = None
        self._executor = SingleThreadedExecutor()
        self._over = False
        self._made, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="executor", daemon=True)
        self._thread.start()

    def end(self, why: str, timeout_s: float | None) -> bool:
        """Let the node finish its work, then end the thread; False where it does not end.

        Args:
            why: who asked.
            timeout_s: s; how long the node may take; None: as long as it takes.
        """
        self._made.wait(STOP_TIMEOUT_S)
        patience_s = None
        if self._node is not None and not self.failures:
            self._node.get_logger().info(f"ending: {why}")
            patience_s = self._stop(timeout_s)
        self._over = True
        self._executor.create_task(lambda: None)  # waking alone does not end its wait
        self._thread.join(patience_s)
        if self._thread.is_alive():
            if self._node is not None:
                self._close()
            return False
        # Only now: it takes away what the thread waits on.
        self._executor.shutdown()
        return True

    def forget(self) -> None:
        """Leave the graph for good, also where the process ends without Python's own end.

        The middleware removes the shared memory of a participant when the last object of its node
        goes, and what hangs in a circle goes when garbage is collected.
        """
        self._node = self._executor = self._make = None
        thaw_garbage()

    def _stop(self, timeout_s: float | None) -> float | None:
        """Let the node finish its work; how long its thread may take to end then, s."""
        if getattr(self._node, "busy_loading", False):
            return RESULT_GRACE_S
        if not hasattr(self._node, "stop"):
            return None
        task = self._executor.create_task(self._node.stop)
        task.add_done_callback(lambda _: self._stopped.set())
        if not self._stopped.wait(timeout_s):
            self._node.get_logger().error(f"did not stop within {timeout_s:.0f} s")
            self.status = 1
            return _STUCK_S
        time.sleep(RESULT_GRACE_S)
        return None

    def _run(self) -> None:
        try:
            self._node = self._make(self._request)
            prompt_threads()
            freeze_garbage()
            self._executor.add_node(self._node)
            if hasattr(self._node, "begin"):
                self._executor.create_task(self._begin)
            self._made.set()
            while not self._over:
                self._executor.spin_once()
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            if self._node is None and isinstance(error, (ValueError, OSError)):
                self.status = 1
                _say(f"cannot start: {error}")
            else:
                self.failures.append(error)
                self._stop_failed()
            self._request.ask("an error")
        finally:
            self._made.set()
            self._stopped.set()
            if self._node is not None:
                self._close()

    def _stop_failed(self) -> None:
        """Let a node of which a callback failed finish all the same: a gate must stop its arm."""
        if not hasattr(self._node, "stop"):
            return
        task, until_s = self._executor.create_task(self._node.stop), time.monotonic() + _STUCK_S
        while not task.done() and time.monotonic() < until_s:
            # What fails here too adds nothing to the first failure, which is raised.
            with contextlib.suppress(Exception):
                self._executor.spin_once(timeout_sec=0.1)

    def _begin(self) -> None:
        if not self._node.begin():
            self.status = 1
            self._request.ask("it could not begin")

    def _close(self) -> None:
        getattr(self._node, "close", self._node.destroy_node)()

"""Serving a node until the process is told to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import (
    SignalHandlerOptions,
    get_current_signal_handlers_options,
    install_signal_handlers,
    uninstall_signal_handlers,
)

from roboalign_policy.nodes.python_pauses import freeze_garbage, prompt_threads

STOP_TIMEOUT_S = 30.0
RESULT_GRACE_S = 0.3  # lets an action client fetch the result of a goal that the stop ended


def spin_until_shutdown(node: Node) -> None:
    """Serve ``node`` in this thread until its context is shut down, by ctrl-C or SIGTERM.

    The handlers of ``rclpy.init`` must be in place: they are what shuts the context down.

    Raises:
        Exception: what a callback raised while the context was alive.
    """
    prompt_threads()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        interrupted = _no_keyboard_interrupt()
        if not interrupted.is_set():
            executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass  # asked to stop: the ordinary end
    except RuntimeError:
        # rclpy's signal handler shuts the context down from its own thread: a callback that is
        # just publishing then gets RCLError. That is the ordinary end too; anything else is not.
        if node.context.ok():
            raise
    finally:
        executor.shutdown()


def _no_keyboard_interrupt() -> threading.Event:
    """Let ctrl-C only shut the context down, as SIGTERM does; returns what is set then.

    A KeyboardInterrupt is raised wherever the main thread is: where that is rclpy's conversion of
    a message, it comes out as RuntimeError ("Unable to convert call argument"), a crash.
    """
    interrupted = threading.Event()
    options = get_current_signal_handlers_options()
    uninstall_signal_handlers()
    # rclpy's handler calls the one that it found: this one, instead of Python's own.
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    install_signal_handlers(options)
    return interrupted


def run_node(make_node: Callable[[], Any]) -> None:
    """Make a node, spin it in a thread, stop it in order on SIGINT or SIGTERM.

    The node's coroutine ``stop()`` runs in its executor while callbacks still run; then the
    executor ends, then comes ``destroy_node()``. For nodes that have work to finish.

    Args:
        make_node: makes the node; it has a coroutine method ``stop``.

    Raises:
        Exception: whatever a callback of the node raised.
    """
    # rclpy's own handlers shut the context down at once, and with it every answer still to be
    # sent.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    failures: list[BaseException] = []
    node = None
    try:
        node = make_node()
        prompt_threads()
        freeze_garbage()
        executor = SingleThreadedExecutor()
        executor.add_node(node)

        def spin() -> None:
            try:
                executor.spin()
            except BaseException as error:  # noqa: BLE001 - the main thread raises it
                failures.append(error)
                asked.set()

        thread = threading.Thread(target=spin, name="executor", daemon=True)
        thread.start()
        asked.wait()
        if not failures:
            stopped = threading.Event()
            executor.create_task(node.stop).add_done_callback(lambda _: stopped.set())
            if not stopped.wait(STOP_TIMEOUT_S):
                node.get_logger().error(f"did not stop within {STOP_TIMEOUT_S:.0f} s")
            time.sleep(RESULT_GRACE_S)
        executor.shutdown()
        thread.join()
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    if failures:
        raise failures[0]

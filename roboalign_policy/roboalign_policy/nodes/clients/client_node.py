"""What all clients of nodes share: a node of their own, and waiting for what others say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

_POLL_S = 0.05
_Client = TypeVar("_Client", bound="ClientNode")


class ClientNode:
    """A node in a context of its own: the caller's rclpy is left alone. A context manager.

    Attributes:
        node: the node.
    """

    def __init__(
        self, name: str, namespace: str = "", domain_id: int | None = None, **options: Any
    ) -> None:
        """Join the graph.

        Args:
            name: of the node.
            namespace: of it and of those it speaks to; empty: none.
            domain_id: ROS domain; None: that of the environment.
            options: of the node.
        """
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id)
        try:
            self.node = Node(name, namespace=namespace, context=self._context, **options)
        except BaseException:
            rclpy.try_shutdown(context=self._context)
            raise
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def __enter__(self: _Client) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the graph: a participant stays for as long as anything refers to its node."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """For the `__init__` of a client: what fails here leaves nothing running."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def spin(self, seconds: float) -> None:
        """Process incoming messages for `seconds`."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left_s)

    def until(
        self,
        condition: Callable[[], Any],
        timeout_s: float,
        stop: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Spin until a condition holds and return it; something false when it never did.

        Args:
            condition: asked over and over.
            timeout_s: s; no longer than that.
            stop: asked over and over; True gives up.
        """
        end_s = time.monotonic() + timeout_s
        while not (value := condition()) and time.monotonic() < end_s and not stop():
            self._executor.spin_once(timeout_sec=_POLL_S)
        return value

"""Listeners on the command topics that come and go, as `ros2 bag record` and `ros2 topic` do.

Each listener is a DDS participant of its own. The process starts beforehand, so that what is
looked at is a listener that comes, and not how much of the machine a start of Python takes.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from fault_campaign.contracts import ROBOT_VARIABLE, command_topics
from fault_campaign.control import serve
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import reliable_qos


class Listener:
    """One node that hears the command topics, spun in a thread of its own."""

    def __init__(self, name: str) -> None:
        """Subscribe; ``name``: of the node."""
        self.heard = 0
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node(name, context=self._context, start_parameter_services=False)
        for topic, kind in command_topics(os.environ[ROBOT_VARIABLE]).items():
            self._node.create_subscription(
                message_class(kind), topic, self._hear, reliable_qos(10)
            )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Unsubscribe in order."""
        self._executor.shutdown(5.0)
        self._thread.join(5.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def _hear(self, _: Any) -> None:
        self.heard += 1

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return


class Observer:
    """Listeners by a key of the campaign's."""

    def __init__(self) -> None:
        """Nobody listens yet."""
        self._listeners: dict[str, Listener] = {}

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the campaign asks; the answer names the instant."""
        what, key, t_ns = request["do"], request["key"], time.monotonic_ns()
        if what == "listen":
            if key in self._listeners:
                self._listeners.pop(key).leave()
            self._listeners[key] = Listener(request["name"])
        elif what == "leave":
            self._listeners.pop(key).leave()
        elif what == "heard":
            return {"t_ns": t_ns, "heard": self._listeners[key].heard}
        else:
            raise ValueError(f"do: found {what!r}, expected listen, leave or heard")
        return {"t_ns": t_ns}

    def close(self) -> None:
        """Let all listeners leave."""
        while self._listeners:
            self._listeners.popitem()[1].leave()


def main() -> None:
    """Run until told to stop."""
    observer = Observer()
    serve(observer.handle)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        observer.close()


if __name__ == "__main__":
    main()

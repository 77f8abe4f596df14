"""Stand-in for the arm's controllers: records every command, and moves the robot by it.

It hears what a controller hears, on the command topics of the contract. Each message is kept with
the time of its receipt on the machine's monotonic clock, its number and its values.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections import deque
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy
from std_msgs.msg import Float64MultiArray

from fault_campaign.contracts import (
    JOINT_CONTRACT,
    JOINT_TRAJECTORY,
    PLANT_TOPIC,
    ROBOT_VARIABLE,
    TWIST,
    command_topics,
)
from fault_campaign.control import serve
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import reliable_qos

_KEPT = 20000
#: s; a twist is obeyed for so long, as MoveIt Servo's incoming_command_timeout does it.
_TWIST_S = 0.1


class Controller(Node):
    """Subscribes to the command topics, and to their dry_run/ twins."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__("controller")
        self._lock = threading.Lock()
        self._heard: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._number, self._twist_s = 0, 0.0
        self._topics = command_topics(os.environ[ROBOT_VARIABLE])
        self._plant = self.create_publisher(Float64MultiArray, PLANT_TOPIC, reliable_qos(50))
        self._ends: list[tuple[str, Any]] = []
        self._listen("right")
        for topic, kind in self._topics.items():
            hear = functools.partial(self._hear, f"dry_run/{topic}")
            self.create_subscription(
                message_class(kind), f"dry_run/{topic}", hear, reliable_qos(100)
            )
        # What is asked is done by the executor: subscriptions do not change hands between threads.
        self._asked: deque[tuple[str, threading.Event]] = deque()
        self._guard = self.create_guard_condition(self._obey)
        serve(self._handle)

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        what = request["do"]
        if what == "fetch":
            with self._lock:
                return {"heard": [m for m in self._heard if m["t_ns"] >= request["since_ns"]]}
        if what not in ("right", "nothing", "other", "both"):
            raise ValueError(f"do: found {what!r}, expected fetch, right, nothing, other, both")
        t_ns, done = time.monotonic_ns(), threading.Event()
        self._asked.append((what, done))
        self._guard.trigger()
        if not done.wait(10.0):
            raise TimeoutError(f"{what}: not done within 10 s")
        return {"t_ns": t_ns}

    def _obey(self) -> None:
        while self._asked:
            what, done = self._asked.popleft()
            self._listen(what)
            done.set()

    def _listen(self, how: str) -> None:
        """Subscribe to the command topics.

        Args:
            how: right: as the contract asks; nothing: not at all; other: with a QoS that does not
                match; both: one of each. What is there already stays: for a moment without it the
                gate stops, and is right to.
        """
        wanted = {"nothing": (), "both": ("right", "other")}.get(how, (how,))
        for own, end in self._ends:
            if own not in wanted:
                self.destroy_subscription(end)
        self._ends = [(own, end) for own, end in self._ends if own in wanted]
        there = {own for own, _ in self._ends}
        for own in wanted:
            if own not in there:
                self._ends += [(own, self._subscribe(own, topic)) for topic in self._topics]

    def _subscribe(self, own: str, topic: str) -> Any:
        qos = reliable_qos(100)
        if own == "other":
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL  # the gate's is volatile
        hear = functools.partial(self._hear, topic)
        return self.create_subscription(message_class(self._topics[topic]), topic, hear, qos)

    def _hear(self, topic: str, msg: Any) -> None:
        t_ns = time.monotonic_ns()
        if hasattr(msg, "twist"):
            parts = (msg.twist.linear, msg.twist.angular)
            values = [getattr(part, axis) for part in parts for axis in "xyz"]
        else:
            values = list(msg.points[0].positions) if msg.points else []
        with self._lock:
            self._number += 1
            self._heard.append(
                {"t_ns": t_ns, "number": self._number, "topic": topic, "values": values}
            )
        if topic == JOINT_TRAJECTORY and os.environ[ROBOT_VARIABLE] == JOINT_CONTRACT:
            self._plant.publish(Float64MultiArray(data=values))
        elif topic == TWIST:
            passed_s = min(t_ns / 1e9 - self._twist_s, _TWIST_S)
            self._twist_s = t_ns / 1e9
            self._plant.publish(Float64MultiArray(data=(np.array(values[:3]) * passed_s).tolist()))


def main() -> int:
    """Run until told to stop; exit status."""
    return run_node(lambda _: Controller())


if __name__ == "__main__":
    sys.exit(main())

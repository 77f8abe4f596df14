"""Speaks to a running safety gate: its services and its status."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from roboalign_msgs.msg import GateStatus
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.ros.qos import reliable_qos

STATES = {
    getattr(GateStatus, name): name.removeprefix("STATE_").lower()
    for name in dir(GateStatus)
    if name.startswith("STATE_")
}
REPEAT_S = 0.5  # an answer to a client that the gate has not discovered yet is lost


class GateMissingError(RuntimeError):
    """No gate answers."""


class GateClient:
    """A node of its own in a context of its own; use it as a context manager.

    Attributes:
        node: the node, for other topics.
    """

    def __init__(self, namespace: str, timeout_s: float) -> None:
        """Join the graph.

        Args:
            namespace: of the gate; empty: none.
            timeout_s: s; how long to wait for the gate, and for each answer.
        """
        self._context, self._timeout_s = rclpy.Context(), timeout_s
        rclpy.init(context=self._context)
        self.node = Node("gate_client", namespace=namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._heard: list[GateStatus] = []
        self.node.create_subscription(
            GateStatus, "safety_gate_node/status", self._heard.append, reliable_qos(1)
        )

    def __enter__(self) -> GateClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.node.destroy_node()  # else its participant stays for as long as anything refers to it
        rclpy.try_shutdown(context=self._context)

    def status(self) -> GateStatus:
        """Return a status sent from now on.

        Raises:
            GateMissingError: none came in time.
        """
        self._heard.clear()
        self._until(lambda: self._heard, "no status from safety_gate_node")
        return self._heard[-1]

    def enable(self, on: bool) -> tuple[bool, str]:
        """Let commands pass, or no longer; whether it was done, and what the gate says.

        Raises:
            GateMissingError: no answer in time.
        """
        return self._call(SetBool, "enable", SetBool.Request(data=on))

    def estop(self) -> tuple[bool, str]:
        """Stop; as `enable`."""
        return self._call(Trigger, "estop", Trigger.Request())

    def reset(self, waiting: Callable[[float], None] = lambda left_s: None) -> tuple[bool, str]:
        """Leave a latched stop; as `enable`.

        A gate that cools down is waited for: somebody who stops it and resets it by two commands,
        one after the other, is not to be refused by how fast these are.

        Args:
            waiting: told the seconds, before they are waited for.
        """
        done, said = self._call(Trigger, "reset", Trigger.Request())
        if done or (left_s := self.status().cool_down_s) <= 0:
            return done, said
        waiting(left_s)
        end_s = time.monotonic() + left_s
        while time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.02)
        return self._call(Trigger, "reset", Trigger.Request())

    def _call(self, kind: Any, service: str, request: Any) -> tuple[bool, str]:
        client = self.node.create_client(kind, f"safety_gate_node/{service}")
        self._until(client.service_is_ready, f"no service safety_gate_node/{service}")
        futures: list[Any] = []
        next_s = 0.0

        def answered() -> Any:
            nonlocal next_s
            if time.monotonic() >= next_s:  # asked again until answered: asking twice is harmless
                futures.append(client.call_async(request))
                next_s = time.monotonic() + REPEAT_S
            return next((f.result() for f in futures if f.done()), None)

        answer = self._until(answered, f"no answer of safety_gate_node/{service}")
        return answer.success, answer.message

    def _until(self, condition: Any, failure: str) -> Any:
        end_s = time.monotonic() + self._timeout_s
        while not (value := condition()):
            if time.monotonic() > end_s:
                raise GateMissingError(
                    f"{failure} within {self._timeout_s:g} s: is it running, in this "
                    "ROS_DOMAIN_ID and namespace?"
                )
            self._executor.spin_once(timeout_sec=0.02)
        return value

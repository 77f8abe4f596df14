"""Speaks to a running safety gate: its services and its status."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from roboalign_msgs.msg import GateStatus
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.nodes.clients.client_node import ClientNode
from roboalign_policy.ros.qos import reliable_qos

STATES = {
    getattr(GateStatus, name): name.removeprefix("STATE_").lower()
    for name in dir(GateStatus)
    if name.startswith("STATE_")
}
REPEAT_S = 0.5  # an answer to a client that the gate has not discovered yet is lost


class GateMissingError(RuntimeError):
    """No gate answers."""


class GateClient(ClientNode):
    """Calls the services of one gate, and asks again until it answers."""

    def __init__(self, namespace: str, timeout_s: float) -> None:
        """Join the graph.

        Args:
            namespace: of the gate; empty: none.
            timeout_s: s; how long to wait for the gate, and for each answer.
        """
        super().__init__("gate_client", namespace)
        self._timeout_s = timeout_s
        self._heard: list[GateStatus] = []
        self.node.create_subscription(
            GateStatus, "safety_gate_node/status", self._heard.append, reliable_qos(1)
        )

    def status(self) -> GateStatus:
        """Return a status sent from now on.

        Raises:
            GateMissingError: none came in time.
        """
        self._heard.clear()
        self._answer(lambda: self._heard, "no status from safety_gate_node")
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
        self.spin(left_s)
        return self._call(Trigger, "reset", Trigger.Request())

    def _call(self, kind: Any, service: str, request: Any) -> tuple[bool, str]:
        client = self.node.create_client(kind, f"safety_gate_node/{service}")
        self._answer(client.service_is_ready, f"no service safety_gate_node/{service}")
        futures: list[Any] = []
        next_s = 0.0

        def answered() -> Any:
            nonlocal next_s
            if time.monotonic() >= next_s:  # asked again until answered: asking twice is harmless
                futures.append(client.call_async(request))
                next_s = time.monotonic() + REPEAT_S
            return next((f.result() for f in futures if f.done()), None)

        answer = self._answer(answered, f"no answer of safety_gate_node/{service}")
        return answer.success, answer.message

    def _answer(self, condition: Callable[[], Any], failure: str) -> Any:
        if value := self.until(condition, self._timeout_s):
            return value
        raise GateMissingError(
            f"{failure} within {self._timeout_s:g} s: is it running, in this ROS_DOMAIN_ID and "
            "namespace?"
        )

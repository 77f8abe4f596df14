"""The campaign's own node: the operator's buttons, a person at a joystick, and all statuses."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import GetParameters
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from roboalign_msgs.msg import Candidate, GateStatus, PolicyStatus
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from fault_campaign.contracts import GRIPPER, TWIST
from roboalign_policy.ros.qos import reliable_qos

GATE, POLICY = "safety_gate_node", "policy_node"
_PERSON_HZ = 20.0
_AGAIN_S = 0.5  # a request to a service that has just been discovered may be lost
_KEPT = 400


def names_of(prefix: str) -> dict[int, str]:
    """Constants of GateStatus by value, without the prefix."""
    found = (name for name in dir(GateStatus) if name.startswith(prefix))
    return {getattr(GateStatus, name): name.removeprefix(prefix) for name in found}


STATES, REASONS = names_of("STATE_"), names_of("REASON_")


class Operator:
    """A node in a thread of its own.

    Attributes:
        gate: statuses of the gate with the time of their receipt (ns, monotonic), newest last.
        policy: the same of the policy.
    """

    def __init__(self) -> None:
        """Join the graph of this process's ROS_DOMAIN_ID."""
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = Node("operator", context=self._context)
        self.gate: list[tuple[int, GateStatus]] = []
        self.policy: list[tuple[int, PolicyStatus]] = []
        self._node.create_subscription(
            GateStatus, f"{GATE}/status", lambda msg: self._keep(self.gate, msg), reliable_qos(50)
        )
        self._node.create_subscription(
            PolicyStatus,
            f"{POLICY}/status",
            lambda msg: self._keep(self.policy, msg),
            reliable_qos(50),
        )
        # From the start: one that came and went would do so beneath the executor's thread.
        self._highest = 0
        self._begun: list[int] = []
        self._node.create_subscription(Candidate, "candidate", self._candidate, reliable_qos(100))
        task = self._node.create_publisher(String, "task", reliable_qos(1, latched=True))
        task.publish(String(data="go round"))
        self._task = task
        self._person_drives, self._person_ns = False, 0
        self._twist = self._node.create_publisher(TwistStamped, f"teleop/{TWIST}", reliable_qos(5))
        self._gripper = self._node.create_publisher(
            JointTrajectory, f"teleop/{GRIPPER}", reliable_qos(5)
        )
        self._node.create_timer(1 / _PERSON_HZ, self._person)
        self._clients = {
            name: self._node.create_client(kind, name)
            for name, kind in {
                f"{GATE}/enable": SetBool,
                f"{GATE}/estop": Trigger,
                f"{GATE}/reset": Trigger,
                f"{GATE}/get_parameters": GetParameters,
                f"{POLICY}/enable": SetBool,
                f"{POLICY}/change_state": ChangeState,
            }.items()
        }
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="operator", daemon=True)
        self._thread.start()

    def call(self, name: str, request: Any, timeout_s: float = 15.0) -> Any:
        """Response of a service of gate or policy.

        Raises:
            TimeoutError: there is none.
        """
        client, futures, end_s = self._clients[name], [], time.monotonic() + timeout_s
        done, asked_s = threading.Event(), -_AGAIN_S
        while time.monotonic() < end_s:
            if client.service_is_ready() and time.monotonic() - asked_s > _AGAIN_S:
                futures.append(client.call_async(request))
                futures[-1].add_done_callback(lambda _: done.set())
                asked_s = time.monotonic()
            if done.wait(0.005):
                return next(f.result() for f in futures if f.done())
        raise TimeoutError(f"no answer of {name} within {timeout_s:g} s")

    def enable(self, on: bool = True) -> tuple[bool, str]:
        """Call the gate's ~/enable once; what it says."""
        answer = self.call(f"{GATE}/enable", SetBool.Request(data=on))
        return answer.success, answer.message

    def enable_policy(self, on: bool) -> None:
        """Call the policy's ~/enable."""
        self.call(f"{POLICY}/enable", SetBool.Request(data=on))

    def reset(self) -> tuple[bool, str]:
        """Call the gate's ~/reset once; what it says."""
        answer = self.call(f"{GATE}/reset", Trigger.Request())
        return answer.success, answer.message

    def press(self) -> int:
        """Emergency stop by the gate's service; returns when it was called (ns, monotonic)."""
        t_ns = time.monotonic_ns()
        self.call(f"{GATE}/estop", Trigger.Request())
        return t_ns

    def read_gate_parameter(self, name: str) -> None:
        """Ask the gate for a parameter, and do not wait for the answer for long."""
        with contextlib.suppress(TimeoutError):  # what it does to the arm is what matters here
            self.call(f"{GATE}/get_parameters", GetParameters.Request(names=[name]), 0.3)

    def configure_policy_anew(self) -> None:
        """Through the policy's lifecycle: the way out of its state FAULT.

        Raises:
            RuntimeError: a transition failed.
        """
        steps = ("DEACTIVATE", "CLEANUP", "CONFIGURE", "ACTIVATE")
        for step in steps:
            number = getattr(Transition, f"TRANSITION_{step}")
            request = ChangeState.Request(transition=Transition(id=number))
            if not self.call(f"{POLICY}/change_state", request, 20.0).success:
                raise RuntimeError(f"{POLICY}: transition {step.lower()} failed")

    def person(self, drives: bool) -> int:
        """Let a person drive (up, slowly) or let go; returns the instant (ns, monotonic)."""
        self._person_drives = drives
        return time.monotonic_ns()

    def second_sender(self, sender: Callable[[], Any], timeout_s: float) -> int:
        """Let a second sender begin; the instant of its first candidate (ns, monotonic).

        Senders count their candidates from 1, so the second one's numbers fall behind.

        Args:
            sender: starts it.
            timeout_s: s; how long its start may take.

        Raises:
            TimeoutError: it sends nothing.
        """
        self._highest, self._begun = 0, []
        self.wait(lambda: self._highest, timeout_s, "the first sender")
        sender()
        self.wait(lambda: self._begun, timeout_s, "the second sender")
        return self._begun[0]

    def wait(
        self, condition: Callable[[], Any], timeout_s: float, what: str, step_s: float = 0.005
    ) -> Any:
        """Wait until ``condition()`` is true and return it.

        Raises:
            TimeoutError: it is not.
        """
        end_s = time.monotonic() + timeout_s
        while not (value := condition()):
            if time.monotonic() > end_s:
                last = self.gate[-1][1] if self.gate else None
                raise TimeoutError(f"waited {timeout_s:g} s for {what}; the gate said {last}")
            time.sleep(step_s)
        return value

    def gate_state(self) -> str:
        """Name of the gate's present state, empty before the first status."""
        return STATES[self.gate[-1][1].state] if self.gate else ""

    def gate_since(self, t_ns: int) -> list[tuple[int, GateStatus]]:
        """Statuses of the gate received from ``t_ns`` on."""
        return [item for item in list(self.gate) if item[0] >= t_ns]

    def policy_since(self, t_ns: int) -> list[tuple[int, PolicyStatus]]:
        """Statuses of the policy received from ``t_ns`` on."""
        return [item for item in list(self.policy) if item[0] >= t_ns]

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown(5.0)
        self._thread.join(5.0)
        self._node.destroy_node()  # else its participant would stay, beside those of later rigs
        rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    @staticmethod
    def _keep(kept: list[tuple[int, Any]], msg: Any) -> None:
        kept.append((time.monotonic_ns(), msg))
        if len(kept) > _KEPT:
            del kept[: _KEPT // 2]

    def _candidate(self, msg: Candidate) -> None:
        if msg.sequence_id < self._highest:
            self._begun.append(time.monotonic_ns())
        self._highest = max(self._highest, msg.sequence_id)

    def _person(self) -> None:
        if not self._person_drives:
            return
        twist = TwistStamped()
        twist.header.stamp = self._node.get_clock().now().to_msg()
        twist.header.frame_id = "base_link"
        twist.twist.linear.z = 0.02
        self._gripper.publish(
            JointTrajectory(
                joint_names=["gripper"], points=[JointTrajectoryPoint(positions=[-1.0])]
            )
        )
        self._twist.publish(twist)

"""Sends one task to a running policy_node, and tells what it thinks, waits for and came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import ActionChunk, GateStatus, PolicyStatus

from roboalign_policy.core.run_events import (
    ENDING,
    PROGRESS,
    REFUSED,
    STARTED,
    THOUGHT,
    WAITING,
    Event,
    RunEnd,
)
from roboalign_policy.nodes.clients.client_node import ClientNode
from roboalign_policy.nodes.clients.run_words import (
    REASONS,
    RunError,
    closed_text,
    inactive_text,
    missing_text,
)
from roboalign_policy.nodes.clients.scene_client import SceneClient
from roboalign_policy.ros.qos import reliable_qos
from roboalign_policy.ros.stamps import ns_to_stamp

SERVER, GATE = "policy_node", "safety_gate_node"
GATE_S = 2.0  # a gate publishes its status more often than that
ANSWER_S = 10.0
SILENT_S = 5.0  # a running policy_node publishes its status every second
RESULT_S = 1.0  # a goal that has ended and whose result was lost on the way is asked for it again
LAST_S = 0.2
_OVER = (GoalStatus.STATUS_SUCCEEDED, GoalStatus.STATUS_CANCELED, GoalStatus.STATUS_ABORTED)


class RunClient(ClientNode):
    """Speaks to one policy_node.

    Attributes:
        began: whether a task was sent.
        scene: what a simulated arm says.
    """

    def __init__(self, namespace: str = "", connect_s: float = 10.0) -> None:
        """Join the graph.

        Args:
            namespace: of policy_node; empty: none.
            connect_s: s; how long to wait for it.
        """
        super().__init__("run_client", namespace)
        self.began, self._connect_s = False, connect_s
        self._namespace, node = self.node.get_namespace(), self.node
        self._policy = ActionClient(node, RunPolicy, f"{SERVER}/run_policy")
        self._chunks: list[ActionChunk] = []
        self._feedback: list[RunPolicy.Feedback] = []
        self._gate: GateStatus | None = None
        self._status, self._heard_s = None, 0.0
        node.create_subscription(
            ActionChunk, "action_chunk", self._chunks.append, reliable_qos(100)
        )
        node.create_subscription(GateStatus, f"{GATE}/status", self._on_gate, reliable_qos(10))
        self.scene = SceneClient(node, self.until)
        # The last one: readers are announced in order, so who sends us its status has seen the
        # action client's and the others too, and no answer to them is lost. Writers are announced
        # apart: `check` also waits for what takes the requests.
        node.create_subscription(
            PolicyStatus, f"{SERVER}/status", self._on_status, reliable_qos(10)
        )

    def close(self) -> None:
        """Leave the graph."""
        self._policy.destroy()
        super().close()

    def check(self, stop: Callable[[], bool] = lambda: False) -> str:
        """Wait for policy_node, and see that it and the gate would take a task.

        Args:
            stop: asked over and over; True gives up.

        Returns:
            The instruction that it drives by at present; empty when it does not.

        Raises:
            RunError: it is not there or not active, or the gate is closed.
        """
        found = self.until(
            lambda: self._status is not None and self._policy.server_is_ready(),
            self._connect_s,
            stop,
        )
        if not found:
            if self._status is not None:
                raise RunError(f"{SERVER} is there, but its action run_policy is not")
            seen = self.node.get_node_names_and_namespaces()
            there = [space for node, space in seen if node == SERVER]
            raise RunError(missing_text(self._namespace, there, self._connect_s))
        status, name = self._status, self.node.resolve_topic_name(SERVER)
        if fault := inactive_text(status, name):
            raise RunError(fault)
        if self.node.count_publishers(f"{GATE}/status"):
            self.until(lambda: self._gate, GATE_S, stop)
        if self._gate is not None and (fault := closed_text(self._gate, self._namespace)):
            raise RunError(fault)
        self.scene.look(stop)
        return status.instruction if status.state != PolicyStatus.STATE_IDLE else ""

    def run(
        self, instruction: str, timeout_s: float, stop: Callable[[], int]
    ) -> Generator[Event | RunEnd]:
        """Send the task and tell how it goes; the last that is yielded is the `RunEnd`.

        A run that a simulator calls a success is ended. Leaving early cancels the goal.

        Args:
            instruction: what the robot shall do.
            timeout_s: s; ends the run after this time; 0: no limit.
            stop: how often the user asked to stop: 1 cancels and waits for the arm to be held, 2
                no longer waits.

        Raises:
            RunError: policy_node takes no goal, is gone, or does not confirm that it stopped.
        """
        self._chunks.clear()
        self.began = True
        goal = RunPolicy.Goal(
            instruction=instruction, timeout_s=timeout_s, sent=ns_to_stamp(time.time_ns())
        )
        sent = self._policy.send_goal_async(goal, lambda msg: self._feedback.append(msg.feedback))
        if not self.until(sent.done, ANSWER_S, lambda: stop() > 1):
            raise RunError(
                "policy_node has not answered; what was sent expires 5 s after it was sent"
            )
        if not sent.result().accepted:
            raise RunError("policy_node did not take the task")
        handle, began_s = sent.result(), time.monotonic()
        ended, asked_s = handle.get_result_async(), began_s
        cancelled_s, waiting, success = 0.0, "", False
        yield Event(STARTED, 0.0, instruction)
        try:
            while not ended.done():
                self._executor.spin_once(timeout_sec=0.05)
                for event in self._news(instruction, began_s):
                    if event.kind == WAITING:
                        if event.text == waiting:
                            continue
                        waiting = event.text
                    yield event
                now_s = time.monotonic()
                if handle.status not in _OVER:
                    asked_s = now_s
                elif now_s - asked_s > RESULT_S and not ended.done():
                    ended, asked_s = handle.get_result_async(), now_s
                success = success or (cancelled_s == 0.0 and self._succeeded(instruction))
                if not cancelled_s and (success or stop()):
                    handle.cancel_goal_async()
                    cancelled_s = now_s
                    yield Event(ENDING, now_s - began_s, "" if success else "cancelled")
                if (cancelled_s and now_s - cancelled_s > ANSWER_S) or stop() > 1:
                    raise RunError(
                        "policy_node has not confirmed that it stopped: `roboalign gate estop` "
                        "stops the arm"
                    )
                if now_s - self._heard_s > SILENT_S:
                    raise RunError(
                        f"policy_node is gone: nothing from it for {SILENT_S:g} s; a safety gate "
                        "has stopped the arm by then"
                    )
        finally:
            if not ended.done() and not cancelled_s:
                cancelling = handle.cancel_goal_async()
                self.until(cancelling.done, 2.0)
        self.spin(LAST_S)  # thoughts and refusals that came beside the result
        yield from self._news(instruction, began_s)
        result = ended.result().result
        if result.reason == RunPolicy.Result.REASON_UNSET:
            raise RunError("policy_node no longer knows how the task ended")
        judged = self.scene.judges(instruction)
        yield RunEnd(
            "success" if success else REASONS.get(result.reason, f"reason {result.reason}"),
            self._message(result),
            result.steps,
            result.chunks,
            result.duration_s,
            True if success else False if judged else None,
        )

    def _news(self, instruction: str, began_s: float) -> Iterator[Event]:
        """What came since the last call."""
        elapsed_s = time.monotonic() - began_s
        for chunk in self._chunks:
            if chunk.instruction != instruction:
                continue
            if chunk.decode_status == ActionChunk.DECODE_OK:
                yield Event(THOUGHT, elapsed_s, chunk.reasoning)
            else:
                yield Event(REFUSED, elapsed_s, chunk.decode_detail)
        self._chunks.clear()
        if self._feedback:
            last = self._feedback[-1]
            self._feedback.clear()
            held = "" if last.state == PolicyStatus.STATE_RUNNING else last.status
            yield Event(WAITING, elapsed_s, held)
            yield Event(PROGRESS, elapsed_s, "", last.steps, last.chunks)

    def _succeeded(self, instruction: str) -> bool:
        """Whether a simulator, asked for the same, says that it is done since the arm moves."""
        moved = self._status is not None and self._status.state == PolicyStatus.STATE_RUNNING
        return moved and self.scene.success(instruction)

    def _message(self, result: RunPolicy.Result) -> str:
        """What policy_node says of the end, and after a stop of the gate what opens it."""
        if result.reason != RunPolicy.Result.REASON_GATE_STOP:
            return result.message
        if self._gate is None:
            return f"{result.message}; there is no safety_gate_node: start it beside policy_node"
        hint = closed_text(self._gate, self._namespace)
        return f"{result.message}; {hint}" if hint else result.message

    def _on_status(self, msg: PolicyStatus) -> None:
        self._status, self._heard_s = msg, time.monotonic()

    def _on_gate(self, msg: GateStatus) -> None:
        self._gate = msg

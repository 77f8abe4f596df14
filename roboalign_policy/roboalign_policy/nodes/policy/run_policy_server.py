"""The RunPolicy action: one goal, ended by drive, limits, client or a newer goal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import PolicyStatus

from roboalign_policy.core.drive.types import State
from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.nodes.policy.policy_session import PolicySession
from roboalign_policy.ros.stamps import stamp_to_ns

OLD_S = 5.0  # a goal that was sent longer ago moves nothing: see RunPolicy.action
#: Ends that a client asked for; every other one aborts the goal.
_PLANNED = ("timeout", "max_chunks")


@dataclass
class _GoalRun:
    """The goal in force."""

    handle: ServerGoalHandle
    done: Future
    started_ns: int


class RunPolicyServer:
    """Serves `~/run_policy`.

    The goal's coroutine sleeps on a future, so a single-threaded executor goes on serving
    everything else.
    """

    def __init__(
        self,
        node: Node,
        session: Callable[[], PolicySession | None],
        begins: Callable[[], None],
    ) -> None:
        """Advertise the action.

        Args:
            node: the node that owns it.
            session: gives the session while the node is active, else None.
            begins: called when a goal has been taken.
        """
        self._node, self._session, self._begins = node, session, begins
        self._run: _GoalRun | None = None
        self._server = ActionServer(
            node, RunPolicy, "~/run_policy", self._execute, cancel_callback=self._cancel
        )

    @property
    def busy(self) -> bool:
        """True while a goal is in force."""
        return self._run is not None

    def check(self) -> None:
        """End the goal when its time is over or the run has ended; call it after every event."""
        run, session = self._run, self._session()
        if run is None or session is None:
            return
        timeout_s = run.handle.request.timeout_s
        if session.drive.end is None and timeout_s and self._elapsed_s(run) >= timeout_s:
            session.stop("timeout", f"timeout_s {timeout_s:g} s passed")
        if session.drive.end is not None:
            self._run = None
            run.done.set_result(session.drive.end)

    def feedback(self) -> None:
        """Tell the client how the run goes."""
        run, session = self._run, self._session()
        if run is None or session is None:
            return
        drive = session.drive
        run.handle.publish_feedback(
            RunPolicy.Feedback(
                state=getattr(PolicyStatus, f"STATE_{drive.state.name}"),
                status=drive.reason,
                reasoning=session.reasoning,
                chunks=drive.run_chunks,
                steps=drive.run_steps,
                elapsed_s=self._elapsed_s(run),
                inference_s=session.inference_s,
            )
        )

    def close(self) -> None:
        """Withdraw the action."""
        self._server.destroy()

    async def _execute(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        goal, session = handle.request, self._session()
        if session is None:
            return _refused(handle, RunPolicy.Result.REASON_NOT_ACTIVE, "the node is not active")
        if not goal.instruction.strip():
            text = "instruction: found an empty text, expected what the robot shall do"
            return _refused(handle, RunPolicy.Result.REASON_INVALID_GOAL, text)
        if fault := instruction_fault(goal.instruction):
            text = f"instruction: {fault}"
            return _refused(handle, RunPolicy.Result.REASON_INVALID_GOAL, text)
        if not 0.0 <= goal.timeout_s < float("inf"):
            text = f"timeout_s: found {goal.timeout_s}, expected a finite number >= 0"
            return _refused(handle, RunPolicy.Result.REASON_INVALID_GOAL, text)
        sent_ns = stamp_to_ns(goal.sent)
        if sent_ns and abs(late_s := (time.time_ns() - sent_ns) / 1e9) > OLD_S:
            text = f"sent: found {late_s:.1f} s ago by this machine's clock, expected {OLD_S:g} s"
            text += " at most: its sender may be gone, or the clocks differ"
            return _refused(handle, RunPolicy.Result.REASON_INVALID_GOAL, text)
        if session.drive.state is State.FAULT:
            text = f"inference failed before ({session.drive.reason}); configure the node again"
            return _refused(handle, RunPolicy.Result.REASON_INFERENCE_FAULT, text)
        if self._run is not None:
            session.stop("preempted", "a newer goal took over")
            self.check()
        run = _GoalRun(handle, Future(executor=self._node.executor), self._now_ns())
        self._run = run
        session.begin(goal.instruction.strip(), goal.max_chunks)
        self._begins()
        end = await run.done
        if handle.is_cancel_requested:
            handle.canceled()
        elif end.reason in _PLANNED:
            handle.succeed()
        else:
            handle.abort()
        return RunPolicy.Result(
            reason=getattr(RunPolicy.Result, f"REASON_{end.reason.upper()}"),
            message=end.message,
            chunks=end.chunks,
            steps=end.steps,
            duration_s=self._elapsed_s(run),
        )

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        run, session = self._run, self._session()
        if run is not None and session is not None and run.handle.goal_id == handle.goal_id:
            session.stop("cancelled", "the client cancelled")
            self.check()
        return CancelResponse.ACCEPT

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _elapsed_s(self, run: _GoalRun) -> float:
        return max(0.0, (self._now_ns() - run.started_ns) / 1e9)


def _refused(handle: ServerGoalHandle, reason: int, message: str) -> Any:
    handle.abort()
    return RunPolicy.Result(reason=reason, message=message)

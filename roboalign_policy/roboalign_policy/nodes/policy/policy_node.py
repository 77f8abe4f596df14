"""policy_node: the lifecycle, services and status around one policy that drives one robot.

`policy_session` holds what works between configure and cleanup, `run_policy_server` the RunPolicy
action. All callbacks run in one thread; inference has its own, so none of them ever waits for the
model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from roboalign_msgs.msg import ActionChunk, PolicyStatus
from std_msgs.msg import String
from std_srvs.srv import SetBool

from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.drive.types import End, State
from roboalign_policy.core.hashing import short_name
from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.nodes.policy.policy_report import PolicyReport
from roboalign_policy.nodes.policy.policy_session import PolicySession
from roboalign_policy.nodes.policy.policy_setup import load_policy
from roboalign_policy.nodes.policy.run_policy_server import RunPolicyServer
from roboalign_policy.nodes.python_pauses import freeze_garbage, thaw_garbage
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.chunk_msgs import status_to_msg
from roboalign_policy.ros.parameters import declare_parameters
from roboalign_policy.ros.qos import reliable_qos

_WATCH_PERIOD_S = 0.1
_WAITS = "enabled, waiting for an instruction"


class PolicyNode(LifecycleNode):
    """Lifecycle node around one policy and one robot.

    Attributes:
        busy_loading: the executor waits for the policy to be loaded.
    """

    def __init__(
        self, load: Callable[[PolicyParameters], Policy] = load_policy, **node_options: Any
    ) -> None:
        """Declare parameters and advertise what does not need a policy.

        Args:
            load: makes the policy from the parameters, in the inference thread.
            node_options: passed on to rclpy (namespace, parameter_overrides, context ...).

        Raises:
            ParameterError: a parameter has a wrong type or is out of range.
        """
        super().__init__("policy_node", **node_options)
        self._load, self.busy_loading = load, False
        self.parameters = declare_parameters(self, PolicyParameters)
        self._session: PolicySession | None = None
        self._why_inactive = "not configured"
        self._enabled = self.parameters.enabled
        self._task, self._waits = "", _WAITS
        self._shown: Any = None
        self._told_end: End | None = None
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._chunks = self.create_publisher(ActionChunk, "action_chunk", reliable_qos(10))
        self._reasonings = self.create_publisher(String, "~/reasoning", reliable_qos(10))
        self._runs = RunPolicyServer(self, self._active_session, self._on_goal)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._report = PolicyReport(
            self, self._status_msg, self.parameters.status_period_s, self._runs.feedback
        )
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load policy and contract and connect to the robot's topics."""
        self.busy_loading = True
        self.get_logger().info("loading the policy")
        try:
            self._session = PolicySession(
                self,
                self.parameters,
                self._load,
                on_chunk=self._on_chunk,
                on_task=self._on_task,
                on_event=self._on_event,
            )
        except Exception as error:  # noqa: BLE001 - a checkpoint can be wrong in any way: all are said
            self._why_inactive = f"configure failed: {error}"
            self.get_logger().error(f"configure failed: {type(error).__name__}: {error}")
            return TransitionCallbackReturn.FAILURE
        finally:
            self.busy_loading = False
        freeze_garbage()
        self._why_inactive = "configured, not active"
        policy = self._session.policy
        self.get_logger().info(
            f"policy {short_name(policy.hash)}, contract {policy.contract.name}"
        )
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to listen to instructions and goals."""
        drive = self._session.drive
        if drive.state is State.FAULT:
            self.get_logger().error(f"inference failed ({drive.reason}); configure again")
            return TransitionCallbackReturn.FAILURE
        drive.activate()
        self._session.active = True
        self._run_if_enabled()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop commanding at once."""
        self._halt("not_active", "the node was deactivated")
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forget policy and robot."""
        self._release("not configured")
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop commanding and end the inference thread."""
        self._halt("shutdown", "the node is shutting down")
        self._release("shut down")
        return TransitionCallbackReturn.SUCCESS

    def begin(self) -> bool:
        """Configure and activate where ``autostart`` says so; False when that failed."""
        if not self.parameters.autostart:
            self.get_logger().info("waiting to be configured")
            return True
        steps = (self.trigger_configure, self.trigger_activate)
        return all(step() == TransitionCallbackReturn.SUCCESS for step in steps)

    async def stop(self) -> None:
        """End the run, so that the gate hears of it; called once, before the end."""
        self._halt("shutdown", "the node is shutting down")

    def close(self) -> None:
        """End the inference thread and the node, also after the context was shut down."""
        self._release("shut down")
        self._runs.close()
        self.destroy_node()

    def _active_session(self) -> PolicySession | None:
        session = self._session
        return session if session is not None and session.active else None

    def _halt(self, reason: str, message: str) -> None:
        session = self._active_session()
        if session is not None:
            session.stop(reason, message)
            self._runs.check()
            session.active = False
        self._why_inactive = message
        self._report.publish()

    def _release(self, why_inactive: str) -> None:
        session, self._session, self._why_inactive = self._session, None, why_inactive
        thaw_garbage()
        if session is not None and not session.close():
            self.get_logger().warning("the inference thread ends with its present request")

    def _run_if_enabled(self) -> None:
        session = self._active_session()
        if session is None or not self._enabled or self._runs.busy or session.drive.running:
            return
        if self._task:
            session.begin(self._task, patient=True)
        else:
            session.drive.reason = self._waits
        self._on_event()

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        session = self._active_session()
        if session is not None and not self._enabled:
            session.stop("cancelled", "disabled")  # goals, too
            self._on_event()
        self._run_if_enabled()
        response.success = session is not None or not request.data
        if not response.success:
            response.message = f"takes effect on activation; now: {self._why_inactive}"
        return response

    def _on_goal(self) -> None:
        """A goal begins.

        An earlier instruction on the task topic does not start again after it.
        """
        self._task, self._waits = "", _WAITS
        self._on_event()

    def _on_task(self, instruction: str) -> None:
        if self._runs.busy:
            if instruction.strip():
                self.get_logger().warning(
                    f"task topic: {instruction!r} is not taken while a goal is in force; send it "
                    "again after that"
                )
            return
        fault = instruction.strip() and instruction_fault(instruction)
        self._task, self._waits = ("" if fault else instruction.strip()), _WAITS
        if fault:
            self._waits = f"task topic: instruction: {fault}"
            self.get_logger().error(self._waits)
        session = self._active_session()
        if session is not None and session.drive.running:
            if self._task:
                session.drive.set_instruction(self._task)
            else:
                session.stop(
                    "cancelled", self._waits if fault else "the instruction was withdrawn"
                )
            self._on_event()
        self._run_if_enabled()

    def _on_chunk(self, msg: ActionChunk | None) -> None:
        self._reasonings.publish(String(data=self._session.reasoning))
        if msg is not None:
            self._chunks.publish(msg)
        self._runs.feedback()

    def _on_event(self) -> None:
        session = self._active_session()
        if session is None:
            return
        self._runs.check()
        shown = (session.drive.state, session.drive.end, self._runs.busy)
        if shown != self._shown:
            self._shown = shown
            if (end := session.drive.end) is not None and end is not self._told_end:
                self._told_end = end
                text = f"run ended: {end.message or end.reason}"
                self.get_logger().info(f"{text}; {end.chunks} chunks, {end.steps} steps")
            self._report.publish()

    def _watch(self) -> None:
        session = self._active_session()
        if session is not None:
            session.watch()
            self._on_event()
            if session.stopped_by_gate:
                self._run_if_enabled()  # waits until the gate lets it through again

    def _status_msg(self) -> PolicyStatus:
        session = self._session
        return status_to_msg(
            session.drive if session else None,
            active=self._active_session() is not None,
            reason=self._why_inactive,
            stamp_ns=self.get_clock().now().nanoseconds,
            policy_hash=session.policy.hash if session else "",
            rates_hz=session.rates_hz() if session else (0.0, 0.0, 0.0),
            enabled=self._enabled,
            goal=self._runs.busy,
        )


def main() -> int:
    """Run the node until it is told to stop; exit status."""
    return run_node(lambda _: PolicyNode(), takes_words=False)


if __name__ == "__main__":
    sys.exit(main())

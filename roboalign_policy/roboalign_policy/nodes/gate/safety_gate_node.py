"""safety_gate_node: the one process whose messages reach the controllers.

Candidates come in (from policy_node on ``candidate``, from a person on ``teleop/...``), commands
go out, or the contract's safe action and nothing after it. What may pass is decided in
`core.gate.safety_gate`; this node only tells it what happens and carries out its answer.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from roboalign_msgs.msg import Candidate as CandidateMsg
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.core.gate.parameters import GateParameters
from roboalign_policy.core.gate.safety_gate import SafetyGate
from roboalign_policy.core.gate.stage_latency import StageLatency
from roboalign_policy.core.gate.types import GateFault, GateState, Reason
from roboalign_policy.core.host.udp_profile import udp_environment
from roboalign_policy.kinematics.urdf import UrdfRobot
from roboalign_policy.nodes.gate.gate_controllers import ControllerTopics
from roboalign_policy.nodes.gate.gate_io import TeleopInput, contract_of
from roboalign_policy.nodes.gate.gate_report import GateReport
from roboalign_policy.nodes.gate.gate_surroundings import GateSurroundings
from roboalign_policy.nodes.gate.observation_feed import ObservationFeed
from roboalign_policy.nodes.gate.operator_topic import OperatorTopic
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.arm_outputs import ArmOutputs
from roboalign_policy.ros.candidate_msgs import candidate_from_msg
from roboalign_policy.ros.parameters import declare_parameters
from roboalign_policy.ros.qos import reliable_qos

TICK_S = 0.01
_STATUS_EVERY, _REPORT_EVERY, _LOOK_EVERY = 5, 100, 10  # ticks
#: The safe action is sent so many times, a tick apart: a command topic may be best effort.
_SAFE_REPEATS = 4


class SafetyGateNode(Node):
    """Gate of one arm."""

    def __init__(
        self, observer: Mapping[str, str] = os.environ, shared: str = "", **node_options: Any
    ) -> None:
        """Declare, load the contract, open topics and services; nothing passes yet.

        Args:
            observer: environment of the process that looks at the streams.
            shared: why commands share a transport with images; empty where they do not.
            node_options: of the node.

        Raises:
            ParameterError, ContractError, ValueError: naming key and value.
        """
        super().__init__("safety_gate_node", **node_options)
        self._settings = declare_parameters(self, GateParameters)
        self._contract = contract_of(self._settings)
        self.gate = SafetyGate(self._contract, self._settings)
        self._latency = StageLatency(1.0 / self._contract.rate_hz)
        self._outputs: ArmOutputs | None = None
        self._topics: ControllerTopics | None = None
        self._awaits_enable = self._settings.enabled
        self._awaits_description = self._settings.robot_description or any(
            output.joint_names and not output.urdf for output in self._contract.action.outputs
        )
        self._safe: tuple[list[Any], int] = ([], 0)
        self._ticks = 0
        if not self._awaits_description:
            self._connect(None)
        self._feed = ObservationFeed(
            self._contract, self.gate.streams, self._latency, self._observer_arguments(), observer
        )
        self._teleop = TeleopInput(self, self._contract)
        self._report = GateReport(
            self,
            self.gate,
            self._latency,
            dry_run=self._settings.dry_run,
            report_file=self._settings.report_file,
        )
        self._around = GateSurroundings(self, self.gate, self._report)
        self._open()
        mode = "dry run" if self._settings.dry_run else "live"
        self.get_logger().info(f"contract {self._contract.name}, {mode}, disabled")
        if shared:
            self.get_logger().warning(f"a killed process may hold up commands: {shared}")

    def _observer_arguments(self) -> list[str]:
        """Arguments of this process; a clock that a file sets for this node's name alone too."""
        simulated = self.get_parameter("use_sim_time").value
        clock = ["--ros-args", "-p", "use_sim_time:=true"] if simulated else []
        return [*sys.argv[1:], *clock]

    def _open(self) -> None:
        guarded = self._guarded
        self.create_subscription(
            CandidateMsg, "candidate", guarded(self._on_candidate), reliable_qos(10)
        )
        self._estop = OperatorTopic(self, Bool, "estop", guarded(self._on_estop), latched=True)
        OperatorTopic(self, Bool, "deadman", guarded(self._on_deadman))
        if self._awaits_description:
            self.create_subscription(
                String,
                "robot_description",
                guarded(self._on_description),
                reliable_qos(1, latched=True),
            )
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/estop", self._on_estop_service)
        self.create_service(Trigger, "~/reset", self._on_reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(TICK_S, guarded(self._tick), clock=steady)

    async def stop(self) -> None:
        """Send the safe action last, say so, write the report; called once, before the end."""
        if self.gate.state is GateState.DISABLED and self._around.beside:
            # Of two gates of one name the other one drives: its sender would take this one's last
            # status for the driver's.
            self._report.ended = True
        self.gate.stop(GateFault(Reason.INTERNAL, "shutting down"), time.monotonic())
        self._after()
        for _ in range(_SAFE_REPEATS):
            self._send_safe()
            time.sleep(TICK_S)
        self._report.finish()
        self._feed.close()

    def _connect(self, description: str | None) -> None:
        """Open the command topics, once what they need is known."""
        self._outputs = ArmOutputs(self._contract, description)
        self._topics = ControllerTopics(self, self._outputs, self._settings.dry_run)

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Callback after which an error of the gate's own is a stop too."""

        @functools.wraps(callback)
        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:  # noqa: BLE001 - doubt about the gate itself means stop
                self.get_logger().error(f"{type(error).__name__}: {error}")
                fault = GateFault(Reason.INTERNAL, f"{type(error).__name__}: {error}")
                self.gate.stop(fault, time.monotonic())
            self._after()

        return guarded

    def _after(self) -> None:
        """Carry out a stop and show a change; after everything that may have caused one."""
        if self.gate.pop_safe():
            self._latency.pause()
            self._teleop.forget()
            now_ns, steady_s = self.get_clock().now().nanoseconds, time.monotonic()
            if self._outputs is not None:
                self._feed.drain()  # the place to hold is the newest that is known
                messages = self._outputs.safe(now_ns, self.gate.streams, steady_s)
                self._safe = (messages, _SAFE_REPEATS)
                self._send_safe()
        self._report.show_change()

    def _send_safe(self) -> None:
        messages, left = self._safe
        if left > 0 and self._topics is not None:
            self._topics.send(messages)
            self._safe = (messages, left - 1)

    def _on_candidate(self, msg: CandidateMsg) -> None:
        arrived_ns, steady_s = self.get_clock().now().nanoseconds, time.monotonic()
        try:
            candidate = candidate_from_msg(msg)
        except ValueError as error:
            self.gate.malformed(str(error), steady_s)
            return
        self._consider(candidate, arrived_ns, steady_s)

    def _consider(self, candidate: Any, now_ns: int, steady_s: float) -> None:
        self._drain(steady_s)
        passed = self.gate.candidate(candidate, now_ns, steady_s)
        if passed is None:
            return
        try:
            messages = self._outputs.motion(passed, now_ns, self.gate.streams, steady_s)
        except GateFault as fault:
            self.gate.stop(fault, steady_s)
            return
        self._safe = ([], 0)
        self._topics.send(messages)
        self.gate.sent(passed, steady_s)
        sent_ns = self.get_clock().now().nanoseconds
        self._latency.command(candidate, now_ns, sent_ns, steady_s)

    def _drain(self, steady_s: float) -> None:
        """Take what the observer has seen; a gate that sees nothing stops."""
        self._feed.drain()
        if self._feed.failed:
            self.gate.stop(GateFault(Reason.INTERNAL, self._feed.failed), steady_s)

    def _tick(self) -> None:
        now_ns, steady_s = self.get_clock().now().nanoseconds, time.monotonic()
        if self._ticks % _LOOK_EVERY == 0:
            self._around.look(self._topics, steady_s)
            self._estop.look()
        self._send_safe()
        self._drain(steady_s)
        self.gate.tick(now_ns, steady_s)
        if (candidate := self._teleop.poll(now_ns, steady_s)) is not None:
            self._consider(candidate, now_ns, steady_s)
        self._report.note = self._teleop.fault or self._around.note
        if self._awaits_enable and self._ticks % _LOOK_EVERY == 0:
            self._around.enable(self._topics, now_ns, steady_s)
            # Were another gate's end enough, the end of one arm's motion would begin another one.
            self._awaits_enable = self.gate.state is GateState.DISABLED and not self._around.beside
        if self._ticks % _STATUS_EVERY == 0:
            self._report.publish_status()
        if self._ticks % _REPORT_EVERY == 0:
            self._report.publish_report()
        self._ticks += 1

    def _on_estop(self, msg: Bool) -> None:
        self.gate.inputs.estop_heard(msg.data, time.monotonic())
        self.gate.tick(self.get_clock().now().nanoseconds, time.monotonic())

    def _on_deadman(self, msg: Bool) -> None:
        self.gate.inputs.deadman_heard(msg.data, time.monotonic())
        self.gate.tick(self.get_clock().now().nanoseconds, time.monotonic())

    def _on_description(self, msg: String) -> None:
        limits = UrdfRobot.from_text(msg.data, "robot_description").joint_limits()
        bounds = {name: (item.low, item.high, item.velocity) for name, item in limits.items()}
        narrowed = self.gate.bounds.tighten(
            {n: (low, high) for n, (low, high, _) in bounds.items()}
        )
        known = self.gate.streams.tighten(bounds)
        self.get_logger().info(
            f"robot_description: limits of {', '.join(known) or 'no stream'}; "
            f"narrower than the contract: {', '.join(narrowed) or 'none'}"
        )
        if self._topics is None:
            self._connect(msg.data)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._awaits_enable = False
        if request.data:
            now_ns = self.get_clock().now().nanoseconds
            response.message = self._around.enable(self._topics, now_ns, time.monotonic())
        else:
            self.gate.disable("by ~/enable")
        response.success = not response.message
        self._after()
        return response

    def _on_estop_service(self, _: Trigger.Request, response: Trigger.Response) -> Any:
        self.gate.stop(GateFault(Reason.ESTOP, "pressed: service ~/estop"), time.monotonic())
        self._after()
        response.success, response.message = True, "stopped; ~/reset after the cool-down"
        return response

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._awaits_enable = False
        response.message = self.gate.reset(time.monotonic())
        response.success = not response.message
        if response.success:
            response.message = "disabled; ~/enable to go on"
        self._after()
        return response


def main() -> int:
    """Run the node until it is told to stop; exit status."""
    with tempfile.TemporaryDirectory(prefix="safety_gate_") as folder:
        observer = dict(os.environ)  # images come through shared memory
        changes, shared = udp_environment(observer, Path(folder))
        os.environ.update(changes)
        return run_node(lambda _: SafetyGateNode(observer, shared), takes_words=False)


if __name__ == "__main__":
    sys.exit(main())

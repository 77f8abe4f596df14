"""Records what arrives on the contract's topics, serialised, as one MCAP bag an episode."""

from __future__ import annotations

import functools
import sys
import time
from collections import deque
from pathlib import Path

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.msg import RecordingHealth
from std_srvs.srv import Trigger

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.recording.dataset_appender import (
    AppendResult,
    DatasetAppender,
    convert_command,
)
from roboalign_policy.core.recording.episodes import RecordingError
from roboalign_policy.core.recording.parameters import RecorderParameters
from roboalign_policy.core.recording.stream_stats import FIT
from roboalign_policy.nodes.recorder.episode_recorder import Busy, EpisodeRecorder
from roboalign_policy.nodes.recorder.health_report import HealthReport
from roboalign_policy.nodes.recorder.recorder_services import RecorderServices
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.parameters import declare_parameters
from roboalign_policy.ros.qos import reliable_qos

RESULT = RecordEpisode.Result
NORMAL_ENDS = (RESULT.REASON_STOPPED, RESULT.REASON_MAX_DURATION)
_LOOK_S, _ADAPT_EVERY = 0.1, 5  # s; looks


class RecorderNode(Node):
    """Action, services and health around an EpisodeRecorder; a worker for the data set."""

    def __init__(self) -> None:
        """Declare, load the contract, subscribe, open action and services."""
        super().__init__("recorder_node")
        self._settings = declare_parameters(self, RecorderParameters)
        contract_path = find_contract(self._settings.contract)
        self._recorder = EpisodeRecorder(
            self, self._settings, load_contract(contract_path), self._on_end
        )
        self._report = HealthReport(self._recorder)
        self._goal: ServerGoalHandle | None = None
        # What became of each goal's request, in the order in which the goals are executed.
        self._begun: deque[RecordingError | OSError | None] = deque()
        self._append_fault = ""
        self._appender: DatasetAppender | None = None
        if self._settings.dataset_dir:
            dataset = Path(self._settings.dataset_dir).expanduser().resolve()
            command = functools.partial(convert_command, dataset, contract_path)
            self._appender = DatasetAppender(command, self._on_appended)
        self._health = self.create_publisher(
            RecordingHealth, "~/health", reliable_qos(1, latched=True)
        )
        self.create_service(Trigger, "~/report", self._on_report)
        self._server = ActionServer(
            self,
            RecordEpisode,
            "~/record_episode",
            self._on_goal,
            goal_callback=self._on_request,
            cancel_callback=self._on_cancel,
        )
        RecorderServices(self, self._recorder)
        self._unhealthy: frozenset[str] = frozenset()
        self._state = ("", False)  # the episode, and whether it is interrupted
        self._looks, self._told_s = 0, time.monotonic()
        # Steady: health goes out at its rate while simulated time stands still, too.
        self.create_timer(_LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_request(self, request: RecordEpisode.Goal) -> GoalResponse:
        """Begin before the goal is accepted: what the client sends after that belongs to it."""
        try:
            if not request.max_duration_s >= 0:
                raise RecordingError(
                    f"max_duration_s: found {request.max_duration_s}, expected 0 or more"
                )
            self._recorder.begin(request.instruction, request.episode_id, request.operator_name)
            self._begun.append(None)
        except (RecordingError, OSError) as error:
            self._begun.append(error)  # a rejected goal has no result that could say why
        return GoalResponse.ACCEPT

    async def _on_goal(self, goal: ServerGoalHandle) -> RecordEpisode.Result:
        """Action ~/record_episode."""
        request, error = goal.request, self._begun.popleft()
        if error is not None:
            goal.abort()
            busy = isinstance(error, Busy)
            reason = RESULT.REASON_BUSY if busy else RESULT.REASON_INVALID_GOAL
            return RESULT(reason=reason, message=str(error))
        episode_id = self._recorder.episode_id
        self._goal, timer = goal, None
        if request.max_duration_s:
            timer = self.create_timer(
                request.max_duration_s, functools.partial(self._on_limit, episode_id)
            )
        end = await self._recorder.ended
        self._goal = None
        if timer is not None:
            self.destroy_timer(timer)
        if goal.is_cancel_requested:
            goal.canceled()
        elif end.reason in NORMAL_ENDS:
            goal.succeed()
        else:
            goal.abort()
        return end

    def _on_cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        """A cancelled goal is a normal end of its episode."""
        if goal is self._goal and self._recorder.episode_id:
            self._recorder.finish("unknown", RESULT.REASON_CANCELLED)
        return CancelResponse.ACCEPT

    def _on_limit(self, episode_id: str) -> None:
        """The goal's greatest duration has passed."""
        if self._recorder.episode_id == episode_id:
            self._recorder.finish("unknown", RESULT.REASON_MAX_DURATION)

    def _on_end(self, end: RecordEpisode.Result) -> None:
        """Log the end of an episode and pass a bag that is fit on to the data set."""
        text = f"{end.episode_id}: {end.outcome}, {end.messages} messages, {end.duration_s:.1f} s"
        text += f", {end.verdict} ({end.notes})" if end.notes else f", {end.verdict}"
        if not end.bag_path or end.verdict != FIT:
            self.get_logger().warning(f"{text}; {end.message or 'not for training'}")
            return
        self.get_logger().info(text)
        if self._appender is not None:
            self._appender.add(Path(end.bag_path))

    def _on_appended(self, result: AppendResult) -> None:
        """Called from the appender's thread after each run."""
        self._append_fault = f"data set: {result.fault}" if result.fault else ""
        names = ", ".join(bag.name for bag in result.bags)
        if result.fault:
            self.get_logger().error(f"not appended to the data set: {names}: {result.fault}")
        else:
            self.get_logger().info(f"appended to the data set: {names}")

    def _on_report(
        self, _request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        """Service ~/report: health goes out now; who must not stop too early counts by it."""
        self._recorder.streams.drain()
        self._watch()
        response.success = True
        return response

    def _look(self) -> None:
        """Notice what has changed: publishers, the episode, its bag, streams that fall silent."""
        self._looks += 1
        if self._looks % _ADAPT_EVERY == 0:
            self._recorder.adapt()
        self._recorder.look_at_disk()
        unhealthy = self._report.unhealthy()
        for topic in sorted(unhealthy - self._unhealthy):
            self.get_logger().warning(f"{topic}: not as it should be, see ~/health")
        session = self._recorder.session
        state = (self._recorder.episode_id, session is not None and session.paused)
        changed = unhealthy != self._unhealthy or state != self._state
        self._unhealthy, self._state = unhealthy, state
        if changed or time.monotonic() - self._told_s >= self._settings.health_period_s:
            self._watch()

    def _watch(self) -> None:
        """Publish health and feedback."""
        self._told_s = time.monotonic()
        faults = [text for text in (self._append_fault, self._recorder.fault) if text]
        health = self._report.message(faults)
        self._health.publish(health)
        if self._goal is not None:
            self._goal.publish_feedback(self._report.feedback(health))

    async def stop(self) -> None:
        """Finish the present episode; called once, before the node goes."""
        if self._recorder.episode_id:
            await self._recorder.finish(
                "unknown", RESULT.REASON_SHUTDOWN, "the recorder was stopped"
            )

    def destroy_node(self) -> None:
        """Bring everything to disk, then go."""
        self._recorder.close()
        if self._appender is not None and self._appender.busy:
            self.get_logger().info("appending the last episodes to the data set before the end")
        for bag in self._appender.close() if self._appender is not None else ():
            self.get_logger().warning(
                f"{bag}: not appended to the data set any more; `roboalign convert` can do it"
            )
        super().destroy_node()


def main() -> int:
    """Run the node until it is told to stop; exit status."""
    return run_node(lambda _: RecorderNode(), takes_words=False)


if __name__ == "__main__":
    sys.exit(main())

"""The recording panel's node: what recorder, policy and joystick say, what is asked of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.duration import Duration
from rclpy.publisher import Publisher
from roboalign_msgs.msg import PolicyStatus, RecordingHealth
from roboalign_msgs.srv import KeepLast, MarkEpisode, StartEpisode, StopEpisode
from sensor_msgs.msg import Joy
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from roboalign_policy.nodes.clients.client_node import ClientNode
from roboalign_policy.ros.qos import reliable_qos

RECORDER = "recorder_node"
SILENT_S = 3.0  # who says nothing for so long is gone
_RUNS = (
    PolicyStatus.STATE_RUNNING,
    PolicyStatus.STATE_OBSERVATION_HOLD,
    PolicyStatus.STATE_CHUNK_HOLD,
    PolicyStatus.STATE_GATE_HOLD,
)
_SERVICES = {
    "start_episode": StartEpisode,
    "stop_episode": StopEpisode,
    "keep_last": KeepLast,
    "mark_episode": MarkEpisode,
    "pause": SetBool,
    "redo_episode": Trigger,
}


class RecorderLink(ClientNode):
    """Client of one recorder_node; nothing is published before an instruction is told.

    Attributes:
        health: what the recorder said last; None before that.
        heard_s: s, steady clock; when it was heard last, answers included.
    """

    def __init__(
        self,
        namespace: str,
        on_health: Callable[[RecordingHealth], None],
        on_policy: Callable[[], None],
        on_buttons: Callable[[list[int]], None] | None,
    ) -> None:
        """Join the graph.

        Args:
            namespace: of the recorder and the robot's topics.
            on_health: told what the recorder says.
            on_policy: called when a policy_node has said how it is.
            on_buttons: told the buttons of a joystick on ``joy``; None: none is listened to.
        """
        super().__init__("recording_panel", namespace)
        self.health: RecordingHealth | None = None
        self.heard_s = 0.0
        self._policy: PolicyStatus | None = None
        self._policy_s = 0.0
        self._on_health, self._on_policy = on_health, on_policy
        self._task: Publisher | None = None  # on the topic that the recorder names
        self.node.create_subscription(
            RecordingHealth, f"{RECORDER}/health", self._hear_health, reliable_qos(1, latched=True)
        )
        self.node.create_subscription(
            PolicyStatus, "policy_node/status", self._hear_policy, reliable_qos(1)
        )
        if on_buttons is not None:
            self.node.create_subscription(
                Joy, "joy", lambda msg: on_buttons(list(msg.buttons)), reliable_qos(10)
            )
        self._clients = {
            name: self.node.create_client(kind, f"{RECORDER}/{name}")
            for name, kind in _SERVICES.items()
        }

    @property
    def fresh(self) -> bool:
        """Whether the recorder has been heard lately."""
        return self.health is not None and time.monotonic() - self.heard_s < SILENT_S

    @property
    def ready(self) -> bool:
        """Whether a recorder is there and answers."""
        return self.fresh and all(client.service_is_ready() for client in self._clients.values())

    @property
    def recorders(self) -> int:
        """How many recorders are there."""
        return self.node.count_publishers(f"{RECORDER}/health")

    def policy_fault(self, correct: bool) -> str:
        """Why no demonstration can begin: a policy would drive in it; empty where none would.

        Args:
            correct: an enabled policy may drive, and a person corrects it.
        """
        status = self._policy
        if not self.node.count_publishers("policy_node/status"):
            return ""
        if status is None or time.monotonic() - self._policy_s > SILENT_S:
            return "policy_node is there and says nothing: end it, or wait for its status"
        corrected = correct and status.enabled and not status.goal
        if status.state in _RUNS and not corrected:
            goal = " by a goal" if status.goal else ""
            way = "" if correct or goal else ", or --correct where it is enabled"
            return f"policy_node drives{goal} ({status.instruction}): end that first{way}"
        if status.enabled and not correct:
            return "policy_node is enabled and would drive, too: disable it, or --correct"
        return ""

    def call(self, name: str, done: Callable[[Any], None], **fields: Any) -> None:
        """Call a service of the recorder.

        Args:
            name: of the service.
            done: told its response.
            fields: of the request.
        """
        future = self._clients[name].call_async(_SERVICES[name].Request(**fields))
        future.add_done_callback(lambda future: done(future.result()))

    def ask(self, name: str, timeout_s: float, **fields: Any) -> Any:
        """Response of a service of the recorder; None where it does not answer in time."""
        answers: list[Any] = []
        if self.fresh and self._clients[name].service_is_ready():
            self.call(name, answers.append, **fields)
            self.until(lambda: answers, timeout_s)
        return answers[0] if answers else None

    def tell_task(self, instruction: str) -> None:
        """Publish the instruction: for a policy that a person corrects, and for other listeners.

        Only for as long as the episode lasts and is not interrupted; an empty one withdraws it.
        """
        self._publisher().publish(String(data=instruction))

    def task_confirmed(self, timeout_s: float) -> bool:
        """Whether all who listen to the instruction have confirmed the last one."""
        return self._task.wait_for_all_acked(Duration(seconds=timeout_s))

    def _publisher(self) -> Publisher:
        """Of the task topic, which is there as soon as the recorder has named it."""
        if self._task is None:
            topic = self.health.task_topic or "task"
            self._task = self.node.create_publisher(String, topic, reliable_qos(1, latched=True))
        return self._task

    def _hear_health(self, msg: RecordingHealth) -> None:
        self.health, self.heard_s = msg, time.monotonic()
        self._publisher()
        self._on_health(msg)

    def _hear_policy(self, msg: PolicyStatus) -> None:
        self._policy, self._policy_s = msg, time.monotonic()
        self._on_policy()

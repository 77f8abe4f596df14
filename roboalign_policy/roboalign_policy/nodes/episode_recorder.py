"""Starts and ends episodes on behalf of recorder_node.

Subscriptions in, one bag an episode out.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.serialization import serialize_message
from rclpy.task import Future
from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.msg import Episode, RecordingHealth

from roboalign_policy.core.keys import EPISODE_TOPIC
from roboalign_policy.core.node_parameters import RecorderParameters
from roboalign_policy.core.recording import (
    RecordingError,
    check_episode_id,
    make_episode_id,
    recorded_topics,
)
from roboalign_policy.ros.bag_writer import leftover_partials
from roboalign_policy.ros.episode_session import EpisodeInfo, EpisodeSession
from roboalign_policy.ros.qos import qos_to_dict, reliable_qos
from roboalign_policy.ros.raw_streams import RawStreams, bag_topic
from roboalign_policy.ros.recording_msgs import health_to_msg, marker_to_msg
from roboalign_policy.ros.writer_thread import Result, WriterThread

TOOL = "roboalign recorder_node 0.1.0"
EPISODE_TYPE = "roboalign_msgs/msg/Episode"
MB = 1_000_000


class Busy(RecordingError):
    """Another episode is being recorded."""


@dataclass(frozen=True)
class EpisodeEnd:
    """How an episode ended; all but ``verdict`` is the result of the action."""

    reason: int
    message: str
    episode_id: str
    bag_path: str
    outcome: str
    messages: int
    duration_s: float
    verdict: str

    def result(self) -> RecordEpisode.Result:
        """The action's result."""
        values = dict(vars(self))
        del values["verdict"]
        return RecordEpisode.Result(**values)


class EpisodeRecorder:
    """One episode at a time.

    Attributes:
        root: folder of the bags.
        ended: future of the present or last episode; holds its EpisodeEnd once the bag is on disk.
    """

    def __init__(
        self,
        node: Node,
        settings: RecorderParameters,
        contract: Any,
        on_end: Callable[[EpisodeEnd], None],
    ):
        """Subscribe and start the writer's thread.

        Args:
            node: owns subscriptions and publishers.
            settings: what the node was told.
            contract: what to record.
            on_end: called in the executor after each episode.
        """
        self._node, self._settings, self._contract, self._on_end = node, settings, contract, on_end
        self._contract_yaml = contract.to_yaml()
        self._topics = recorded_topics(contract)
        self.root = Path(settings.bag_dir).expanduser().resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        for partial in leftover_partials(self.root):
            node.get_logger().warning(
                f"{partial}: unfinished bag of an earlier run; `mcap recover` can rescue it"
            )
        self._writer = WriterThread(settings.queue_mb * MB)
        self._session: EpisodeSession | None = None
        self.ended: Future | None = None
        self._streams = RawStreams(
            node, self._topics, self._on_message, lossless=settings.lossless
        )
        marker_qos = reliable_qos(10)
        self._markers = node.create_publisher(Episode, EPISODE_TOPIC, marker_qos)
        marker = bag_topic(self._markers.topic_name, EPISODE_TYPE)
        self._marker_topic = replace(marker, qos=(qos_to_dict(marker_qos),))
        node.get_logger().info(f"{len(self._topics)} topics of {contract.name} into {self.root}")

    @property
    def episode_id(self) -> str:
        """Name of the episode that is being recorded; empty between episodes."""
        return self._session.info.episode_id if self._session else ""

    def begin(self, instruction: str, episode_id: str, operator: str) -> str:
        """Start an episode; returns its id.

        Raises:
            Busy: another one is being recorded.
            RecordingError: a value is not usable, or there is no space.
            OSError: the bag cannot be made.
        """
        if self._session is not None:
            raise Busy(f"episode {self.episode_id} is being recorded: stop it first")
        if not instruction.strip():
            raise RecordingError(
                "instruction: found an empty text, expected what the demonstrator is asked to do"
            )
        episode_id = episode_id or make_episode_id()
        check_episode_id(episode_id)
        if not self.space_left():
            raise RecordingError(
                f"{self.root}: expected {self._settings.min_free_mb} MB of free space, found less"
            )
        self._streams.drain()  # what came before belongs to no episode
        self._writer.begin(
            self.root, episode_id, [*self._streams.bag_topics(), self._marker_topic]
        )
        info = EpisodeInfo(
            episode_id, instruction, operator, self._contract_yaml, self._contract.hash, TOOL
        )
        self.ended = Future(executor=self._node.executor)
        marker = functools.partial(self._mark, info)
        self._session = EpisodeSession(
            info, self._topics, self._writer, self._settings.log_time, self._now_ns(), marker
        )
        self._streams.repeat_latched()
        self._node.get_logger().info(f"{episode_id}: recording ({instruction})")
        return episode_id

    def finish(self, outcome: str, reason: int, message: str = "") -> Future:
        """End the present episode.

        Args:
            outcome: one of ``core.recording.OUTCOMES``.
            reason: ``RecordEpisode.Result.REASON_...``.
            message: what to add to the result.

        Returns:
            holds an EpisodeEnd once the bag is on disk.
        """
        self._streams.drain()  # what has arrived belongs to it
        session, self._session = self._session, None
        verdict = session.end(outcome, self._now_ns())
        duration_s = max(0.0, (session.now_ns(self._now_ns()) - session.start_ns) / 1e9)
        end = EpisodeEnd(
            reason, message, session.info.episode_id, "", outcome, 0, duration_s, verdict
        )
        future = self.ended
        # In the executor, not in the writer's thread; adding it also wakes the executor for those
        # who await the future.
        future.add_done_callback(lambda done: self._on_end(done.result()))
        custom = None if outcome == "discarded" else session.custom_data(outcome, verdict)
        self._writer.end(custom, lambda result: future.set_result(_closed(end, result)))
        return future

    def space_left(self) -> bool:
        """True while there is more free space than the setting asks for."""
        return self._free_bytes() >= self._settings.min_free_mb * MB

    def health(self, faults: list[str]) -> RecordingHealth:
        """Present health; ``faults``: what is wrong besides the streams."""
        free = self._free_bytes()
        return health_to_msg(
            self._topics, self._streams.names, self._session, self._now_ns(), free, faults
        )

    def close(self) -> None:
        """Bring everything to disk and end the writer's thread."""
        self._writer.close()

    def _now_ns(self) -> int:
        """The node's clock, in ns."""
        return self._node.get_clock().now().nanoseconds

    def _free_bytes(self) -> int:
        """Bytes left where bags are written."""
        return shutil.disk_usage(self.root).free

    def _on_message(
        self, index: int, header_ns: int | None, receive_ns: int, send_ns: int, data: bytes
    ) -> None:
        """Hand a message to the episode that is recorded, if there is one."""
        if self._session is not None:
            self._session.add(index, header_ns, receive_ns, send_ns, data)

    def _mark(self, info: EpisodeInfo, outcome: str, stamp_ns: int) -> bytes:
        """Publish a marker; returns it serialised for the bag."""
        msg = marker_to_msg(info, outcome, stamp_ns)
        self._markers.publish(msg)
        return serialize_message(msg)


def _closed(end: EpisodeEnd, result: Result) -> EpisodeEnd:
    """The end of an episode, completed with what became of its bag."""
    if isinstance(result, OSError):
        return replace(
            end,
            reason=RecordEpisode.Result.REASON_WRITE_FAULT,
            message=f"bag not finished: {result}",
        )
    if result is None:
        return replace(end, reason=RecordEpisode.Result.REASON_DISCARDED)
    return replace(end, bag_path=str(result.path), messages=sum(result.counts.values()))

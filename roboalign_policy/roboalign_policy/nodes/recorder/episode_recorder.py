"""Starts, interrupts and ends episodes on behalf of recorder_node.

Subscriptions in, one bag an episode out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rclpy.serialization import serialize_message
from rclpy.task import Future
from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.msg import Episode, GateStatus

from roboalign_policy.core.host.facts import free_bytes
from roboalign_policy.core.keys import EPISODE_TOPIC
from roboalign_policy.core.recording.compression import CompressionChoice
from roboalign_policy.core.recording.driver_times import DriverTimes
from roboalign_policy.core.recording.episodes import (
    RecordingError,
    check_episode_id,
    check_instruction,
    check_outcome,
    make_episode_id,
    recorded_topics,
)
from roboalign_policy.core.recording.parameters import RecorderParameters
from roboalign_policy.core.recording.ring import Arrival, Ring
from roboalign_policy.ros.qos import qos_to_dict, reliable_qos
from roboalign_policy.ros.recording.bag_writer import leftover_partials
from roboalign_policy.ros.recording.episode_session import EpisodeInfo, EpisodeSession
from roboalign_policy.ros.recording.raw_streams import RawStreams, bag_topic
from roboalign_policy.ros.recording.rosbag2_process import Rosbag2Process
from roboalign_policy.ros.recording.writer_thread import Result, WriterThread
from roboalign_policy.ros.stamps import ns_to_stamp

TOOL = f"roboalign recorder_node {version('roboalign_policy')}"
EPISODE_TYPE = "roboalign_msgs/msg/Episode"
MB = 1_000_000
_END = RecordEpisode.Result
_DISK_FAULTS = (_END.REASON_WRITE_FAULT, _END.REASON_DISK_FULL)


class Busy(RecordingError):
    """Another episode is being recorded."""


class EpisodeRecorder:
    """One episode at a time.

    Attributes:
        root: folder of the bags.
        ended: future of the present or last episode; holds its end once the bag is on disk.
        fault: why the last episode was ended, or its bag is not whole, until the next one begins;
            empty: nothing happened to the disk.
        last_id: name of the episode that ended last and was kept; empty before the first one.
        topics: what is recorded.
        task_topic: resolved name of the contract's task topic.
        streams: the subscriptions.
        writer: what brings messages to the disk.
        ring: what arrived between episodes.
        session: the present episode; None between episodes.
    """

    def __init__(
        self,
        node: Node,
        settings: RecorderParameters,
        contract: Any,
        on_end: Callable[[RecordEpisode.Result], None],
    ):
        """Subscribe and start the writer's thread.

        Args:
            node: owns subscriptions and publishers.
            settings: what the node was told.
            contract: what to record.
            on_end: called in the executor after each episode.

        Raises:
            CompressionError: the compression names something unknown.
            ValueError: parameters that contradict each other.
            FileNotFoundError: `ros2 bag` is wanted and not installed.
        """
        self._node, self._settings, self._contract, self._on_end = node, settings, contract, on_end
        self._contract_yaml = contract.to_yaml()
        self.topics = recorded_topics(contract, CompressionChoice(settings.compression))
        self.root = Path(settings.bag_dir).expanduser().resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        for partial in leftover_partials(self.root):
            node.get_logger().warning(
                f"{partial}: unfinished bag of an earlier run; `roboalign recover` rescues it"
            )
        self.writer = _writer(settings, node)
        self.session: EpisodeSession | None = None
        self.ring = Ring(settings.ring_s, settings.ring_mb * MB)
        self.ended: Future | None = None
        self.last_id = self.fault = ""
        self.streams = RawStreams(node, self.topics, self._on_message, lossless=settings.lossless)
        names = [topic.topic for topic in self.topics]
        self.task_topic = self.streams.names[names.index(contract.task.topic)]
        self._drivers, self._since_ns = DriverTimes(), 0
        node.create_subscription(
            GateStatus, "safety_gate_node/status", self._on_gate, reliable_qos(10)
        )
        marker_qos = reliable_qos(10)
        self._markers = node.create_publisher(Episode, EPISODE_TOPIC, marker_qos)
        marker = bag_topic(self._markers.topic_name, EPISODE_TYPE)
        self._marker_topic = replace(marker, qos=(qos_to_dict(marker_qos),))
        node.get_logger().info(f"{len(self.topics)} topics of {contract.name} into {self.root}")

    @property
    def episode_id(self) -> str:
        """Name of the episode that is being recorded; empty between episodes."""
        return self.session.info.episode_id if self.session else ""

    def begin(self, instruction: str, episode_id: str, operator: str) -> str:
        """Start an episode; returns its id.

        Raises:
            Busy: another one is being recorded.
            RecordingError: a value is not usable, or there is no space.
            OSError: the bag cannot be made.
        """
        info = self._open(instruction, episode_id, operator)
        start_ns = self.now_ns()  # before that: nothing that arrives from now on is earlier
        self.streams.drain()  # what came before the bag was open belongs to no episode
        return self._begin(info, start_ns, [])

    def keep_last(
        self, seconds: float, instruction: str, episode_id: str, operator: str, outcome: str
    ) -> Future:
        """Record what is held in memory as an episode; see `finish` for what is returned.

        Args:
            seconds: s; how much of it; 0: all.
            instruction: what the demonstrator was asked to do.
            episode_id: unique name; empty: one is made.
            operator: who demonstrated.
            outcome: one of ``core.recording.episodes.OUTCOMES``, not discarded.

        Raises:
            As of `begin`.
        """
        check_outcome(outcome)
        if not seconds >= 0:
            raise RecordingError(f"seconds: found {seconds}, expected 0 or more")
        if not self._settings.ring_s:
            raise RecordingError("ring_s: found 0, expected the seconds to hold in memory")
        self.streams.drain()
        since_ns = self.now_ns() - round(seconds * 1e9) if seconds else 0
        if self.session is None and not len(self.ring):
            raise RecordingError("nothing has arrived: there is nothing to keep")
        before = self.ring.since(since_ns)
        # Not the first one's: what different topics brought was not taken in order of arrival.
        start_ns = min((arrival.receive_ns for arrival in before), default=self.now_ns())
        self._begin(self._open(instruction, episode_id, operator), start_ns, before)
        return self.finish(outcome, _END.REASON_STOPPED)

    def _open(self, instruction: str, episode_id: str, operator: str) -> EpisodeInfo:
        """Check everything and make the bag."""
        if self.session is not None:
            raise Busy(f"episode {self.episode_id} is being recorded: stop it first")
        check_instruction(instruction)
        episode_id = episode_id or make_episode_id()
        check_episode_id(episode_id)
        if not self.space_left():
            raise RecordingError(
                f"{self.root}: expected {self._settings.min_free_mb} MB of free space, found less"
            )
        info = EpisodeInfo(
            episode_id,
            instruction,
            operator,
            self._contract_yaml,
            self._contract.hash,
            TOOL,
            self._settings.log_time,
            self.streams.remapped(),
        )
        topics = [*self.streams.bag_topics(), self._marker_topic]
        sync_s, known = self._settings.sync_s, info.custom_data()
        self.writer.begin(self.root, episode_id, topics, sync_s, known)
        return info

    def _begin(self, info: EpisodeInfo, start_ns: int, before: Sequence[Arrival]) -> str:
        """Start the episode whose bag is open."""
        self.ended = Future(executor=self._node.executor)
        marker = functools.partial(self._mark, info)
        self.session = EpisodeSession(
            info, self.topics, self.writer, start_ns, marker, self._contract
        )
        there = {arrival.index for arrival in before}
        latched = [a for a in self.streams.latched(start_ns) if a.index not in there]
        for arrival in (*latched, *before):
            self.session.add(arrival)
        self._since_ns = start_ns
        self.ring.clear()  # only now: an episode that cannot be begun costs nothing
        self._node.get_logger().info(f"{info.episode_id}: recording ({info.instruction})")
        return info.episode_id

    def pause(self, paused: bool) -> None:
        """Interrupt the present episode, or go on with it.

        Raises:
            RecordingError: nothing is being recorded.
        """
        if self.session is None:
            raise RecordingError("no episode is being recorded")
        self.streams.drain()  # what has arrived was sent before
        self.session.pause(paused, self.now_ns())
        if not paused:
            for arrival in self.streams.latched(self.now_ns()):
                self.session.add(arrival)

    def redo(self) -> str:
        """Throw the present episode away and begin it again; returns the new id.

        Raises:
            RecordingError: nothing is being recorded, or as of `begin`.
            OSError: the bag cannot be made.
        """
        if self.session is None:
            raise RecordingError("no episode is being recorded")
        info = self.session.info
        self.finish("discarded", _END.REASON_DISCARDED, "done again")
        return self.begin(info.instruction, "", info.operator)

    def finish(self, outcome: str, reason: int, message: str = "") -> Future:
        """End the present episode.

        Args:
            outcome: one of ``core.recording.episodes.OUTCOMES``.
            reason: ``RecordEpisode.Result.REASON_...``.
            message: what to add to the result.

        Returns:
            holds the action's result once the bag is on disk.
        """
        self.streams.drain()  # what has arrived belongs to it
        session, self.session = self.session, None
        verdict = session.end(outcome, self.now_ns())
        drivers = self._drivers.seconds(self._since_ns, self.now_ns())
        end = _END(
            reason=reason,
            message=message,
            episode_id=session.info.episode_id,
            outcome=outcome,
            duration_s=max(0.0, (session.now_ns(self.now_ns()) - session.start_ns) / 1e9),
            verdict=verdict,
            notes=session.notes(drivers),
        )
        future = self.ended
        # In the executor, not in the writer's thread; adding it also wakes the executor for those
        # who await the future.
        future.add_done_callback(lambda done: self._ended(done.result()))
        kept = outcome != "discarded"
        custom = session.custom_data(outcome, verdict, drivers) if kept else None
        self.writer.end(custom, lambda result: future.set_result(_closed(end, result)))
        return future

    def adapt(self) -> None:
        """Ask publishers for what they offer by now; nothing that is being recorded is touched."""
        session = self.session
        indices = range(len(self.topics))
        if session is not None:
            indices = [i for i in indices if not session.stats[i].count]
        self.streams.adapt(indices)

    def look_at_disk(self) -> None:
        """End the present episode at a fault of its bag, and before the disk is full."""
        if self.session is None:
            return
        self.fault = ""
        if fault := self.writer.fault:
            self.finish("unknown", _END.REASON_WRITE_FAULT, str(fault))
        elif not self.space_left():
            message = f"less than {self._settings.min_free_mb} MB left in {self.root}"
            self.finish("unknown", _END.REASON_DISK_FULL, message)

    def space_left(self) -> bool:
        """True while there is more free space than the setting asks for."""
        return free_bytes(self.root) >= self._settings.min_free_mb * MB

    def close(self) -> None:
        """Bring everything to disk and end the writer's thread."""
        self.writer.close()

    def _ended(self, end: RecordEpisode.Result) -> None:
        self.fault = end.message if end.reason in _DISK_FAULTS else ""
        if end.bag_path:
            self.last_id = end.episode_id
        self._on_end(end)

    def now_ns(self) -> int:
        """The node's clock, in ns."""
        return self._node.get_clock().now().nanoseconds

    def _on_message(self, arrival: Arrival) -> None:
        """Hand a message to the episode that is recorded, or keep it for a while."""
        if self.session is not None:
            self.session.add(arrival)
        else:
            self.ring.add(arrival)

    def _on_gate(self, msg: GateStatus) -> None:
        """Note who drives; nobody while the episode is interrupted."""
        now_ns, session = self.now_ns(), self.session
        if session is None:
            self._drivers.forget(now_ns - round(self._settings.ring_s * 1e9))
        nobody = msg.dry_run or (session is not None and session.paused)
        self._drivers.status("" if nobody else msg.source, now_ns)

    def _mark(self, info: EpisodeInfo, event: int, outcome: str, stamp_ns: int) -> bytes:
        """Publish a marker; returns it serialised for the bag."""
        msg = Episode(
            stamp=ns_to_stamp(stamp_ns),
            event=event,
            episode_id=info.episode_id,
            instruction=info.instruction,
            outcome=outcome or Episode.OUTCOME_UNKNOWN,
            contract_hash=info.contract_hash,
            operator_name=info.operator,
        )
        self._markers.publish(msg)
        return serialize_message(msg)


def _writer(settings: RecorderParameters, node: Node) -> WriterThread | Rosbag2Process:
    """What brings messages to the disk: the suite's own writer, or `ros2 bag record`.

    Raises:
        ValueError: `ros2 bag record` is asked for what it cannot do.
        FileNotFoundError: it is not installed.
    """
    if settings.storage == "mcap":
        return WriterThread(settings.queue_mb * MB)
    if settings.log_time != "receive" or settings.ring_s:
        raise ValueError(
            f"storage: found rosbag2 with log_time {settings.log_time} and ring_s "
            f"{settings.ring_s:g}, expected log_time receive and ring_s 0: it files messages "
            "by their arrival, and has none from before its start"
        )
    return Rosbag2Process(node)


def _closed(end: RecordEpisode.Result, result: Result) -> RecordEpisode.Result:
    """How an episode ended, completed with what became of its bag."""
    if isinstance(result, OSError):
        end.reason, end.message = _END.REASON_WRITE_FAULT, f"bag not finished: {result}"
    elif result is None:
        end.reason = _END.REASON_DISCARDED
    else:
        end.bag_path, end.messages = str(result.path), sum(result.counts.values())
        end.verdict = result.verdict or end.verdict
    return end

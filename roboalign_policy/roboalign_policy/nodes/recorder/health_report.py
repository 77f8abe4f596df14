"""What recorder_node says of its streams and its disk."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.msg import RecordingHealth

from roboalign_policy.core.host.facts import free_bytes
from roboalign_policy.core.recording.stream_stats import unhealthy_reason
from roboalign_policy.nodes.recorder.episode_recorder import EpisodeRecorder
from roboalign_policy.ros.recording.episode_session import EpisodeSession
from roboalign_policy.ros.stamps import ns_to_stamp


class HealthReport:
    """Makes health messages of a recorder; the bandwidth is that since the last one."""

    def __init__(self, recorder: EpisodeRecorder) -> None:
        """Take what is looked at."""
        self._recorder = recorder
        self._last: tuple[str, float, int] = ("", time.monotonic(), 0)

    def message(self, faults: Sequence[str]) -> RecordingHealth:
        """Present health; ``faults``: what is wrong besides the streams."""
        recorder, writer, session = self._recorder, self._recorder.writer, self._recorder.session
        bandwidth, free = self._bandwidth(), free_bytes(recorder.root)
        msg = RecordingHealth(
            recording=session is not None,
            task_topic=recorder.task_topic,
            queue_bytes=writer.waiting_bytes,
            queue_peak_bytes=writer.peak_bytes,
            queue_limit_bytes=writer.limit_bytes,
            bandwidth=bandwidth,
            free_bytes=free,
            disk_left_s=free / bandwidth if bandwidth else math.inf,
            ring_s=recorder.ring.span_s(),
        )
        now_ns, reasons = recorder.now_ns(), list(faults)
        msg.header.stamp = ns_to_stamp(now_ns)
        if session is not None:
            reasons += self._streams(msg, session, session.now_ns(now_ns))
        msg.reason = "; ".join(reasons)
        return msg

    def feedback(self, health: RecordingHealth) -> RecordEpisode.Feedback:
        """The same for the client of an action."""
        return RecordEpisode.Feedback(
            episode_id=health.episode_id,
            bag_path=str(self._recorder.root / health.episode_id),
            messages=health.messages,
            dropped=health.dropped,
            elapsed_s=health.duration_s,
        )

    def unhealthy(self) -> frozenset[str]:
        """Topics that are not healthy now; none between episodes and in a pause."""
        session, topics = self._recorder.session, self._recorder.topics
        if session is None or session.paused:
            return frozenset()
        reasons = self._reasons(session, session.now_ns(self._recorder.now_ns()))
        return frozenset(t.topic for t, reason in zip(topics, reasons, strict=True) if reason)

    def _streams(self, msg: RecordingHealth, session: EpisodeSession, log_ns: int) -> list[str]:
        """Fill in what is known of an episode; why its streams are not healthy."""
        msg.episode_id, msg.paused = session.info.episode_id, session.paused
        msg.messages, msg.bytes, msg.dropped = session.messages, session.bytes, session.dropped
        msg.duration_s = max(0.0, (log_ns - session.start_ns) / 1e9)
        msg.topics = list(self._recorder.streams.names)
        msg.counts = [stats.count for stats in session.stats]
        msg.losses = [stats.lost for stats in session.stats]
        msg.losses_known = [stats.loss_known for stats in session.stats]
        msg.rates_hz = [stats.rate_hz(log_ns) for stats in session.stats]
        msg.expected_hz = [float(topic.expected_hz) for topic in self._recorder.topics]
        msg.max_gaps_s = [stats.max_gap_ns / 1e9 for stats in session.stats]
        msg.lost = sum(msg.losses)
        reasons = self._reasons(session, log_ns)
        msg.healthy = [not reason for reason in reasons]
        return [reason for reason in reasons if reason]

    def _reasons(self, session: EpisodeSession, log_ns: int) -> list[str]:
        """Why each topic of an episode is not healthy; empty where it is."""
        watched_s = 0.0 if session.paused else (log_ns - session.watched_ns) / 1e9
        return [
            unhealthy_reason(topic, stats, log_ns, watched_s)
            for topic, stats in zip(self._recorder.topics, session.stats, strict=True)
        ]

    def _bandwidth(self) -> float:
        """Bytes a second of the present episode since the last report."""
        session, now_s = self._recorder.session, time.monotonic()
        name, written = ("", 0) if session is None else (session.info.episode_id, session.bytes)
        before, before_s, before_bytes = self._last
        self._last = (name, now_s, written)
        if name != before:
            before_bytes = 0
        return max(0, written - before_bytes) / max(now_s - before_s, 1e-3)

"""What recorder_node says of its streams and its disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from roboalign_msgs.action import RecordEpisode
from roboalign_msgs.msg import RecordingHealth

from roboalign_policy.core.host.facts import free_bytes
from roboalign_policy.core.recording.stream_stats import unhealthy_reason
from roboalign_policy.ros.recording.recording_msgs import Storage, health_to_msg

if TYPE_CHECKING:
    from roboalign_policy.nodes.recorder.episode_recorder import EpisodeRecorder


class HealthReport:
    """Makes health messages of a recorder; the bandwidth is that since the last one."""

    def __init__(self, recorder: EpisodeRecorder) -> None:
        """Take what is looked at."""
        self._recorder = recorder
        self._last: tuple[str, float, int] = ("", time.monotonic(), 0)

    def message(self, faults: Sequence[str]) -> RecordingHealth:
        """Present health; ``faults``: what is wrong besides the streams."""
        recorder, writer = self._recorder, self._recorder.writer
        storage = Storage(
            writer.waiting_bytes,
            writer.peak_bytes,
            writer.limit_bytes,
            self._bandwidth(),
            free_bytes(recorder.root),
            recorder.ring.span_s(),
        )
        return health_to_msg(
            recorder.topics,
            recorder.streams.names,
            recorder.session,
            recorder.now_ns(),
            storage,
            faults,
            recorder.task_topic,
        )

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
        session = self._recorder.session
        if session is None or session.paused:
            return frozenset()
        log_ns = session.now_ns(self._recorder.now_ns())
        watched_s = (log_ns - session.watched_ns) / 1e9
        return frozenset(
            topic.topic
            for topic, stats in zip(self._recorder.topics, session.stats, strict=True)
            if unhealthy_reason(topic, stats, log_ns, watched_s)
        )

    def _bandwidth(self) -> float:
        """Bytes a second of the present episode since the last report."""
        session, now_s = self._recorder.session, time.monotonic()
        name, written = ("", 0) if session is None else (session.info.episode_id, session.bytes)
        before, before_s, before_bytes = self._last
        self._last = (name, now_s, written)
        if name != before:
            before_bytes = 0
        return max(0, written - before_bytes) / max(now_s - before_s, 1e-3)

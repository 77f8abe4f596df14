"""What recorder_node says of its streams and its disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from roboalign_msgs.msg import RecordingHealth

from roboalign_policy.core.recording import RecordedTopic
from roboalign_policy.core.stream_stats import unhealthy_reason
from roboalign_policy.ros.episode_session import EpisodeSession
from roboalign_policy.ros.recording_msgs import Storage, health_to_msg
from roboalign_policy.ros.writer_thread import WriterThread


class HealthReport:
    """Makes health messages; the bandwidth is that since the last one."""

    def __init__(self, topics: Sequence[RecordedTopic], writer: WriterThread, root: Path) -> None:
        """Take the places to look at.

        Args:
            topics: what is recorded.
            writer: its queue.
            root: folder of the bags.
        """
        self._topics, self._writer, self._root = topics, writer, root
        self._last: tuple[str, float, int] = ("", time.monotonic(), 0)

    def message(
        self,
        session: EpisodeSession | None,
        names: Sequence[str],
        ring_s: float,
        now_ns: int,
        faults: Sequence[str],
    ) -> RecordingHealth:
        """Present health.

        Args:
            session: the present episode; None between episodes.
            names: resolved topic names.
            ring_s: s; what is kept of the time before an episode.
            now_ns: ns; the node's clock now.
            faults: what is wrong besides the streams.
        """
        storage = Storage(
            self._writer.waiting_bytes,
            self._writer.peak_bytes,
            self._writer.limit_bytes,
            self._bandwidth(session),
            free_bytes(self._root),
            ring_s,
        )
        return health_to_msg(self._topics, names, session, now_ns, storage, faults)

    def unhealthy(self, session: EpisodeSession | None, now_ns: int) -> frozenset[str]:
        """Topics that are not healthy now; none between episodes and in a pause."""
        if session is None or session.paused:
            return frozenset()
        log_ns = session.now_ns(now_ns)
        watched_s = (log_ns - session.watched_ns) / 1e9
        return frozenset(
            topic.topic
            for topic, stats in zip(self._topics, session.stats, strict=True)
            if unhealthy_reason(topic, stats, log_ns, watched_s)
        )

    def _bandwidth(self, session: EpisodeSession | None) -> float:
        """Bytes a second of the present episode since the last report."""
        now_s = time.monotonic()
        name, written = ("", 0) if session is None else (session.info.episode_id, session.bytes)
        before, before_s, before_bytes = self._last
        self._last = (name, now_s, written)
        if name != before:
            before_bytes = 0
        return max(0, written - before_bytes) / max(now_s - before_s, 1e-3)


def free_bytes(folder: Path) -> int:
    """Bytes left on the disk of a folder."""
    return shutil.disk_usage(folder).free

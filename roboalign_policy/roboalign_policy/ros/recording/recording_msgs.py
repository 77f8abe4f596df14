"""Messages about a recording.

The marker of an episode's start and end, and the recorder's health.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from roboalign_msgs.msg import Episode, RecordingHealth

from roboalign_policy.core.recording.episodes import RecordedTopic
from roboalign_policy.core.recording.stream_stats import unhealthy_reason
from roboalign_policy.ros.recording.episode_session import EpisodeInfo, EpisodeSession
from roboalign_policy.ros.stamps import ns_to_stamp


@dataclass(frozen=True)
class Storage:
    """Where messages go.

    Attributes:
        queue_bytes: bytes that wait for the disk.
        queue_peak_bytes: most that waited in this episode.
        queue_limit_bytes: more cannot wait.
        bandwidth: bytes/s, written since the last report.
        free_bytes: bytes left where bags are written.
        ring_s: s; what is kept of the time before an episode.
    """

    queue_bytes: int
    queue_peak_bytes: int
    queue_limit_bytes: int
    bandwidth: float
    free_bytes: int
    ring_s: float


def marker_to_msg(info: EpisodeInfo, event: int, outcome: str, stamp_ns: int) -> Episode:
    """Marker message.

    Args:
        info: the episode.
        event: START, END, PAUSE or RESUME of ``core.recording.episodes``.
        outcome: how it went; empty before the end.
        stamp_ns: ns; when the event happened.
    """
    return Episode(
        stamp=ns_to_stamp(stamp_ns),
        event=event,
        episode_id=info.episode_id,
        instruction=info.instruction,
        outcome=outcome or Episode.OUTCOME_UNKNOWN,
        contract_hash=info.contract_hash,
        operator_name=info.operator,
    )


def health_to_msg(
    topics: Sequence[RecordedTopic],
    names: Sequence[str],
    session: EpisodeSession | None,
    now_ns: int,
    storage: Storage,
    faults: Sequence[str],
    task_topic: str,
) -> RecordingHealth:
    """Health message.

    Args:
        topics: what is recorded.
        names: resolved topic names, in the same order.
        session: the present episode; None between episodes.
        now_ns: ns; the node's clock now.
        storage: where messages go.
        faults: what is wrong besides the streams.
        task_topic: resolved name of the contract's.
    """
    msg = RecordingHealth(recording=session is not None, **vars(storage))
    msg.task_topic = task_topic
    msg.disk_left_s = storage.free_bytes / storage.bandwidth if storage.bandwidth else math.inf
    msg.header.stamp = ns_to_stamp(now_ns)
    reasons = list(faults)
    if session is not None:
        reasons += _streams(msg, topics, names, session, now_ns)
    msg.reason = "; ".join(reasons)
    return msg


def _streams(
    msg: RecordingHealth,
    topics: Sequence[RecordedTopic],
    names: Sequence[str],
    session: EpisodeSession,
    now_ns: int,
) -> list[str]:
    """Fill in what is known of an episode; why its streams are not healthy."""
    log_ns, reasons = session.now_ns(now_ns), []
    msg.episode_id, msg.paused = session.info.episode_id, session.paused
    msg.messages, msg.bytes, msg.dropped = session.messages, session.bytes, session.dropped
    msg.duration_s = max(0.0, (log_ns - session.start_ns) / 1e9)
    msg.topics = list(names)
    watched_s = 0.0 if session.paused else (log_ns - session.watched_ns) / 1e9
    for topic, stats in zip(topics, session.stats, strict=True):
        reason = unhealthy_reason(topic, stats, log_ns, watched_s)
        msg.counts.append(stats.count)
        msg.losses.append(stats.lost)
        msg.losses_known.append(stats.loss_known)
        msg.rates_hz.append(stats.rate_hz(log_ns))
        msg.expected_hz.append(float(topic.expected_hz))
        msg.max_gaps_s.append(stats.max_gap_ns / 1e9)
        msg.healthy.append(not reason)
        reasons += [reason] if reason else []
    msg.lost = sum(msg.losses)
    return reasons

"""Messages about a recording.

The marker of an episode's start and end, and the recorder's health.
"""

from __future__ import annotations

from collections.abc import Sequence

from roboalign_msgs.msg import Episode, RecordingHealth

from roboalign_policy.core.recording import RecordedTopic, unhealthy_reason
from roboalign_policy.ros.episode_session import EpisodeInfo, EpisodeSession
from roboalign_policy.ros.stamps import ns_to_stamp


def marker_to_msg(info: EpisodeInfo, outcome: str, stamp_ns: int) -> Episode:
    """Marker message.

    Args:
        info: the episode.
        outcome: how it went; empty for the marker of its start.
        stamp_ns: ns; when the event happened.
    """
    return Episode(
        stamp=ns_to_stamp(stamp_ns),
        event=Episode.EVENT_END if outcome else Episode.EVENT_START,
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
    free_bytes: int,
    faults: Sequence[str],
) -> RecordingHealth:
    """Health message.

    Args:
        topics: what is recorded.
        names: resolved topic names, in the same order.
        session: the present episode; None between episodes.
        now_ns: ns; the node's clock now.
        free_bytes: bytes left where bags are written.
        faults: what is wrong besides the streams.
    """
    msg = RecordingHealth(recording=session is not None, free_bytes=free_bytes)
    msg.header.stamp = ns_to_stamp(now_ns)
    reasons = list(faults)
    if session is not None:
        log_ns = session.now_ns(now_ns)
        msg.episode_id, msg.messages, msg.bytes = (
            session.info.episode_id,
            session.messages,
            session.bytes,
        )
        msg.dropped, msg.duration_s = session.dropped, max(0.0, (log_ns - session.start_ns) / 1e9)
        msg.topics = list(names)
        for topic, stats in zip(topics, session.stats, strict=True):
            rate_hz = stats.rate_hz(log_ns)
            reason = unhealthy_reason(topic, rate_hz, stats)
            msg.counts.append(stats.count)
            msg.rates_hz.append(rate_hz)
            msg.expected_hz.append(float(topic.expected_hz))
            msg.max_gaps_s.append(stats.max_gap_ns / 1e9)
            msg.healthy.append(not reason)
            if reason:
                reasons.append(reason)
    msg.reason = "; ".join(reasons)
    return msg

"""Bookkeeping of a recording.

Which topics, which time, how many, how fast, and whether the episode is fit for training.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from roboalign_policy.core.keys import STRING_TYPE

OUTCOMES = ("unknown", "success", "failure", "discarded")
BAG_OPERATOR = "roboalign.operator"
BAG_VERDICT = "roboalign.verdict"
BAG_LOG_TIME = "roboalign.log_time"
FIT = "fit"

RATE_WINDOW_NS = 5_000_000_000
RATE_TOLERANCE = 0.8  # a stream below this share of its expected rate is reported
NS_PER_S = 1_000_000_000
_EPISODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RecordingError(ValueError):
    """An episode that cannot be started or ended as asked; the text names field and value."""


def make_episode_id(now: datetime | None = None) -> str:
    """Name for an episode: UTC time to the second and four random digits, e.g.

    ``20250102T030405-1a2b``.
    """
    now = now or datetime.now(timezone.utc)
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"


def check_episode_id(episode_id: str) -> None:
    """Refuse a name that cannot be a folder beside the others.

    Raises:
        RecordingError: other characters than letters, digits, ``. _ -``, a leading dot, or over
            100 characters.
    """
    if not _EPISODE_ID.fullmatch(episode_id):
        raise RecordingError(
            f"episode_id: found {episode_id!r}, expected 1 to 100 letters, digits, '.', '_' or "
            "'-', not starting with '.'"
        )


def check_outcome(outcome: str) -> None:
    """Refuse an outcome that is none of :data:`OUTCOMES`.

    Raises:
        RecordingError: naming the value.
    """
    if outcome not in OUTCOMES:
        raise RecordingError(f"outcome: found {outcome!r}, expected one of {', '.join(OUTCOMES)}")


@dataclass(frozen=True)
class RecordedTopic:
    """One topic to subscribe to.

    Attributes:
        topic: as in the contract (relative names are in the node's namespace).
        type: ROS 2 message type.
        qos: the contract's QoS entry.
        expected_hz: Hz; 0 where no rate is asked for.
        required: an episode without any message of it is not fit for training.
    """

    topic: str
    type: str
    qos: Any
    expected_hz: float
    required: bool


def recorded_topics(contract: Any) -> tuple[RecordedTopic, ...]:
    """Topics to record: observations, commands, task, extra topics; each once.

    Args:
        contract: ``roboalign_policy.core.contract.Contract``.
    """
    found: dict[str, RecordedTopic] = {}
    for stream in (*contract.observations, *contract.action.commands):
        found.setdefault(
            stream.topic,
            RecordedTopic(stream.topic, stream.type, stream.qos, contract.rate_hz, True),
        )
    task = contract.task
    found.setdefault(task.topic, RecordedTopic(task.topic, STRING_TYPE, task.qos, 0.0, False))
    for extra in contract.extra_topics:
        found.setdefault(
            extra.topic, RecordedTopic(extra.topic, extra.type, extra.qos, 0.0, False)
        )
    return tuple(found.values())


class LogClock:
    """Chooses the time under which a message is filed.

    ``receive``: when it arrived. ``header``: the stamp it carries; one without a stamp takes the
    newest stamp seen in the episode, or ``None`` while there is none (the caller keeps it until
    there is).
    """

    MODES = ("receive", "header")

    def __init__(self, mode: str):
        """Begin an episode.

        Raises:
            RecordingError: ``mode`` is none of :data:`MODES`.
        """
        if mode not in self.MODES:
            raise RecordingError(
                f"log_time: found {mode!r}, expected one of {', '.join(self.MODES)}"
            )
        self.mode = mode
        self.newest_ns: int | None = None

    def stamp(self, header_ns: int | None, receive_ns: int) -> int | None:
        """Time in ns of a message.

        ``header_ns`` is None for a type without a stamp, 0 where it was not set.
        """
        chosen = receive_ns if self.mode == "receive" else header_ns or self.newest_ns
        if chosen is not None:
            self.newest_ns = max(chosen, self.newest_ns or 0)
        return chosen


@dataclass
class StreamStats:
    """Counts and rates of one topic within an episode.

    Attributes:
        count: messages taken for writing.
        dropped: messages lost to a full queue.
        max_gap_ns: ns; longest time between two messages.
    """

    count: int = 0
    dropped: int = 0
    max_gap_ns: int = 0
    _last_ns: int | None = None
    _recent: deque[int] = field(default_factory=deque)

    def add(self, stamp_ns: int) -> None:
        """Count one message filed under ``stamp_ns``."""
        self.count += 1
        if self._last_ns is not None:
            self.max_gap_ns = max(self.max_gap_ns, stamp_ns - self._last_ns)
        self._last_ns = stamp_ns
        self._recent.append(stamp_ns)
        while stamp_ns - self._recent[0] > RATE_WINDOW_NS:
            self._recent.popleft()

    def rate_hz(self, now_ns: int) -> float:
        """Messages a second over the last seconds before ``now_ns``; 0 for a silent stream."""
        recent = [stamp for stamp in self._recent if now_ns - stamp <= RATE_WINDOW_NS]
        if len(recent) < 2:
            return 0.0
        span_ns = max(now_ns, recent[-1]) - recent[0]
        # The time since the last message counts only once it is longer than the usual step: a
        # stream is not slow because the report falls between two of its messages.
        step_ns = (recent[-1] - recent[0]) / (len(recent) - 1)
        if now_ns - recent[-1] <= 1.5 * step_ns:
            span_ns = recent[-1] - recent[0]
        return (len(recent) - 1) * NS_PER_S / span_ns if span_ns else 0.0


def unhealthy_reason(topic: RecordedTopic, rate_hz: float, stats: StreamStats) -> str:
    """Why a stream is not healthy, or an empty string."""
    if stats.dropped:
        return f"{topic.topic}: {stats.dropped} messages lost to a full write queue"
    if topic.expected_hz and stats.count == 0:
        return f"{topic.topic}: silent"
    if topic.expected_hz and rate_hz < RATE_TOLERANCE * topic.expected_hz:
        return f"{topic.topic}: {rate_hz:.1f} Hz, expected {topic.expected_hz:.1f} Hz"
    return ""


def verdict(topics: tuple[RecordedTopic, ...], stats: list[StreamStats]) -> str:
    """``fit``, or ``unfit: ...`` with every reason why the episode must not be trained on."""
    reasons = []
    for topic, stat in zip(topics, stats, strict=True):
        if stat.dropped:
            reasons.append(f"{topic.topic}: {stat.dropped} messages lost to a full write queue")
        elif topic.required and stat.count == 0:
            reasons.append(f"{topic.topic}: no message")
    return f"unfit: {'; '.join(reasons)}" if reasons else FIT

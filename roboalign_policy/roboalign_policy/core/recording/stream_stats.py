"""How the streams of one episode come in: counts, rates, gaps, losses, and the verdict on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from roboalign_policy.core.frames.joint_readings import JointSets, Share, joint_lists
from roboalign_policy.core.recording.episodes import RecordedTopic

FIT = "fit"
BY_TIMES = "unfit: by its times: "
"""Verdict on what was recorded in full: conversion judges that anew, by the rules it is given."""
RATE_WINDOW_NS = 5_000_000_000
RATE_TOLERANCE = 0.8  # a stream below this share of its expected rate is reported
ALARM_PERIODS = 3.0  # a stream silent for so many of its periods is reported ...
ALARM_S = 0.2  # ... once that is longer than this
GRACE_S = 0.5  # at the start of an episode, and after a pause
LOST_SHARE = 0.01  # of a required stream: more lost on the way make an episode unfit
NS_PER_S = 1_000_000_000


@dataclass
class StreamStats:
    """Counts and rates of one topic within an episode.

    Attributes:
        count: messages taken for writing.
        joints: which of them are readings; None where every message is one.
        dropped: messages lost to a full queue.
        lost: messages sent that did not arrive, by their publisher's numbers.
        loss_known: False where these numbers say nothing.
        max_gap_ns: ns; longest time between two readings.
    """

    count: int = 0
    joints: JointSets | None = None
    dropped: int = 0
    lost: int = 0
    loss_known: bool = True
    max_gap_ns: int = 0
    _last_ns: int | None = None
    _recent: deque[int] = field(default_factory=deque)

    @classmethod
    def of(cls, topic: RecordedTopic) -> StreamStats:
        """Empty ones of a topic."""
        sets = JointSets(topic.joints, round(topic.apart_s * NS_PER_S)) if topic.joints else None
        return cls(joints=sets)

    @property
    def others(self) -> int:
        """Messages of other joints among `count`."""
        return self.joints.others.total() if self.joints else 0

    def add(self, stamp_ns: int, names: Sequence[str] = ()) -> bool:
        """Count one message.

        Args:
            stamp_ns: ns; under which it is filed.
            names: the joints that it names.

        Returns:
            Whether it is a reading: not of other joints, and no part that waits for the rest.
        """
        self.count += 1
        if self.joints and names and self.joints.take(names, stamp_ns) is not Share.COMPLETE:
            return False
        if self._last_ns is not None:
            self.max_gap_ns = max(self.max_gap_ns, stamp_ns - self._last_ns)
        self._last_ns = stamp_ns
        self._recent.append(stamp_ns)
        while stamp_ns - self._recent[0] > RATE_WINDOW_NS:
            self._recent.popleft()
        return True

    def miss(self, lost: int | None) -> None:
        """Count messages that did not arrive; None: not known."""
        self.lost += lost or 0
        self.loss_known = self.loss_known and lost is not None

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

    def pause(self) -> None:
        """The time until the next message is no gap."""
        self._last_ns = None
        self._recent.clear()

    def silent_s(self, now_ns: int) -> float:
        """Seconds since the last message; 0 before the first one."""
        return 0.0 if self._last_ns is None else max(0.0, (now_ns - self._last_ns) / NS_PER_S)


def unhealthy_reason(
    topic: RecordedTopic, stats: StreamStats, now_ns: int, watched_s: float
) -> str:
    """Why a stream is not healthy now, or an empty string.

    Args:
        topic: what was expected.
        stats: what came.
        now_ns: ns; in the clock of the log.
        watched_s: s; since the start or the last pause: at first no rate is known.
    """
    if stats.dropped:
        return f"{topic.topic}: {stats.dropped} messages lost to a full write queue"
    if stats.lost > LOST_SHARE * (stats.count + stats.lost):
        return f"{topic.topic}: {stats.lost} messages lost on the way"
    if not topic.expected_hz or watched_s < GRACE_S:
        return ""
    beside = f" ({note})" if stats.joints and (note := stats.joints.note()) else ""
    if stats.count == stats.others:
        return f"{topic.topic}: silent{beside}"
    silent_s = stats.silent_s(now_ns)
    if silent_s > max(ALARM_PERIODS / topic.expected_hz, ALARM_S):
        return f"{topic.topic}: silent for {silent_s:.1f} s{beside}"
    rate_hz = stats.rate_hz(now_ns)
    if rate_hz < RATE_TOLERANCE * topic.expected_hz:
        return f"{topic.topic}: {rate_hz:.1f} Hz, expected {topic.expected_hz:.1f} Hz"
    return ""


def verdict(topics: Sequence[RecordedTopic], stats: Sequence[StreamStats]) -> str:
    """``fit``, or ``unfit: ...`` with every reason why the episode must not be trained on."""
    reasons = []
    for topic, stat in zip(topics, stats, strict=True):
        sent = stat.count + stat.lost
        if stat.dropped:
            reasons.append(f"{topic.topic}: {stat.dropped} messages lost to a full write queue")
        elif topic.required and stat.count == stat.others:
            note = f" ({stat.joints.note()})" if stat.others else ""
            reasons.append(f"{topic.topic}: no message{note}")
        elif topic.required and stat.lost > LOST_SHARE * sent:
            reasons.append(f"{topic.topic}: {stat.lost} of {sent} messages lost on the way")
    return f"unfit: {'; '.join(reasons)}" if reasons else FIT


def notes(topics: Sequence[RecordedTopic], stats: Sequence[StreamStats]) -> str:
    """What is worth knowing of an episode besides its verdict; one line, may be empty."""
    found = []
    for topic, stat in zip(topics, stats, strict=True):
        if stat.lost:
            found.append(f"{topic.topic}: {stat.lost} of {stat.count + stat.lost} lost on the way")
        elif not stat.loss_known and stat.count:
            found.append(f"{topic.topic}: several publishers, losses not known")
        if stat.others:
            joints = joint_lists(stat.joints.others)
            found.append(f"{topic.topic}: {stat.others} messages of other joints ({joints})")
        if topic.expected_hz and stat.max_gap_ns / NS_PER_S > ALARM_PERIODS / topic.expected_hz:
            found.append(f"{topic.topic}: longest gap {stat.max_gap_ns / NS_PER_S:.2f} s")
    return "; ".join(found)

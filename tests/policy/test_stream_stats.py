"""Rates, gaps, alarms, losses and the verdict on them."""

from __future__ import annotations

import pytest

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.recording.episodes import recorded_topics
from roboalign_policy.core.recording.stream_stats import (
    FIT,
    StreamStats,
    notes,
    unhealthy_reason,
    verdict,
)

S = 1_000_000_000
CAMERA = "camera/front/image_raw"
WATCHED_S = 10.0


@pytest.fixture(scope="module")
def topics():
    """The simulator's topics; all are expected at 10 Hz, and the first is a camera."""
    return recorded_topics(load_contract(find_contract("sim_panda")))


def streaming(hz, seconds, **values):
    """A stream at a steady rate that began at 0."""
    stats = StreamStats(**values)
    for k in range(round(hz * seconds) + 1):
        stats.add(round(k * S / hz))
    return stats


def test_rate_of_a_steady_stream_is_exact_between_messages():
    """10 Hz stays 10 Hz half a period after the last message."""
    stats = streaming(10, 4)
    assert stats.rate_hz(4 * S + S // 20) == pytest.approx(10.0)
    assert stats.max_gap_ns == S // 10


def test_rate_falls_when_a_stream_goes_silent():
    """Two seconds of silence after two seconds of 10 Hz halve the rate; six end it."""
    stats = streaming(10, 2)
    assert stats.rate_hz(4 * S) == pytest.approx(5.0)
    assert stats.rate_hz(8 * S) == 0.0
    assert stats.silent_s(4 * S) == pytest.approx(2.0)


def test_messages_of_other_joints_count_for_no_rate_and_hide_no_silence(topics):
    (index,) = (i for i, topic in enumerate(topics) if topic.topic == "joint_states")
    topic, stats = topics[index], StreamStats.of(topics[index])
    for k in range(21):
        stats.add(k * S // 10, topic.joints)
    for k in range(301):
        stats.add(k * S // 100, ("finger",))
    assert (stats.count, stats.others) == (322, 301)
    assert stats.rate_hz(2 * S) == pytest.approx(10.0)
    assert unhealthy_reason(topic, stats, 2 * S, WATCHED_S) == ""
    assert unhealthy_reason(topic, stats, 3 * S, WATCHED_S) == (
        "joint_states: silent for 1.0 s (messages of other joints came: finger)"
    )
    assert notes([topic], [stats]) == "joint_states: 301 messages of other joints (finger)"
    alone = StreamStats.of(topic)
    alone.add(0, ("finger",))
    assert unhealthy_reason(topic, alone, S, WATCHED_S) == (
        "joint_states: silent (messages of other joints came: finger)"
    )
    assert verdict([topic], [alone]) == (
        "unfit: joint_states: no message (messages of other joints came: finger)"
    )


def test_joints_in_two_messages_are_counted_as_readings(topics):
    topic = next(topic for topic in topics if topic.topic == "joint_states")
    stats = StreamStats.of(topic)
    for k in range(21):
        for half in (topic.joints[:3], topic.joints[3:]):
            stats.add(k * S // 10, half)
    assert stats.count == 42
    assert stats.rate_hz(2 * S) == pytest.approx(10.0)


def test_a_pause_is_no_gap():
    stats = streaming(10, 1)
    stats.pause()
    assert stats.silent_s(9 * S) == 0.0
    stats.add(9 * S)
    stats.add(9 * S + S // 10)
    assert stats.max_gap_ns == S // 10
    assert stats.rate_hz(9 * S + S // 10) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("stats", "now_s", "expected"),
    [
        (streaming(10, 4), 4.0, ""),
        (streaming(10, 4), 4.25, ""),
        (streaming(10, 4), 4.35, f"{CAMERA}: silent for 0.3 s"),
        (streaming(7, 4), 4.0, f"{CAMERA}: 7.0 Hz, expected 10.0 Hz"),
        (StreamStats(), 4.0, f"{CAMERA}: silent"),
        (streaming(10, 4, dropped=2), 4.0, f"{CAMERA}: 2 messages lost to a full write queue"),
        (streaming(10, 4, lost=1), 4.0, f"{CAMERA}: 1 messages lost on the way"),
    ],
)
def test_alarms_say_what_is_wrong(topics, stats, now_s, expected):
    assert unhealthy_reason(topics[0], stats, round(now_s * S), WATCHED_S) == expected


def test_at_first_only_losses_are_alarms(topics):
    assert unhealthy_reason(topics[0], StreamStats(), S, 0.1) == ""
    assert "lost" in unhealthy_reason(topics[0], StreamStats(dropped=1), S, 0.1)


def test_one_message_in_many_lost_on_the_way_is_a_note_and_no_alarm(topics):
    stats = [streaming(10, 30, lost=1) for _ in topics]
    assert unhealthy_reason(topics[0], stats[0], 30 * S, WATCHED_S) == ""
    assert verdict(topics, stats) == FIT
    assert notes(topics, stats).startswith(f"{CAMERA}: 1 of 302 lost on the way; joint_states: 1")


def test_verdict_names_every_reason(topics):
    stats = [streaming(10, 10) for _ in topics]
    assert verdict(topics, stats) == FIT and notes(topics, stats) == ""
    stats[0].dropped, stats[1].count, stats[2].lost = 3, 0, 20
    assert verdict(topics, stats) == (
        f"unfit: {CAMERA}: 3 messages lost to a full write queue; joint_states: no message; "
        "ee_pose: 20 of 121 messages lost on the way"
    )


def test_losses_of_what_is_not_needed_make_nothing_unfit(topics):
    stats = [streaming(10, 10) for _ in topics]
    (task,) = (i for i, topic in enumerate(topics) if topic.topic == "task")
    stats[task] = StreamStats(lost=5)
    assert verdict(topics, stats) == FIT


def test_gaps_and_unknown_losses_are_noted(topics):
    stats = [streaming(10, 10) for _ in topics]
    stats[0].add(11 * S)
    for lost in (0, None, 0):
        stats[1].miss(lost)
    assert notes(topics, stats) == (
        f"{CAMERA}: longest gap 1.00 s; joint_states: several publishers, losses not known"
    )

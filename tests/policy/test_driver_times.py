"""Who drove while an episode was recorded."""

from __future__ import annotations

import pytest

from roboalign_policy.core.recording.driver_times import DriverTimes, driver_note

S = 1_000_000_000
POLICY = "ab" * 32


def statuses(times, begin_ns, end_ns, source):
    """A status ten times a second."""
    for now_ns in range(begin_ns, end_ns, S // 10):
        times.status(source, now_ns)


def test_each_source_has_its_seconds_within_the_episode_alone():
    times = DriverTimes()
    statuses(times, 0, 10 * S, POLICY)
    statuses(times, 10 * S, 14 * S, "teleoperation")
    statuses(times, 14 * S, 15 * S, "")
    statuses(times, 15 * S, 16 * S, POLICY)
    found = times.seconds(8 * S, 16 * S)
    assert found == pytest.approx({POLICY: 3.0, "teleoperation": 4.0})
    assert driver_note(found) == "driven by a policy for 3.0 of 7.0 s (abababababab 3.0 s)"
    assert times.seconds(0, 16 * S)[POLICY] == pytest.approx(11.0)
    times.forget(12 * S)
    assert times.seconds(0, 16 * S) == pytest.approx({POLICY: 1.0, "teleoperation": 4.0})


def test_a_gate_that_is_gone_drives_nobody():
    times = DriverTimes()
    times.status(POLICY, 1 * S)
    assert times.seconds(0, 60 * S) == {POLICY: pytest.approx(1.0)}
    times.status(POLICY, 60 * S)
    times.status("", 55 * S)  # a clock that was set back
    assert times.seconds(0, 61 * S) == {POLICY: pytest.approx(1.0)}


def test_a_person_alone_is_no_news():
    assert driver_note({}) == driver_note({"teleoperation": 12.0}) == ""

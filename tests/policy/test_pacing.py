"""The beat of one timer: steps, control ticks, signs of life, and steps off the beat."""

import pytest

from roboalign_policy.core.drive.pacing import Due, Pace

STEP, CONTROL, LIFE = Due(True, True), Due(False, True), Due(False, False)


def beat(pace, count, first_s=0.0):
    return [pace.tick(first_s + number / pace.rate_hz) for number in range(count)]


@pytest.mark.parametrize(
    ("rate_hz", "control_ticks", "timer_hz"),
    [(10.0, 1, 50.0), (15.0, 1, 60.0), (30.0, 1, 60.0), (10.0, 10, 100.0), (30.0, 3, 90.0)]
    + [(50.0, 1, 50.0), (100.0, 1, 100.0), (7.0, 1, 56.0)],
)
def test_the_timer_runs_at_a_multiple_of_both_rates_and_at_50_hz_or_more(
    rate_hz, control_ticks, timer_hz
):
    assert Pace(1.0 / rate_hz, control_ticks).rate_hz == pytest.approx(timer_hz)


def test_the_beat():
    assert beat(Pace(0.1, 1), 6) == [STEP, LIFE, LIFE, LIFE, LIFE, STEP]
    assert beat(Pace(0.1, 10), 11) == [STEP, *[CONTROL] * 9, STEP]
    assert beat(Pace(0.1, 2), 7) == [STEP, LIFE, LIFE, CONTROL, LIFE, LIFE, STEP]


def test_a_restart_waits_until_the_last_step_has_had_its_time():
    pace = Pace(0.1, 1)
    assert pace.ready(0.0)
    assert pace.tick(0.0) == STEP
    pace.stepped(0.0)
    pace.restart()
    assert [pace.tick(t) for t in (0.02, 0.04, 0.06)] == [LIFE] * 3
    assert not pace.ready(0.079)
    assert pace.ready(0.081)
    assert pace.tick(0.081) == STEP
    pace.stepped(0.081)
    assert [pace.tick(t) for t in (0.101, 0.121, 0.141, 0.161, 0.181)] == [*[LIFE] * 4, STEP]


def test_a_restart_waits_for_the_set_point_before_it():
    pace = Pace(0.1, 10)
    pace.tick(0.0)
    pace.moved(1.0)
    pace.restart()
    assert not pace.ready(1.007)
    assert pace.tick(1.007) == CONTROL  # meanwhile the beat goes on
    assert pace.tick(1.009) == STEP


def test_late_ticks_make_it_slower_and_leave_no_set_point_out():
    pace = Pace(0.1, 5)
    dues = [pace.tick(t) for t in (0.0, 0.03, 0.2, 0.21, 0.3, 0.5)]
    assert dues == [STEP, *[CONTROL] * 4, STEP]

"""How many threads a model gets, and when machine or model are too slow for the arm."""

import os

import pytest

from roboalign_policy.core.drive import cadence
from roboalign_policy.core.drive.cadence import (
    BeatWatch,
    choose_threads,
    load_note,
    too_slow,
    wait_passively,
)


def chosen(cores, seconds):
    asked = []

    def answer_s(threads):
        asked.append(threads)
        return seconds(threads)

    threads, measured = choose_threads(cores, answer_s)
    assert list(measured) == asked
    return threads, asked


@pytest.mark.parametrize(
    ("cores", "seconds", "threads"),
    [
        (2, {1: 0.083, 2: 0.097}, 1),  # the embedded model
        (2, {1: 0.083, 2: 0.57}, 1),  # the same beside other programs
        (2, {1: 0.083, 2: 0.075}, 1),  # not worth a core
        (1, {1: 0.1}, 1),
        (16, {16: 2.0, 8: 2.1, 4: 3.0}, 8),  # a large one; four are not much worse, two hopeless
        (16, {16: 2.0, 8: 3.9}, 16),
        (12, {12: 1.0, 6: 0.95, 3: 1.5, 1: 4.0}, 6),
    ],
)
def test_as_many_threads_as_help(cores, seconds, threads):
    found, asked = chosen(cores, lambda count: seconds.get(count, 1000.0))
    assert found == threads
    assert asked[0] == cores


def test_few_threads_are_not_tried_once_they_are_hopeless():
    assert chosen(16, lambda count: 16.0 / count)[1] == [16, 8]


def test_no_cores_are_refused():
    with pytest.raises(ValueError, match="cores: found 0, expected 1 or more"):
        choose_threads(0, lambda _: 1.0)


def test_an_arm_that_rests_longer_than_it_moves_is_told_what_helps():
    assert too_slow(0.89, 8, 1, 0.1) == ""
    text = too_slow(1.5, 8, 1, 0.1)
    assert "an answer takes 1.50 s, so the arm will rest 1.40 s after each chunk of 0.80 s" in text
    assert "device: cuda" in text
    assert too_slow(1.5, 8, 100, 0.1) == ""  # 0.8 s of it the arm moves


def test_a_late_beat_is_told_with_the_load_and_what_helps():
    watch = BeatWatch(0.02)
    assert [watch.tick(t) for t in (0.0, 0.02, 0.11)] == ["", "", ""]
    text = watch.tick(0.265)
    assert "0.155 s between two candidates that are due every 0.020 s (load " in text
    assert "taskset" in text
    watch.restart()
    assert watch.tick(9.0) == ""
    assert watch.tick(9.02) == ""


def test_a_slow_beat_by_design_is_not_late():
    watch = BeatWatch(0.2)
    assert [watch.tick(0.2 * k) for k in range(5)] == [""] * 5


def test_how_busy_a_machine_is(monkeypatch):
    monkeypatch.setattr(cadence, "usable_cores", lambda: 2)
    monkeypatch.setattr(cadence.os, "getloadavg", lambda: (6.14, 1.0, 1.0))
    assert load_note() == "load 6.1 on 2 cores"


def test_only_who_answers_a_robot_waits_passively(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    import roboalign_policy.models  # noqa: F401 - training loads it too, and computes without rests

    assert "OMP_WAIT_POLICY" not in os.environ
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    wait_passively()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"

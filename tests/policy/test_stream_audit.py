"""Measuring a stream: rate, period, gaps, lateness in seconds, in control steps and in words."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from graph_world import END_NS, START_NS, graph, panda, record

from roboalign_policy.core.doctor.graph_check import audit_streams
from roboalign_policy.core.doctor.stream_audit import StreamRecord, audit_stream, lateness_text


def audit(key="image.front", contract=None, **arguments):
    """Audit of a stream that is as `record` says."""
    contract = contract or panda()
    made = record(contract.stream(key), **arguments)
    return audit_stream(made, contract.rate_hz, START_NS, END_NS, simulated=False)


def test_rate_period_and_lateness_are_measured():
    found = audit(rate_hz=20.0, late_s=np.linspace(0.0, 0.1, 100), wire_s=0.002)
    assert found.count == 100
    assert found.rate_hz == pytest.approx(20.0)
    assert found.period.p50 == pytest.approx(0.05)
    late = found.late
    assert [late.p50, late.p95, late.p99, late.max] == pytest.approx(
        [0.05, 0.095, 0.099, 0.1], abs=1e-6
    )
    assert found.on_the_way_s == pytest.approx(0.002)
    assert found.before_sending_s == pytest.approx(0.048)
    assert found.steps_late == pytest.approx(0.5)


def test_a_gap_counts_inside_and_at_both_ends():
    found = audit(rate_hz=10.0, skip=range(20, 26))
    assert found.longest_gap_s == pytest.approx(0.7)
    assert found.gaps == 1
    found = audit(rate_hz=10.0, skip=[*range(10), *range(30, 50)])
    assert found.longest_gap_s == pytest.approx(2.05)
    assert found.gaps == 2


def test_nothing_and_a_single_message_are_measured_without_a_rate():
    silent = audit_stream(
        StreamRecord(panda().stream("state.ee")), 10.0, START_NS, END_NS, simulated=False
    )
    assert (silent.count, silent.rate_hz) == (0, 0.0)
    assert silent.longest_gap_s == pytest.approx(5.0)
    assert math.isnan(silent.late.p50)
    single = audit(skip=range(1, 50))
    assert (single.count, single.rate_hz) == (1, 0.0)


def test_a_simulated_robot_is_measured_by_its_clock():
    made = record(panda().stream("state.ee"), offset_s=-1e9, clock_offset_s=-1e9, late_s=0.2)
    found = audit_stream(made, 10.0, START_NS, END_NS, simulated=True)
    assert found.steps_late == pytest.approx(2.0)
    assert math.isnan(found.before_sending_s)
    unheard = record(panda().stream("state.ee"), offset_s=-1e9)  # before /clock was heard
    assert math.isnan(audit_stream(unheard, 10.0, START_NS, END_NS, simulated=True).late.p50)


def test_the_audit_is_json_without_nan():
    found = audit_streams(panda(), graph(panda()))
    assert [a.key for a in found] == ["image.front", "state.joints", "state.ee", "state.gripper"]
    json.dumps([a.to_dict() for a in found], allow_nan=False)
    empty = graph(panda(), streams={"state.ee": StreamRecord(panda().stream("state.ee"))})
    (alone,) = audit_streams(panda(), empty)
    assert alone.to_dict()["late"]["p50"] is None
    json.dumps(alone.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("late_s", "words"),
    [
        (0.004, "image.front: on time (4 ms"),
        (0.03, "0.3 of a control step late"),
        (0.07, "0 to 1 control steps late"),
        (0.1, "1 control step late (100 ms"),
        (0.15, "1 to 2 control steps late"),
        (0.2, "2 control steps late"),
        (-0.3, "stamped 3.0 control steps in the future"),
    ],
)
def test_lateness_in_words_is_in_control_steps(late_s, words):
    assert words in lateness_text(audit(late_s=late_s), 10.0)


def test_words_say_how_old_an_image_is_in_use_and_where_the_time_went():
    text = lateness_text(audit(late_s=0.16, rate_hz=20.0, wire_s=0.01), 10.0)
    assert "150 ms before sending, 10 ms on the way" in text
    assert "in use the newest is 1.6 to 2.1 steps old" in text

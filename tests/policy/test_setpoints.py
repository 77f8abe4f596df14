"""From actions to what goes out: within limits, with a continuous speed, and down to rest."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.drive.chunk_buffer import ChunkAction
from roboalign_policy.core.drive.setpoints import (
    ChunkSetPoints,
    JointSetPoints,
    StepSetPoints,
    control_ticks,
    make_set_points,
)

STEP_S, LIMIT = 0.1, 2.0
SO101, PANDA = load_contract("so101"), load_contract("sim_panda")
NO_MORE = np.empty((0, 1), np.float32)


def changed(contract, *, dims=None, commands=None):
    action = contract.action
    parts = {"dims": tuple(dims or action.dims), "commands": tuple(commands or action.commands)}
    return replace(contract, action=replace(action, **parts))


def one_joint(acceleration=5.0):
    """A contract of one joint at 10 Hz, limits -2 .. 2 rad."""
    so101 = replace(SO101, rate_hz=1.0 / STEP_S)
    dim = replace(so101.action.dims[0], limits=(-LIMIT, LIMIT), max_acceleration=acceleration)
    return changed(so101, dims=[dim])


def arm(accelerations=None):
    """Contract sim_panda with these accelerations, by dimension name."""
    bounds = accelerations or {}
    dims = [replace(d, max_acceleration=bounds.get(d.name)) for d in PANDA.action.dims]
    return changed(PANDA, dims=dims)


def action(value, sequence=1, index=0):
    return ChunkAction(np.atleast_1d(np.asarray(value, np.float32)), sequence, index)


def follow(points, chunk, ticks, after=0):
    """All that goes out for a chunk (T,) of one joint, and ``after`` control ticks of release."""
    chunk = np.asarray(chunk, np.float32)[:, None]
    sent = []
    for index in range(len(chunk)):
        points.aim(action(chunk[index], index=index), chunk[index + 1 :])
        sent += [points.advance() for _ in range(ticks)]
    if after:
        points.release()
        sent += [points.advance() for _ in range(after)]
    return sent


def positions(sent):
    return np.array([point.data[0, 0] for point in sent])


chunks = st.lists(st.floats(-LIMIT, LIMIT, width=32), min_size=2, max_size=12)


def test_nothing_goes_out_before_the_first_action():
    for points in (JointSetPoints(one_joint(), 10), StepSetPoints(arm())):
        assert points.advance() is None
        points.release()
        assert points.advance() is None


def test_the_first_action_is_where_a_run_begins_and_each_is_reached_after_its_period():
    sent = positions(follow(JointSetPoints(one_joint(), 10), [0.5, 0.7, 0.6], 10))
    assert sent[:10].tolist() == [np.float32(0.5)] * 10
    np.testing.assert_array_equal(sent[[19, 29]], np.float32([0.7, 0.6]))
    assert follow(JointSetPoints(one_joint(), 10), [0.5], 10)[0].step_s == pytest.approx(0.01)


@given(chunks, st.integers(1, 20))
def test_set_points_stay_within_the_limits_also_on_the_way_to_rest(chunk, ticks):
    sent = follow(JointSetPoints(one_joint(), ticks), chunk, ticks, after=3 * ticks)
    assert np.all(np.abs(positions(sent)) <= LIMIT)
    assert all(point.data.dtype == np.float64 for point in sent)


@given(chunks)
def test_monotone_chunks_are_followed_monotonically(chunk):
    chunk = np.sort(np.float32(chunk))
    sent = positions(follow(JointSetPoints(one_joint(), 20), chunk, 20))
    assert np.all(np.diff(sent) >= -1e-12)
    down = positions(follow(JointSetPoints(one_joint(), 20), chunk[::-1], 20))
    assert np.all(np.diff(down) <= 1e-12)


@given(chunks)
def test_between_two_actions_nothing_lies_beyond_them(chunk):
    ticks = 25
    sent = positions(follow(JointSetPoints(one_joint(), ticks), chunk, ticks))
    for index in range(1, len(chunk)):
        low, high = sorted(np.float64(np.float32(chunk[index - 1 : index + 1])))
        part = sent[index * ticks : (index + 1) * ticks]
        assert np.all((part >= low - 1e-12) & (part <= high + 1e-12))


@given(chunks)
def test_speed_has_no_jump(chunk):
    """Finer ticks make the change of speed from tick to tick smaller in proportion."""
    secants = np.abs(np.diff(np.float64(np.float32(chunk)), prepend=chunk[0])) / STEP_S
    # Source: second derivative of the Hermite basis, with end speeds of at most 3 secants.
    bound = (6.0 + 4.0 * 3.0 + 4.0 * 3.0) * secants.max() / STEP_S
    for ticks in (10, 100):
        tick_s = STEP_S / ticks
        sent = positions(follow(JointSetPoints(one_joint(), ticks), chunk, ticks))
        change = np.abs(np.diff(sent, 2)) / tick_s**2
        assert np.all(change <= bound + 1e-3)


def test_a_new_chunk_is_joined_with_the_present_speed():
    points = JointSetPoints(one_joint(), 100)
    follow(points, [0.0, 0.1, 0.2], 100)
    points.aim(action(0.2, sequence=2), np.float32([[0.1]]))  # another chunk turns the arm around
    sent = positions([points.advance() for _ in range(100)])
    speeds = np.diff(np.concatenate([[np.float64(np.float32(0.2))], sent])) / (STEP_S / 100)
    assert speeds[0] == pytest.approx(1.0, abs=0.05)
    assert np.all(np.abs(np.diff(speeds)) < 0.1)


@given(
    st.floats(-LIMIT, LIMIT, width=32),
    st.floats(-0.5, 0.5, width=32),
    st.floats(0.1, 100.0),
    st.integers(1, 20),
)
def test_the_way_to_rest_keeps_the_acceleration_and_ends(start, way, acceleration, ticks):
    points = JointSetPoints(one_joint(acceleration), ticks)
    end = float(np.clip(start + way, -LIMIT, LIMIT))
    sent = follow(points, [start, end], ticks)
    tick_s = STEP_S / ticks
    need = int(abs(way) / STEP_S / acceleration / tick_s) + 3
    points.release()
    ramp = [points.advance() for _ in range(need)]
    assert [p.moving for p in ramp] == sorted((p.moving for p in ramp), reverse=True)
    assert not ramp[-1].moving
    assert not any(point.planned for point in ramp)
    held = positions([*ramp[-1:], points.advance(), points.advance()])
    assert np.ptp(held) == 0.0
    path = np.concatenate([positions(sent)[-1:], positions(ramp)])
    speeds = np.diff(path) / tick_s
    braking = np.abs(np.diff(speeds)) / tick_s
    inside = np.abs(path[2:]) < LIMIT  # at a limit the limit counts
    assert np.all(braking[inside] <= acceleration * (1 + 1e-6) + 1e-6)
    assert np.all(speeds * np.sign(way) >= -1e-9), "the arm turned around"


def test_without_an_acceleration_the_arm_stops_where_it_is():
    points = JointSetPoints(one_joint(None), 10)
    last = follow(points, [0.0, 0.1], 10)[-1].data
    points.release()
    point = points.advance()
    assert (point.moving, point.data.tolist()) == (False, last.tolist())


def test_an_action_on_the_way_to_rest_goes_on_from_there():
    points = JointSetPoints(one_joint(1.0), 10)
    follow(points, [0.0, 0.05], 10, after=3)
    before = points.advance().data[0, 0]
    points.aim(action(0.0, sequence=2), NO_MORE)
    sent = positions([points.advance() for _ in range(10)])
    assert abs(sent[0] - before) < 0.01
    assert sent[-1] == 0.0


def test_after_forgetting_the_next_action_is_a_beginning():
    points = JointSetPoints(one_joint(), 10)
    follow(points, [0.0, 0.3], 10)
    points.forget()
    assert points.advance() is None
    points.aim(action(-1.0), NO_MORE)
    assert points.advance().data[0, 0] == -1.0


def test_steps_pass_as_they_are_once_a_period():
    points = StepSetPoints(arm())
    values = [0.1, -0.2, 0.3, 0.0, 0.0, 0.0, -1.0]
    points.aim(action(values), np.empty((0, 7)))
    point = points.advance()
    assert (point.moving, point.planned, point.step_s) == (True, True, 0.1)
    np.testing.assert_array_equal(point.data, np.float64(np.float32([values])))


def test_steps_fade_by_the_acceleration_and_the_gripper_stays():
    """Speed is value * rate: 20 units / s^2 are 0.2 of a step at 10 Hz."""
    points = StepSetPoints(arm({"dx": 20.0}))
    points.aim(action([0.5, 0.4, 0, 0, 0, 0, 1.0]), np.empty((0, 7)))
    points.advance()
    points.release()
    sent = [points.advance() for _ in range(4)]
    np.testing.assert_allclose([p.data[0, 0] for p in sent], [0.3, 0.1, 0.0, 0.0], atol=1e-7)
    assert [p.data[0, 1] for p in sent] == [0.0] * 4  # no acceleration given: at once
    assert [p.data[0, 6] for p in sent] == [1.0] * 4
    assert [p.moving for p in sent] == [True, True, False, False]


@given(
    st.lists(st.floats(-1.0, 1.0, width=32), min_size=7, max_size=7),
    st.floats(0.5, 200.0),
)
def test_fading_steps_keep_the_acceleration(values, acceleration):
    names = ("dx", "dy", "dz", "droll", "dpitch", "dyaw")
    points = StepSetPoints(arm(dict.fromkeys(names, acceleration)))
    points.aim(action(values), np.empty((0, 7)))
    sent = [points.advance()]
    points.release()
    sent += [points.advance() for _ in range(int(100.0 / acceleration) + 2)]
    speeds = np.array([p.data[0, :6] for p in sent]) * 10.0
    assert np.all(np.abs(np.diff(speeds, axis=0)) / 0.1 <= acceleration * (1 + 1e-9))
    assert not np.any(speeds[-1])
    assert not sent[-1].moving


def chunk_contract():
    commands = [replace(command, send="chunk") for command in SO101.action.commands]
    return changed(SO101, commands=commands)


def test_whole_chunks_go_out_once_each_and_their_last_step_is_held():
    points = make_set_points(chunk_contract(), 1)
    assert isinstance(points, ChunkSetPoints)
    chunk = np.linspace(0, 0.5, 18, dtype=np.float32).reshape(3, 6)
    points.aim(ChunkAction(chunk[0], 1, 0), chunk[1:])
    point = points.advance()
    np.testing.assert_array_equal(point.data, chunk.astype(np.float64))
    assert (point.moving, point.step_s) == (True, pytest.approx(1 / 30))
    assert points.advance() is None
    points.aim(ChunkAction(chunk[1], 1, 1), chunk[2:])
    assert points.advance() is None
    points.aim(ChunkAction(chunk[0] + 0.1, 2, 1), chunk[1:2])
    assert points.advance().data.shape == (2, 6)
    points.release()
    held = points.advance()
    np.testing.assert_array_equal(held.data[0], np.float64(chunk[0] + np.float32(0.1)))
    assert not held.moving
    # Sent straight to command topics, which take one step a message, it is interpolated.
    assert isinstance(make_set_points(chunk_contract(), 3, whole_chunks=False), JointSetPoints)


@pytest.mark.parametrize(
    ("name", "wanted_hz", "ticks", "words"),
    [
        ("so101", 0.0, 3, "90 Hz in place of 100 Hz"),
        ("so101", 120.0, 4, ""),
        ("so101", 10.0, 1, "30 Hz in place of 10 Hz"),
        ("sim_panda", 0.0, 1, ""),
        ("sim_panda", 100.0, 1, "10 Hz in place of 100 Hz"),
    ],
)
def test_control_rate_is_a_multiple_of_the_contracts(name, wanted_hz, ticks, words):
    found, notice = control_ticks(load_contract(name), wanted_hz)
    assert found == ticks
    assert words in notice
    assert bool(words) == bool(notice)


def test_float32_of_a_limit_is_brought_within_the_limit():
    limit = 0.1  # float32(0.1) is greater
    contract = one_joint()
    dim = replace(contract.action.dims[0], limits=(-limit, limit))
    points = JointSetPoints(changed(contract, dims=[dim]), 10)
    points.aim(action(np.float32(limit)), NO_MORE)
    assert points.advance().data[0, 0] == limit

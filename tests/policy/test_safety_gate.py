"""What passes the safety gate, and what stops it for good."""

from __future__ import annotations

import numpy as np
import pytest
from gate_world import ALIVE, END, FAULT, HOLD, World, delta_contract, joint_contract
from hypothesis import given, settings
from hypothesis import strategies as st

from roboalign_policy.core.gate.safety_gate import TELEOPERATION
from roboalign_policy.core.gate.types import GateFault, GateState, Reason
from roboalign_policy.core.hashing import short_name

STILL = [0.2, 0.0, -1.0]


def driving(**contract):
    """A delta arm on its way."""
    world = World(delta_contract(**contract)).ready()
    world.drive(STILL, 3)
    assert world.gate.state is GateState.ACTIVE and len(world.sent) == 3
    return world


def stopped_for(world, reason, state=GateState.STOPPED):
    """The gate has latched for this reason and the safe action went out once, after the last."""
    assert (world.gate.state, world.gate.reason) == (state, reason), world.gate.detail
    assert world.safe == 1
    count = len(world.sent)
    world.drive(STILL, 5)
    assert len(world.sent) == count and world.gate.state is state and world.safe == 1


def test_nothing_passes_before_enable():
    world = World(delta_contract())
    world.gate.controllers("")
    world.streams()
    assert world.send(STILL) is None and world.gate.state is GateState.DISABLED
    assert world.safe == 0 and world.gate.stops == 0


def test_what_is_within_the_limits_passes_unchanged():
    world = driving()
    np.testing.assert_array_equal(world.sent[-1], STILL)
    assert world.gate.source == world.source and world.gate.passed == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"names": ("dx", "dy", "grip")}, Reason.WRONG_NAMES),
        ({"names": ("dy", "dx", "gripper")}, Reason.WRONG_NAMES),
        ({"data": np.zeros((1, 2))}, Reason.WRONG_SHAPE),
        ({"data": None}, Reason.WRONG_SHAPE),
        ({"step_s": 0.0}, Reason.WRONG_SHAPE),
        ({"data": np.array([[np.nan, 0, 0]])}, Reason.NON_FINITE),
        ({"data": np.array([[0, np.inf, 0]])}, Reason.NON_FINITE),
        ({"data": np.array([[0, 1.2, 0]])}, Reason.OUT_OF_LIMITS),
        ({"sequence": 3}, Reason.SEQUENCE),
        ({"sequence": 1}, Reason.SEQUENCE),
        ({"stamp_ns": 1}, Reason.CANDIDATE_STALE),
        ({"stamp_ns": 10**18}, Reason.CLOCK_JUMP),
        ({"observation_ns": 1}, Reason.CANDIDATE_STALE),
        ({"source": "q" * 64}, Reason.TWO_SENDERS),
        ({"kind": FAULT, "reason": "undecodable"}, Reason.SENDER_FAULT),
    ],
)
def test_a_wrong_candidate_stops_and_latches(changes, reason):
    world = driving()
    assert world.send(STILL, **changes) is None
    stopped_for(world, reason)


def test_a_malformed_message_stops():
    world = driving()
    world.gate.malformed("data: found 3 values", world.t)
    world.wait(0.02)
    stopped_for(world, Reason.WRONG_SHAPE)


@pytest.mark.parametrize("key", ["image.front", "state.joints", "state.ee"])
def test_every_stream_that_falls_silent_stops_within_its_age(key):
    world = driving()
    world.silent.add(key)
    began = world.t
    while world.gate.state is GateState.ACTIVE and world.t < began + 1:
        world.drive(STILL)
    stopped_for(world, Reason.OBSERVATION_STALE)
    assert key in world.gate.detail


@pytest.mark.parametrize(
    ("lag_s", "reason"),
    [(5.0, Reason.CLOCK_JUMP), (0.15, Reason.CLOCK_JUMP), (-1.0, Reason.CLOCK_JUMP)],
)
def test_a_stream_whose_stamps_are_wrong_stops_though_it_arrives(lag_s, reason):
    world = driving()
    world.lag_s["image.front"] = lag_s
    world.drive(STILL, 3)
    stopped_for(world, reason)


def test_a_stream_that_comes_later_and_later_stops():
    world = driving()
    for lag_s in (0.03, 0.06, 0.09, 0.12, 0.15):
        world.lag_s["image.front"] = lag_s
        world.drive(STILL)
    stopped_for(world, Reason.OBSERVATION_STALE)


def test_a_frozen_camera_with_fresh_stamps_stops_the_moving_arm():
    world = driving()
    world.frozen = True
    world.drive(STILL, 4)
    stopped_for(world, Reason.OBSERVATION_FROZEN)


def test_a_still_picture_of_a_still_arm_is_no_fault():
    world = driving()
    world.frozen = True
    world.drive([0.0, 0.0, -1.0], 20)
    assert world.gate.state is GateState.ACTIVE


@pytest.mark.parametrize(
    ("joints", "reason"),
    [
        ([np.nan, 0.0], Reason.OBSERVATION_NON_FINITE),
        ([1.2, 0.0], Reason.JOINT_LIMIT),
        ([0.9, 0.0], Reason.JOINT_VELOCITY),
    ],
)
def test_measured_joints_out_of_bounds_stop(joints, reason):
    world = driving()
    world.joints = np.array(joints)
    world.drive(STILL, 3)
    stopped_for(world, reason)


def test_an_unreadable_observation_stops():
    world = driving()
    world.gate.streams.unreadable("state.joints", "no joint 'a'")
    world.gate.tick(world.now_ns, world.t)
    world.safe += world.gate.pop_safe()
    assert world.gate.reason is Reason.OBSERVATION_UNREADABLE and world.safe == 1


def test_a_silent_sender_stops_within_its_timeout():
    world = driving()
    began = world.t
    world.wait(0.2)
    stopped_for(world, Reason.CANDIDATE_SILENT)
    assert world.gate._stopped_s - began <= 0.15


def test_a_sender_that_only_says_it_lives_stops_as_soon():
    """The last step is in force all that time: it must not be longer than silence may last."""
    world = driving()
    began = world.t - 0.05
    for _ in range(10):
        world.send(None, kind=ALIVE)
        world.wait(0.05)
    stopped_for(world, Reason.CANDIDATE_SILENT)
    assert 0.15 <= world.gate._stopped_s - began <= 0.165


def test_after_a_whole_chunk_the_sender_has_the_time_of_a_silence():
    world = World(joint_contract()).ready()
    world.drive([0.0, 0.0], 15)
    began = world.t
    assert world.send([[0.0, value] for value in (0.005, 0.01, 0.03, 0.04)])
    for _ in range(10):
        world.wait(0.05)
        world.send(None, kind=ALIVE)
    assert world.gate.reason is Reason.CANDIDATE_SILENT
    assert 4 * 0.05 + 0.15 <= world.gate._stopped_s - began <= 4 * 0.05 + 0.165


def test_hold_keeps_a_run_alive_and_end_leads_to_ready():
    world = driving()
    world.drive([0.0, 0.0, -1.0], 20, kind=HOLD)
    assert world.gate.state is GateState.ACTIVE and world.safe == 0
    world.send(None, kind=END)
    assert world.gate.state is GateState.READY and world.safe == 1
    world.wait(1.0)
    assert world.gate.state is GateState.READY and world.gate.stops == 0


def test_a_sender_started_anew_may_count_from_one_once_it_does_not_drive():
    world = driving()
    world.send(None, kind=END)
    world.sequence = 0
    world.drive(STILL, 2)
    assert world.gate.state is GateState.ACTIVE


@pytest.mark.parametrize("pressed_by", ["topic", "service"])
def test_emergency_stop_latches_from_every_state(pressed_by):
    for world in (World(delta_contract()), World(delta_contract()).ready(), driving()):
        if pressed_by == "topic":
            world.gate.inputs.estop_heard(True, world.t)
            world.gate.tick(world.now_ns, world.t)
        else:
            world.gate.stop(GateFault(Reason.ESTOP, "service"), world.t)
        assert world.gate.state is GateState.ESTOP
        assert world.gate.pop_safe()  # also where the gate itself has sent nothing yet


def test_an_emergency_stop_after_a_stop_still_latches_as_one():
    world = driving()
    world.send([np.nan, 0, 0])
    world.gate.stop(GateFault(Reason.ESTOP, "service"), world.t)
    assert world.gate.state is GateState.ESTOP


def test_reset_needs_the_cool_down_and_the_release_and_leads_to_disabled():
    world = driving()
    world.gate.inputs.estop_heard(True, world.t)
    world.wait(0.1)
    assert "cooling down" in world.gate.reset(world.t) or "pressed" in world.gate.reset(world.t)
    world.wait(2.0)
    assert "pressed" in world.gate.reset(world.t)
    world.gate.inputs.estop_heard(False, world.t)
    assert world.gate.state is GateState.ESTOP  # the release itself changes nothing
    assert world.gate.reset(world.t) == ""
    assert world.gate.state is GateState.DISABLED
    assert world.send(STILL) is None
    assert world.gate.enable(world.now_ns, world.t) == ""
    world.drive(STILL)
    assert world.gate.state is GateState.ACTIVE


def test_reset_during_the_cool_down_is_refused():
    world = driving()
    world.send([np.nan, 0, 0])
    world.wait(0.5)
    assert "possible in 0.5 s" in world.gate.reset(world.t)
    assert world.gate.state is GateState.STOPPED


def test_deadman_must_be_held_while_moving_only():
    world = World(delta_contract(), deadman_timeout_s=0.1).ready()
    assert world.send(STILL) is None
    assert world.gate.state is GateState.READY and world.gate.reason is Reason.DEADMAN
    world.gate.inputs.deadman_heard(True, world.t)
    assert world.send(STILL) is not None
    world.wait(0.12)
    assert (world.gate.state, world.gate.reason) == (GateState.ESTOP, Reason.DEADMAN)


def test_an_estop_topic_that_must_be_heard_stops_when_it_is_not():
    world = World(delta_contract(), estop_timeout_s=0.1).ready()
    world.gate.inputs.estop_heard(False, world.t)
    assert world.send(STILL) is not None
    world.wait(0.12)
    assert (world.gate.state, world.gate.reason) == (GateState.ESTOP, Reason.ESTOP)


def test_enable_is_refused_while_something_is_wrong():
    world = World(delta_contract())
    assert "no controller" in world.gate.enable(world.now_ns, world.t)
    world.gate.controllers("")
    assert "never received" in world.gate.enable(world.now_ns, world.t)
    world.streams()
    world.gate.inputs.estop_heard(True, world.t)
    assert "pressed" in world.gate.enable(world.now_ns, world.t)


def test_a_controller_that_goes_away_stops():
    world = driving()
    world.gate.controllers("no subscriber on twist")
    world.wait(0.01)
    stopped_for(world, Reason.NO_CONTROLLER)


def test_disable_sends_the_safe_action_and_lets_nothing_pass():
    world = driving()
    world.gate.disable("by hand")
    world.wait(0.01)
    assert world.safe == 1 and world.gate.state is GateState.DISABLED
    assert world.send(STILL) is None


def test_workspace_stops_on_the_way_out_and_lets_the_arm_come_back():
    world = driving()
    world.position = np.array([0.49, 0.0, 0.2])
    world.streams()
    world.send([0.3, 0.0, -1.0])
    stopped_for(world, Reason.WORKSPACE)
    outside = World(delta_contract())
    outside.position = np.array([0.55, 0.0, 0.2])
    outside.ready()
    assert outside.send([-0.5, 0.0, -1.0]) is not None


def test_a_person_takes_over_and_hands_back():
    world = driving()
    person = {"source": TELEOPERATION, "sequence": 1}
    world.send([-0.2, 0.0, -1.0], **person)
    assert world.gate.source == TELEOPERATION
    np.testing.assert_allclose(world.sent[-1], [0.2, 0.0, -1.0])  # faded from what was sent last
    assert world.send(STILL) is None  # the policy is put aside, and that is no fault
    for number in range(2, 16):
        world.wait(0.05)
        world.send([-0.2, 0.0, -1.0], **{**person, "sequence": number})
    np.testing.assert_allclose(world.sent[-1], [-0.2, 0.0, -1.0])
    world.wait(0.6)  # let go
    assert world.gate.state is GateState.READY and world.safe == 1
    world.drive(STILL, 2)
    assert world.gate.source == world.source and world.gate.stops == 0


def moving_joints():
    """A joint arm on its way."""
    world = World(joint_contract()).ready()
    world.drive([0.0, 0.0], 15)
    assert world.gate.state is GateState.ACTIVE
    return world


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ([0.0, 1.5], Reason.OUT_OF_LIMITS),
        ([0.0, 0.08], Reason.STEP_TOO_LARGE),
        ([0.0, 0.045], Reason.ACCELERATION),
    ],
)
def test_joint_targets_beyond_the_dynamics_stop(target, reason):
    world = moving_joints()
    world.send(target)
    assert (world.gate.state, world.gate.reason) == (GateState.STOPPED, reason)


def test_the_way_within_a_second_is_bounded():
    world = moving_joints()
    swing = np.concatenate([np.linspace(0, 1, 8), np.ones(60)])
    place = 0.0
    for share in swing:
        place += 0.045 * share
        world.joints[0] = place
        world.send([place if place < 0.95 else 0.95, 0.0])
        world.wait(0.05)
        if world.gate.state is not GateState.ACTIVE:
            break
    assert world.gate.reason is Reason.TOO_FAR_IN_A_SECOND
    assert 0.55 < abs(place) < 0.75


def test_first_target_far_from_the_arm_is_refused():
    world = World(joint_contract()).ready()
    world.send([0.3, 0.0])
    assert world.gate.reason is Reason.FIRST_POSE and not world.sent


def test_first_target_of_a_gripper_may_be_far_and_is_led_in():
    world = World(joint_contract(names=("a", "left_gripper"))).ready()
    world.drive([0.0, 0.5], 40)
    track = np.array(world.sent)[:, 1]
    assert world.gate.state is GateState.ACTIVE
    assert track[0] == pytest.approx(0.0) and track[-1] == 0.5
    assert np.diff(track).max() <= 0.051  # 1 rad/s at 20 Hz


def test_first_targets_are_led_in_from_the_measured_pose():
    world = World(joint_contract()).ready()
    world.joints = np.array([0.1, 0.0])
    world.streams()
    world.drive([0.0, 0.0], 15)
    track = np.array(world.sent)[:, 0]
    assert track[0] == pytest.approx(0.1) and track[-1] == 0.0
    assert (np.diff(track) <= 1e-9).all() and world.gate.state is GateState.ACTIVE


def test_after_a_hold_the_next_chunk_is_led_in_from_rest():
    world = moving_joints()
    world.drive([0.0, 0.0], 6, kind=HOLD)
    world.drive(lambda step: [0.0, min(0.08 + 0.02 * step, 0.3)], 20)
    assert world.gate.state is GateState.ACTIVE, world.gate.detail
    assert world.sent[-1][1] == pytest.approx(0.3)


def test_a_chunk_is_held_to_the_limits_as_a_whole():
    world = World(joint_contract()).ready()
    world.drive([0.0, 0.0], 15)
    good = [[0.0, 0.01], [0.0, 0.03], [0.0, 0.05]]
    assert world.send(good).steps.shape == (3, 2)
    world.wait(0.1)
    world.send(None, kind=ALIVE)
    world.wait(0.05)
    world.send([[0.0, 0.06], [0.0, 0.07], [0.0, 0.5]])
    assert world.gate.reason is Reason.STEP_TOO_LARGE


def running_chunk():
    """Between the second and the third of four steps: joint b is told 0.022 on its way to 0.04."""
    world = World(joint_contract()).ready()
    world.drive([0.0, 0.0], 15)
    assert world.send([[0.0, value] for value in (0.005, 0.01, 0.03, 0.04)])
    world.wait(0.08)
    return world


def test_a_chunk_that_replaces_a_running_one_is_held_against_where_the_arm_is():
    world = running_chunk()
    world.send([[0.0, 0.08], [0.0, 0.1]])  # near the end of the first, far from where it is
    assert world.gate.reason is Reason.STEP_TOO_LARGE
    world = running_chunk()
    assert world.send([[0.0, 0.03], [0.0, 0.04]]) and world.gate.state is GateState.ACTIVE


def test_a_person_who_takes_over_within_a_chunk_begins_where_the_arm_is_told_to_be():
    world = running_chunk()
    world.source = TELEOPERATION
    passed = world.send([0.0, 0.0])
    assert passed.steps[0, 1] == pytest.approx(0.022)


def test_a_robot_description_narrows_targets_and_measurements():
    world = World(joint_contract())
    assert world.gate.bounds.tighten({"a": (-0.2, 0.2), "z": (-1.0, 1.0)}) == ["a"]
    assert world.gate.streams.tighten({"b": (-0.1, 0.1, 1.0)}) == ["state.joints.b"]
    world.ready()
    world.joints = np.array([0.0, 0.15])
    world.streams()
    world.send([0.0, 0.15])
    assert world.gate.reason is Reason.JOINT_LIMIT
    other = World(joint_contract())
    other.gate.bounds.tighten({"a": (-0.2, 0.2)})
    other.ready().send([0.25, 0.0])
    assert other.gate.reason is Reason.OUT_OF_LIMITS


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.floats(), min_size=3, max_size=3), min_size=1, max_size=12))
def test_whatever_comes_only_finite_values_within_the_limits_pass(candidates):
    world = World(delta_contract()).ready()
    for values in candidates:
        world.send(values)
        world.wait(0.05)
    sent = np.array(world.sent)
    assert np.isfinite(sent).all() and (np.abs(sent) <= 1.0 + 1e-4).all()
    bad = [v for v in candidates if not (np.abs(v) <= 1.0).all()]
    if bad and np.abs(bad[0]).max() > 1.001 or not np.isfinite(candidates).all():
        assert world.gate.state is GateState.STOPPED and world.gate.stops == 1


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=40), st.floats(-0.15, 0.15))
def test_joint_targets_that_pass_never_jump_or_jerk(targets, start):
    world = World(joint_contract()).ready()
    world.joints = np.array([start, 0.0])
    world.streams()
    for target in targets:
        world.send([target, 0.0])
        world.wait(0.05)
    track = np.array([start, *[v[0] for v in world.sent]])
    assert (np.abs(np.diff(track)) <= 1.0 * 0.05 * 1.03 + 1e-6).all()
    speeds = np.diff(track[1:])  # the first one is the anchor itself
    assert (np.abs(np.diff(speeds)) <= 10.0 * 0.05**2 * 1.03 + 1e-6).all()


def test_a_person_who_drives_is_named_in_full():
    """Only a SHA-256 is cut short: its beginning tells it apart."""
    assert short_name(TELEOPERATION) == "teleoperation"
    assert short_name("0123456789abcdef" * 4) == "0123456789ab"

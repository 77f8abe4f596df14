"""Tests of what stops an arm: limits, speeds, singularities; and of adding steps up."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from urdf_arms import PANDA_READY, UR_READY, panda, planar, ur5e

from roboalign_policy.kinematics import ArmSolver, DeltaIntegrator, UrdfRobot
from roboalign_policy.kinematics.damped_step import damped_step

PERIOD_S = 0.1
OUT = np.array([1.0, 0, 0, 0, 0, 0])


def solver_of(text: str, base: str, tip: str, **options) -> ArmSolver:
    described = UrdfRobot.from_text(text, "test")
    return ArmSolver(described, base, tip, described.joint_names(base, tip), **options)


UR = solver_of(ur5e(), "base_link", "tool0")
PANDA = solver_of(panda(), "panda_link0", "panda_hand_tcp")
PLANAR = solver_of(planar(), "base", "tip", axes=("dx", "dy"))
READY = np.array(UR_READY)
ARMS = {"ur5e": (UR, READY), "panda": (PANDA, np.array(PANDA_READY))}


@settings(max_examples=25)
@given(
    st.sampled_from(list(ARMS)),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.001, 0.01, 0.05, 0.3]),
    st.sampled_from([0.01, 0.1]),
)
def test_random_walks_stay_within_limits_and_speeds_and_on_course(name, seed, size, period_s):
    solver, ready = ARMS[name]
    random, bounds = np.random.default_rng(seed), solver.bounds
    walk = DeltaIntegrator(solver, period_s)
    walk.start(ready)
    course = random.uniform(-1, 1, 6)
    reached = 0
    for _ in range(200):
        before, pose = walk.joints, walk.pose
        course = np.clip(course + random.normal(0, 0.3, 6), -1, 1)
        delta = course * size * [1, 1, 1, 5, 5, 5]
        result = walk.advance(delta)
        q = result.q_target
        assert np.isfinite(q).all() and math.isfinite(result.singularity)
        assert (q >= bounds.low + bounds.margin).all() and (q <= bounds.high - bounds.margin).all()
        assert (np.abs(q - before) <= bounds.velocity * period_s).all()
        if not result.reached:
            assert (q == before).all() and result.scaled == 0.0
            assert "limit" in result.reason or "nearly singular" in result.reason
            continue
        reached += 1
        wanted, now = pose.moved(result.scaled * delta), solver.forward(q)
        assert np.abs(now.step_to(wanted)).max() <= 1e-5
    assert reached > 0


def walk_out(solver: ArmSolver, q: np.ndarray, delta: np.ndarray, most: int = 400):
    """Repeats a step until it is refused: the walk and the result that refused it."""
    walk = DeltaIntegrator(solver, PERIOD_S)
    walk.start(q)
    for _ in range(most):
        result = walk.advance(delta)
        if not result.reached:
            return walk, result
    raise AssertionError(f"{most} steps of {delta.tolist()} and no stop")


@pytest.mark.parametrize("speed_m", [0.0005, 0.005, 0.05])
@pytest.mark.parametrize("name", list(ARMS))
def test_stretching_the_arm_out_stops_before_the_singularity_and_can_go_back(name, speed_m):
    solver, q = ARMS[name]
    walk, result = walk_out(solver, q, speed_m * OUT, most=3000)
    assert "nearly singular" in result.reason
    assert 0 <= result.singularity < 0.05
    stopped = walk.pose.position
    assert (result.q_target == walk.joints).all()
    assert solver.forward(walk.joints).position == pytest.approx(stopped, abs=1e-5)
    again = walk.advance(speed_m * OUT)
    assert not again.reached and (again.q_target == result.q_target).all()
    back = [walk.advance(-0.002 * OUT) for _ in range(20)]
    assert all(step.reached for step in back)
    assert walk.pose.position[0] < stopped[0] - 0.01


def test_a_stretched_arm_does_not_pull_in_or_out_but_moves_aside():
    straight = np.array([0.2, 0.0])
    direction = np.array([math.cos(0.2), math.sin(0.2), 0, 0, 0, 0])
    for sign in (1, -1):
        result = PLANAR.step(straight, sign * 0.01 * direction, PERIOD_S)
        assert not result.reached and (result.q_target == straight).all()
        assert "nearly singular" in result.reason and "0.01 m" in result.reason
        assert result.singularity < 1e-9
    # Across it the tool moves on its circle: a short way, and no way inwards that was not asked.
    across = 1e-3 * np.array([-direction[1], direction[0], 0, 0, 0, 0])
    result = PLANAR.step(straight, across, PERIOD_S)
    assert result.reached
    moved = PLANAR.forward(result.q_target).position - PLANAR.forward(straight).position
    np.testing.assert_allclose(moved, across[:3], atol=1e-5)


def test_what_a_singular_wrist_can_still_do_it_does():
    q = ARMS["ur5e"][1].copy()
    q[4] = 0.0  # the axes of wrist_1 and wrist_3 are parallel
    result = UR.step(q, np.array([0, 0, 0.005, 0, 0, 0]), PERIOD_S)
    assert result.reached and result.singularity < 0.05
    # The axis that is lost: across the joint axes of both wrists.
    _, values, rows = np.linalg.svd(UR.jacobian(q).T)
    lost = rows[-1] * 0.01
    result = UR.step(q, lost, PERIOD_S)
    assert values[-1] < 1e-9
    assert not result.reached and "nearly singular" in result.reason


def test_a_singular_arm_that_could_only_creep_stops_where_a_slower_step_goes():
    q = np.array([0.0, 0.06])
    inward = np.array([-1.0, 0, 0, 0, 0, 0])
    result = PLANAR.step(q, 0.3 * inward, PERIOD_S)
    assert not result.reached and (result.q_target == q).all()
    assert "nearly singular" in result.reason and "the joints' speeds" in result.reason
    assert PLANAR.step(q, 0.002 * inward, PERIOD_S).reached


@pytest.mark.parametrize(("off_m", "period_s"), [(0.05, 1e-3), (5e-6, 1e-7)])
def test_a_pose_that_no_share_of_the_step_reaches_in_time_is_refused(off_m, period_s):
    pose = UR.forward(READY).moved(off_m * OUT)  # commanded, it seems, but not by these joints
    result, after = UR.step_from(READY, pose, -1e-3 * OUT, period_s)
    assert not result.reached and (result.q_target == READY).all() and after is pose
    assert "too slow" in result.reason


def test_singularity_does_not_depend_on_the_size_of_the_arm():
    large = planar().replace("0.4", "4.0").replace("0.3", "3.0")
    large = solver_of(large, "base", "tip", axes=("dx", "dy"))
    for q in ([0.3, 1.2], [0.3, 0.02]):
        small = PLANAR.step(np.array(q), np.zeros(6), PERIOD_S).singularity
        assert large.step(np.array(q), np.zeros(6), PERIOD_S).singularity == pytest.approx(small)
    assert small < 0.05


def test_what_a_clamped_joint_leaves_undone_the_others_do_in_the_same_step():
    jacobian = np.array([[1.0, 0.5, 0.2], [0.0, 1.0, -0.7]])
    error, room = np.array([0.3, 0.2]), np.array([0.05, 1.0, 1.0])
    step = damped_step(jacobian, error, -room, room, 0.02, 0.05)
    assert step.held.tolist() == [True, False, False] and step.joints[0] == 0.05
    np.testing.assert_allclose(jacobian @ step.joints, error, atol=1e-12)


def test_a_step_against_a_limit_is_refused_by_the_joints_name_and_one_away_is_not():
    q = np.array([0.0, 2.985])
    inward = (PLANAR.jacobian(q) @ [0.0, 1.0]) * [1, 1, 0, 0, 0, 0]
    result = PLANAR.step(q, 0.1 * inward, PERIOD_S)
    assert not result.reached and (result.q_target == q).all() and result.scaled == 0.0
    assert "'second' within 0.01 rad of its upper limit, 3 rad" in result.reason
    assert PLANAR.step(q, -0.1 * inward, PERIOD_S).reached


def test_a_seventh_joint_at_its_limit_is_taken_out_and_six_do_the_work():
    q = np.array(PANDA_READY)
    bound = PANDA.bounds.high[2] - PANDA.bounds.margin[2]
    q[2] = bound
    held = 0
    for delta in np.vstack([np.eye(6), -np.eye(6)]) * [0.005, 0.005, 0.005, 0.02, 0.02, 0.02]:
        result = PANDA.step(q, delta, PERIOD_S)
        assert result.reached and result.q_target[2] <= bound
        after = PANDA.forward(result.q_target)
        assert np.abs(after.step_to(PANDA.forward(q).moved(delta))).max() <= 1e-5
        held += result.q_target[2] == bound
    assert 0 < held < 12  # some push against the limit, some lead away from it


@pytest.mark.parametrize("side", [1, -1])
def test_a_joint_between_margin_and_limit_may_come_back_only(side):
    q = np.array([0.0, side * 2.997])
    further = side * (PLANAR.jacobian(q) @ [0.0, 1.0]) * [1, 1, 0, 0, 0, 0]
    assert not PLANAR.step(q, 0.001 * further, PERIOD_S).reached
    result = PLANAR.step(q, -0.1 * further, PERIOD_S)
    assert result.reached and abs(result.q_target[1]) < 2.95
    # Aside, by a turn of the first joint: the second may stay where it is.
    aside = 0.01 * (PLANAR.jacobian(q) @ [1.0, 0.0]) * [1, 1, 0, 0, 0, 0]
    result = PLANAR.step(q, aside - 1e-4 * further, PERIOD_S)
    assert result.reached and 2.98 < abs(result.q_target[1]) < 2.997


def test_joints_beyond_their_limits_do_not_move():
    q = np.array([0.0, 3.1])
    for delta in (np.zeros(6), -0.01 * OUT):
        result = PLANAR.step(q, delta, PERIOD_S)
        assert not result.reached and (result.q_target == q).all()
        assert result.reason == "joint 'second': found 3.1 rad, expected -3 to 3 rad"
    walk = DeltaIntegrator(PLANAR, PERIOD_S)
    with pytest.raises(ValueError, match="q_measured: joint 'second': found 3.1 rad"):
        walk.start(q)


def test_rounding_carries_no_joint_beyond_its_limit():
    arm = solver_of(planar((-2.7, 2.7, 2.0, 10)), "base", "tip", axes=("dx", "dy"))
    measured = np.array([0.0, 2.7], np.float32)  # 2.7000000477
    assert measured[1] > arm.bounds.high[1]
    walk = DeltaIntegrator(arm, PERIOD_S)
    walk.start(measured)
    assert walk.joints[1] == 2.7 == arm.step(measured, np.zeros(6), PERIOD_S).q_target[1]
    assert walk.advance(0.01 * arm.jacobian(measured)[:, 0] * [1, 1, 0, 0, 0, 0]).reached
    assert walk.joints[1] <= 2.7


@pytest.mark.parametrize("name", list(ARMS))
def test_steps_add_up_without_drift_and_zero_holds_still(name):
    solver, ready = ARMS[name]
    walk = DeltaIntegrator(solver, PERIOD_S)
    walk.start(ready)
    start, random = walk.pose, np.random.default_rng(1)
    turn = Rotation.from_matrix(start.rotation)
    sum_m = np.zeros(3)
    for number in range(1000):
        delta = random.uniform(-1, 1, 6) * [0.002, 0.002, 0.002, 0.01, 0.01, 0.01]
        assert walk.advance(delta).reached
        sum_m += delta[:3]
        turn = Rotation.from_rotvec(delta[3:]) * turn
        if number % 100 == 0:
            before = walk.joints
            result = walk.advance(np.zeros(6))
            assert (result.q_target == before).all() and result.reached and result.scaled == 1.0
    for pose in (walk.pose, solver.forward(walk.joints)):
        np.testing.assert_allclose(pose.position, start.position + sum_m, atol=1e-6)
        np.testing.assert_allclose(pose.rotation, turn.as_matrix(), atol=1e-6)
    # Orthonormal still, after a thousand products.
    np.testing.assert_allclose(walk.pose.rotation @ walk.pose.rotation.T, np.eye(3), atol=1e-12)


def test_slow_steps_against_a_limit_are_noticed():
    creep = np.array([0.0, 2.98])
    inward = (PLANAR.jacobian(creep) @ [0.0, 1.0]) * [1, 1, 0, 0, 0, 0]
    delta = 2e-6 * inward / np.linalg.norm(inward)  # below the tolerance
    walk, result = walk_out(PLANAR, creep, delta, most=3000)
    assert "'second' within 0.01 rad of its upper limit" in result.reason
    error = walk.pose.position - PLANAR.forward(walk.joints).position
    assert np.abs(error).max() <= 1e-5


def test_the_integrator_starts_anew_where_it_is_told():
    walk = DeltaIntegrator(UR, PERIOD_S)
    for call in (lambda: walk.advance(np.zeros(6)), lambda: walk.joints, lambda: walk.pose):
        with pytest.raises(RuntimeError, match="call start"):
            call()
    q = np.array(UR_READY)
    walk.start(q)
    q += 1.0  # what the caller does with its array later is its own affair
    assert (walk.joints == UR_READY).all()
    walk.joints[:] = 0.0
    walk.pose.position[:] = 0.0
    assert (walk.joints == UR_READY).all() and walk.pose.position.any()
    assert walk.advance(0.01 * OUT).reached
    walk.start(np.array(UR_READY))
    assert (walk.joints == UR_READY).all()
    with pytest.raises(ValueError, match="nan"):
        walk.start(np.array([math.nan, *UR_READY[1:]]))
    with pytest.raises(RuntimeError, match="call start"):  # the old pose is no pose any more
        walk.advance(np.zeros(6))


@pytest.mark.parametrize(
    ("q", "delta", "period_s", "words"),
    [
        (READY[:5], np.zeros(6), 0.1, r"q: found shape \(5,\), expected \(6,\)"),
        (READY, np.zeros(7), 0.1, r"delta: found shape \(7,\), expected \(6,\)"),
        (READY * math.nan, np.zeros(6), 0.1, "q: found .*nan"),
        (READY, np.array([0, math.inf, 0, 0, 0, 0]), 0.1, "delta: found .*inf"),
        (READY, np.array([0, 0, 0, 2, 2, 2]), 0.1, "turn by .* below pi"),
        (READY, np.zeros(6), 0.0, "period_s: found 0.0"),
        (READY, np.zeros(6), math.nan, "period_s: found nan"),
    ],
)
def test_what_is_no_step_is_refused_and_changes_nothing(q, delta, period_s, words):
    with pytest.raises(ValueError, match=words):
        UR.step(q, delta, period_s)
    walk = DeltaIntegrator(UR, 0.1)
    walk.start(READY)
    if q is READY and period_s == 0.1:
        with pytest.raises(ValueError, match=words):
            walk.advance(delta)
        assert (walk.joints == READY).all()
    elif q is READY:
        with pytest.raises(ValueError, match=words):
            DeltaIntegrator(UR, period_s)

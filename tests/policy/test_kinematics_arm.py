"""Tests of steps of the end effector: reached, within limits and speeds, or refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from urdf_arms import (
    PANDA_READY,
    PLANAR_M,
    UR_JOINTS,
    UR_READY,
    joint,
    link,
    panda,
    planar,
    robot,
    ur5e,
)

from roboalign_policy.kinematics import ArmSolver, UrdfRobot

PERIOD_S = 0.1
SLOW = 1.0  # s: enough for any small step
XY = ("dx", "dy")


def solver_of(text: str, base: str, tip: str, **options) -> ArmSolver:
    described = UrdfRobot.from_text(text, "test")
    names = options.pop("joint_names", described.joint_names(base, tip))
    return ArmSolver(described, base, tip, names, **options)


UR = solver_of(ur5e(), "base_link", "tool0")
PANDA = solver_of(panda(), "panda_link0", "panda_hand_tcp")
PLANAR = solver_of(planar(), "base", "tip", axes=XY)
ARMS = {"ur5e": (UR, np.array(UR_READY)), "panda": (PANDA, np.array(PANDA_READY))}

arms = st.sampled_from(list(ARMS))
units = st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6).map(np.array)
angles = st.lists(st.floats(-1.0, 1.0), min_size=7, max_size=7).map(np.array)


def missed(pose, after, delta: np.ndarray) -> float:
    """Greatest difference, m and rad, between a pose and where a step from another one leads."""
    wanted = Rotation.from_rotvec(delta[3:]) * Rotation.from_matrix(pose.rotation)
    turn = (wanted * Rotation.from_matrix(after.rotation).inv()).as_rotvec()
    return float(np.abs([*(pose.position + delta[:3] - after.position), *turn]).max())


@given(st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_forward_and_jacobian_of_two_links_are_the_closed_form(first, second):
    (a, b), both = PLANAR_M, first + second
    c1, s1, c12, s12 = math.cos(first), math.sin(first), math.cos(both), math.sin(both)
    position, rotation = PLANAR.forward(np.array([first, second]))
    np.testing.assert_allclose(position, [a * c1 + b * c12, a * s1 + b * s12, 0], atol=1e-12)
    np.testing.assert_allclose(rotation, Rotation.from_euler("z", both).as_matrix(), atol=1e-12)
    expected = np.zeros((6, 2))
    expected[0] = [-a * s1 - b * s12, -b * s12]
    expected[1] = [a * c1 + b * c12, b * c12]
    expected[5] = 1.0
    np.testing.assert_allclose(PLANAR.jacobian(np.array([first, second])), expected, atol=1e-12)


@given(st.floats(-2.0, 2.0), st.floats(0.8, 2.2), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0))
def test_steps_of_two_links_are_the_closed_form(first, second, right, up):
    (a, b), delta = PLANAR_M, np.array([0.01 * right, 0.01 * up, 0, 0, 0, 0])
    result = PLANAR.step(np.array([first, second]), delta, SLOW)
    x, y = (PLANAR.forward(np.array([first, second])).position + delta[:3])[:2]
    elbow = math.acos((x * x + y * y - a * a - b * b) / (2 * a * b))
    shoulder = math.atan2(y, x) - math.atan2(b * math.sin(elbow), a + b * math.cos(elbow))
    off = result.q_target - [shoulder, elbow]
    assert result.reached and result.scaled == 1.0
    np.testing.assert_allclose((off + math.pi) % (2 * math.pi) - math.pi, 0, atol=1e-6)


@settings(max_examples=50)
@given(arms, angles)
def test_the_jacobian_is_the_slope_of_forward(name, turn):
    solver, ready = ARMS[name]
    q = ready + turn[: len(ready)]
    slopes = []
    for unit in np.eye(len(q)) * 1e-6:
        before, after = solver.forward(q - unit), solver.forward(q + unit)
        turned = Rotation.from_matrix(after.rotation @ before.rotation.T).as_rotvec()
        slopes.append(np.concatenate([after.position - before.position, turned]) / 2e-6)
    np.testing.assert_allclose(solver.jacobian(q), np.array(slopes).T, atol=1e-7)


@given(arms, angles, units)
def test_a_small_step_is_reached_where_the_arm_is_not_singular(name, turn, unit):
    solver, ready = ARMS[name]
    q = ready + 0.2 * turn[: len(ready)]
    delta = unit * [0.01, 0.01, 0.01, 0.05, 0.05, 0.05]
    before = q.copy()
    result = solver.step(q, delta, SLOW)
    assert (q == before).all()
    assert result.reached and result.reason == "" and result.scaled == 1.0
    assert result.singularity > 0.05
    # Asked for is 1e-4; the solver promises 1e-5.
    assert missed(solver.forward(q), solver.forward(result.q_target), delta) <= 1e-5


@settings(max_examples=30)
@given(arms, units)
def test_a_step_that_is_too_fast_keeps_its_direction(name, unit):
    solver, q = ARMS[name]
    delta = unit * [0.3, 0.3, 0.3, 1.0, 1.0, 1.0]
    result = solver.step(q, delta, PERIOD_S)
    moved = np.abs(result.q_target - q) / (solver.bounds.velocity * PERIOD_S)
    assert result.reached and moved.max() <= 1.0
    assert missed(solver.forward(q), solver.forward(result.q_target), result.scaled * delta) < 1e-5
    if result.scaled < 1.0:
        assert "speeds" in result.reason
        assert moved.max() > 0.45  # not slower than need be


def test_half_the_speed_is_half_the_step():
    half = solver_of(ur5e(), "base_link", "tool0", velocity_share=0.5)
    delta, q = np.array([0.2, 0, 0, 0, 0, 0]), ARMS["ur5e"][1]
    whole, share = (solver.step(q, delta, PERIOD_S).scaled for solver in (UR, half))
    assert 0 < whole < 1
    assert share == pytest.approx(whole / 2, rel=0.1)


def test_order_of_the_joints_is_the_callers():
    turned = solver_of(ur5e(), "base_link", "tool0", joint_names=UR_JOINTS[::-1])
    q, delta = ARMS["ur5e"][1], np.array([0.01, 0, 0.01, 0.02, 0, 0])
    np.testing.assert_allclose(turned.forward(q[::-1]).position, UR.forward(q).position)
    np.testing.assert_allclose(turned.jacobian(q[::-1]), UR.jacobian(q)[:, ::-1])
    np.testing.assert_allclose(
        turned.step(q[::-1], delta, SLOW).q_target[::-1], UR.step(q, delta, SLOW).q_target
    )


def test_axes_that_are_left_out_are_free():
    free = solver_of(panda(), "panda_link0", "panda_hand_tcp", axes=("dx", "dy", "dz"))
    q, delta = ARMS["panda"][1], np.array([0.05, 0.02, -0.05, 0, 0, 0])
    result = free.step(q, delta, SLOW)
    before, after = free.forward(q), free.forward(result.q_target)
    assert result.reached
    np.testing.assert_allclose(after.position, before.position + delta[:3], atol=1e-5)
    assert np.abs(after.rotation - before.rotation).max() > 0.01
    with pytest.raises(ValueError, match="droll: found 0.1, expected 0"):
        free.step(q, np.array([0, 0, 0, 0.1, 0, 0]), SLOW)


def test_sliding_joints_move_in_metres():
    limit = (-0.2, 0.5, 0.25, 100)
    text = robot(
        "gantry",
        *(link(name) for name in ("base", "x", "y", "z")),
        joint("slide_x", "base", "x", kind="prismatic", limit=limit, axis="1 0 0"),
        joint("slide_y", "x", "y", kind="prismatic", limit=limit, axis="0 -2 0"),
        joint("slide_z", "y", "z", kind="prismatic", limit=limit),
    )
    gantry = solver_of(text, "base", "z", axes=("dx", "dy", "dz"))
    result = gantry.step(np.zeros(3), np.array([0.01, 0.02, -0.01, 0, 0, 0]), PERIOD_S)
    np.testing.assert_allclose(result.q_target, [0.01, -0.02, -0.01], atol=1e-9)
    result = gantry.step(np.array([0.49, 0, 0]), np.array([0.02, 0, 0, 0, 0, 0]), PERIOD_S)
    assert not result.reached
    assert "'slide_x' within 0.001 m of its upper limit, 0.5 m" in result.reason


def test_a_rotation_is_applied_as_the_simulator_applies_it():
    from roboalign_policy.kinematics.pose_search import Pose
    from roboalign_policy.sim import make_env
    from roboalign_policy.sim.env import ROTATION_UNIT_RAD

    env = make_env("object", "0", 3, cameras=())
    start = env.reset()
    pose = Pose(start.ee_position, Rotation.from_rotvec(start.ee_rotvec).as_matrix())
    for turn in ((0.6, 0.0, 0.0), (0.0, 0.6, 0.4)):
        seen = env.step(np.array([0, 0, 0, *turn, -1.0]))
        pose = pose.moved(np.array([0, 0, 0, *turn]) * ROTATION_UNIT_RAD)
    for _ in range(3):
        seen = env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    np.testing.assert_allclose(
        seen.ee_rotvec, Rotation.from_matrix(pose.rotation).as_rotvec(), atol=0.01
    )


TWO = [link(name) for name in "abc"]
LIMIT = (-1.0, 1.0, 2.0, 5.0)


def two(second: str, far: float = 0.3) -> str:
    """An arm of a good joint and another one."""
    return robot(
        "two",
        *TWO,
        joint("good", "a", "b", kind="revolute", limit=LIMIT),
        second.format(origin=f'<parent link="b"/><child link="c"/><origin xyz="{far} 0 0"/>'),
    )


SECOND = (
    '<joint name="second" type="{kind}">{{origin}}<axis xyz="0 0 1"/>'
    '<limit lower="{low}" upper="1" velocity="{speed}" effort="1"/>{more}</joint>'
)


def second(kind="revolute", low=-1, speed=1, more="") -> str:
    return SECOND.format(kind=kind, low=low, speed=speed, more=more)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (two(second()), {"joint_names": ("good", "third")}, ["'third'", "'second'"]),
        (two(second()), {"joint_names": ("good",)}, ["without ['second']"]),
        (two(second()), {"joint_names": ("good", "second", "good")}, ["each once"]),
        (two(second()), {"axes": ("dx", "dw")}, ["axes", "dw"]),
        (two(second()), {"axes": ("dx", "dx")}, ["axes", "once"]),
        (two(second()), {"axes": ()}, ["axes"]),
        (two(second()), {"axes": ("dx", "dy", "dyaw")}, ["2 joints for 3 axes"]),
        (two(second()), {"damping": 0.0}, ["damping", "above 0"]),
        (two(second()), {"singular_below": math.nan}, ["singular_below", "nan"]),
        (two(second()), {"tolerance": 0.1}, ["tolerance", "0.1"]),
        (two(second()), {"velocity_share": 1.5}, ["velocity_share", "1.5"]),
        (two(second()), {"limit_margin_rad": -0.1}, ["limit_margin_rad", "-0.1"]),
        (two(second(low=0.99)), {}, ["'second'", "0.99 to 1", "margin of 0.01"]),
        (two(second(speed=0)), {}, ["'second'", "velocity: found 0"]),
        (
            two('<joint name="second" type="continuous">{origin}</joint>'),
            {},
            ["velocity: found inf"],
        ),
        (
            two('<joint name="second" type="floating">{origin}</joint>'),
            {},
            ["'second'", "floating"],
        ),
        (two(second(more='<mimic joint="good"/>')), {}, ["'second'", "follows joint 'good'"]),
        (two(second(), far=300.0), {}, ["reaches 300 m"]),
        (
            two('<joint name="second" type="fixed">{origin}</joint>'),
            {"joint_names": ("good",)},
            ["1 joints for 2 axes"],
        ),
    ],
)
def test_an_arm_that_cannot_be_driven_is_refused_by_name(text, options, words):
    with pytest.raises(ValueError) as caught:
        solver_of(text, "a", "c", **{"axes": XY, "joint_names": ("good", "second"), **options})
    assert all(word in str(caught.value) for word in words)

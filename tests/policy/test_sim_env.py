"""Tests of the tabletop environment: kinematics, control, noise and determinism."""

import numpy as np
import pytest

from roboalign_policy.kinematics.rotation import rotation_from_rotvec, rotvec_from_rotation
from roboalign_policy.sim import Expert, Scene, make_env
from roboalign_policy.sim.arm_model import HOME_JOINTS_RAD
from roboalign_policy.sim.env import CONTROL_PERIOD_NS, POSITION_UNIT_M, WORKSPACE_M


def still_env(**options):
    env = make_env("object", "0", 3, randomise_start=False, cameras=(), **options)
    env.reset()
    return env


def command(*values: float, gripper: float = -1.0) -> np.ndarray:
    action = np.zeros(7)
    action[: len(values)] = values
    action[6] = gripper
    return action


def tool_at(scene: Scene, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and rotation of the tool of an arm that stands at joints (7,) rad."""
    scene.arrange([], joints, gripper_width_m=0.1)
    scene.forward()
    return scene.tool_position, scene.tool_rotation


def test_forward_kinematics_agree_with_the_public_table():
    position, rotation = tool_at(Scene(), np.asarray(HOME_JOINTS_RAD))
    # By hand, x and z in the plane of the arm at (0, -45, 0, -135, 0, 90, 45) degrees: the upper
    # arm leans back by 45 degrees, the forearm is level, the flange points down.
    root = np.sqrt(0.5)
    elbow = np.array([-0.316 * root + 0.0825 * root, 0.333 + 0.316 * root + 0.0825 * root])
    wrist = elbow + np.array([0.384, 0.0825])
    tool = wrist + np.array([0.088, -(0.107 + 0.1034)])
    assert position == pytest.approx([tool[0], 0.0, tool[1]], abs=1e-4)
    assert np.abs(rotation - np.eye(3)).max() < 1e-4


def test_inverse_kinematics_reach_the_whole_workspace():
    scene = Scene()
    for x in (*WORKSPACE_M[0], 0.5):
        for y in (*WORKSPACE_M[1], 0.0):
            for z in (*WORKSPACE_M[2], 0.15):
                for yaw in (0.0, 0.5):
                    turn = rotation_from_rotvec(np.array([0.0, 0.0, yaw]))
                    goal = np.array([x, y, z])
                    joints = scene.solve_arm(goal, turn, 60)
                    position, rotation = tool_at(scene, joints)
                    assert np.linalg.norm(position - goal) < 1e-3
                    assert np.linalg.norm(rotvec_from_rotation(rotation.T @ turn)) < 5e-3


@pytest.mark.parametrize("rotvec", [[0, 0, 0], [0.3, -0.2, 0.1], [0, 0, -2.9], [1e-9, 0, 0]])
def test_rotation_vectors_come_back(rotvec):
    back = rotvec_from_rotation(rotation_from_rotvec(np.array(rotvec, dtype=float)))
    assert back == pytest.approx(rotvec, abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_one_unit_is_five_centimetres_along_its_axis(axis, sign):
    env = still_env()
    before = env.observe().ee_position
    moved = env.step(command(*(sign * np.eye(3)[axis]))).ee_position
    env.step(command())
    settled = env.observe().ee_position
    expected = np.eye(3)[axis] * sign * POSITION_UNIT_M
    assert settled - before == pytest.approx(expected, abs=0.0015)
    assert moved - before == pytest.approx(expected, abs=0.008)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_units_are_half_a_radian(axis):
    env = still_env()
    action = np.zeros(7)
    action[3 + axis], action[6] = 0.6, -1.0
    place = env.observe().ee_position
    env.step(action)
    observation = env.step(command())
    assert observation.ee_rotvec == pytest.approx(0.3 * np.eye(3)[axis], abs=0.01)
    assert observation.ee_position == pytest.approx(place, abs=0.002)


def test_a_zero_action_holds_still_for_ever():
    env = still_env()
    before = env.observe()
    for _ in range(50):
        after = env.step(command())
    assert after.ee_position == pytest.approx(before.ee_position, abs=5e-4)
    assert after.joints == pytest.approx(before.joints, abs=2e-3)


def test_the_gripper_obeys_the_sign():
    env = still_env()
    assert env.observe().gripper_width == pytest.approx(0.1, abs=0.002)
    for _ in range(3):
        shut = env.step(command(gripper=0.4))
    assert shut.gripper_width < 0.002
    for _ in range(3):
        wide = env.step(command(gripper=-0.4))
    assert wide.gripper_width > 0.097


def test_actions_are_clipped():
    first, second = still_env(), still_env()
    a = first.step(command(40.0, -40.0, 7.0))
    b = second.step(command(1.0, -1.0, 1.0))
    assert np.array_equal(a.joints, b.joints)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 4, 6])
def test_values_that_are_not_finite_move_nothing(bad, index):
    env = still_env()
    before = env.scene.data.qpos.copy()
    action = np.zeros(7)
    action[index] = bad
    with pytest.raises(ValueError, match="finite"):
        env.step(action)
    assert np.array_equal(env.scene.data.qpos, before)
    assert env.steps == 0


@pytest.mark.parametrize("shape", [(6,), (8,), (1, 7), ()])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        still_env().step(np.zeros(shape))


def test_the_tool_stays_inside_the_workspace():
    env = still_env()
    for direction in ((1, 1, -1), (-1, -1, -1), (1, -1, 1)):
        for _ in range(16):
            place = env.step(command(*direction)).ee_position
        for value, (low, high) in zip(place, WORKSPACE_M, strict=True):
            assert low - 0.01 < value < high + 0.01


def test_the_tool_follows_again_after_a_wild_minute():
    env = still_env()
    rng = np.random.default_rng(5)
    for _ in range(100):
        env.step(rng.uniform(-1, 1, 7))
    goal = np.array([0.45, 0.0, 0.2])
    for _ in range(40):
        observation = env.observe()
        turn = -observation.ee_rotvec / 0.5
        env.step(np.array([*(goal - observation.ee_position) / POSITION_UNIT_M, *turn, -1.0]))
    assert env.observe().ee_position == pytest.approx(goal, abs=0.003)
    assert env.observe().ee_rotvec == pytest.approx(np.zeros(3), abs=0.02)


def test_time_and_observations():
    env = make_env("object", "0", 3)
    first = env.reset()
    second = env.step(command())
    assert (first.time_ns, second.time_ns) == (0, CONTROL_PERIOD_NS)
    assert second.images["front"].shape == (128, 128, 3)
    assert second.joints.shape == (7,)
    assert np.abs(second.ee_rotvec).max() < 0.01
    assert env.reset().time_ns == 0
    assert np.array_equal(second.images["front"], env.step(command()).images["front"])


def test_the_same_seed_gives_the_same_states_and_pixels_even_interleaved():
    envs = [make_env("long", "2", 8, action_noise=0.1) for _ in range(2)]
    other = make_env("goal", "1", 9, action_noise=0.1)
    experts = [Expert(env) for env in (*envs, other)]
    for env in (*envs, other):
        env.reset()
    for _ in range(25):
        pictures = []
        for env, expert in zip((*envs, other), experts, strict=True):
            pictures.append(env.step(expert.act()).images["front"])
        assert np.array_equal(envs[0].scene.data.qpos, envs[1].scene.data.qpos)
        assert np.array_equal(envs[0].scene.data.qvel, envs[1].scene.data.qvel)
        assert np.array_equal(pictures[0], pictures[1])


def test_another_seed_gives_another_scene_and_another_start():
    first, second = (make_env("object", "0", seed, cameras=()) for seed in (1, 2))
    a, b = first.reset(), second.reset()
    assert not np.allclose(a.ee_position, b.ee_position, atol=0.005)
    assert not np.allclose(
        first.objects()["red cube"].position, second.objects()["red cube"].position, atol=0.005
    )
    fixed = [make_env("object", "0", s, randomise_start=False, cameras=()) for s in (1, 2)]
    assert np.allclose(*(env.reset().ee_position for env in fixed), atol=1e-6)


def test_noise_and_pushes_act_between_command_and_arm():
    calm, noisy, pushed = still_env(), still_env(action_noise=0.2), still_env(push_rate=1.0)
    for env in (calm, noisy, pushed):
        env.step(command())
    start = calm.observe().ee_position
    assert 0.0005 < np.linalg.norm(noisy.observe().ee_position - start) < 0.06
    assert 0.015 < np.linalg.norm(pushed.observe().ee_position - start) < 0.07


@pytest.mark.parametrize("options", [{"action_noise": -0.1}, {"action_noise": 2.0}])
def test_noise_out_of_range_is_refused(options):
    with pytest.raises(ValueError, match="action_noise"):
        make_env("object", "0", 0, **options)
    with pytest.raises(ValueError, match="seed"):
        make_env("object", "0", -1)


def test_a_grasped_cube_is_carried_and_not_dropped():
    env = make_env("object", "0", 4, cameras=())
    env.reset()
    expert = Expert(env)
    for _ in range(20):
        if env.observe().gripper_width < 0.07:
            break
        env.step(expert.act())
    cube = env.objects()["red cube"].position
    for direction in ((0, 0, 1), (0, 0, 1), (0, 0.8, 0), (0.8, 0, 0), (0, -0.8, 0), (0, 0, 0)):
        env.step(command(*direction, gripper=1.0))
    lifted = env.objects()["red cube"].position
    assert lifted[2] - cube[2] > 0.08
    assert np.linalg.norm(lifted - env.observe().ee_position) < 0.02

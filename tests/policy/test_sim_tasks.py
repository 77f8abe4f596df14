"""Tests of the suites, their goals and the scripted experts."""

import numpy as np
import pytest

from roboalign_policy.sim import SUITES, Expert, find_task, make_env
from roboalign_policy.sim.goals import OpenDrawer, PutOn, is_held
from roboalign_policy.sim.tasks import RELATION_MARGIN_M, RELATIONS

ALL_TASKS = [task for tasks in SUITES.values() for task in tasks]


def run_expert(env) -> bool:
    env.reset()
    expert = Expert(env)
    for _ in range(env.task.max_steps):
        env.step(expert.act())
        if env.success():
            return True
    return False


def test_there_are_four_suites_of_four_tasks_or_more():
    assert set(SUITES) == {"object", "spatial", "goal", "long"}
    for suite, tasks in SUITES.items():
        assert len(tasks) >= 4
        assert {task.suite for task in tasks} == {suite}
        assert len({task.name for task in tasks}) == len(tasks)
        assert len({task.instruction for task in tasks}) == len(tasks)
    assert all(len(task.goals) == 2 for task in SUITES["long"])


def test_tasks_are_found_by_name_and_number():
    assert find_task("goal", "open_drawer") is find_task("goal", "3")
    with pytest.raises(ValueError, match="object, spatial, goal, long"):
        find_task("kitchen", "0")
    with pytest.raises(ValueError, match="open_drawer"):
        find_task("goal", "close_drawer")


@pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: f"{task.suite}-{task.name}")
def test_no_task_starts_finished_and_all_its_objects_are_there(task):
    for seed in range(5):
        env = make_env(task.suite, task.name, seed, cameras=())
        env.reset()
        assert not env.success()
        names = set(env.objects())
        for goal in task.goals:
            if isinstance(goal, PutOn):
                assert {goal.cube, goal.support} <= names


@pytest.mark.parametrize("task", SUITES["spatial"], ids=lambda task: task.name)
def test_the_named_twin_stands_as_the_instruction_says(task):
    axis, sign = RELATIONS[task.relation]
    colour = task.cubes[0]
    assert f"the {task.relation} {colour} cube" in task.instruction
    for seed in range(20):
        placements = task.layout(np.random.default_rng(seed))
        target, twin = placements[:2]
        assert target.colour == twin.colour == colour
        first, second = ((p.x, p.y)[axis] for p in (target, twin))
        assert sign * (first - second) > RELATION_MARGIN_M


def test_object_scenes_hold_three_or_four_different_cubes():
    counts = set()
    for seed in range(20):
        placements = SUITES["object"][0].layout(np.random.default_rng(seed))
        cubes = [p.colour for p in placements if p.shape == "cube"]
        assert len(set(cubes)) == len(cubes)
        counts.add(len(cubes))
    assert counts == {3, 4}


@pytest.mark.parametrize("suite", list(SUITES))
def test_the_expert_succeeds_in_98_percent_of_50_seeds_with_noise(suite):
    tasks = SUITES[suite]
    failed = [
        seed
        for seed in range(50)
        if not run_expert(
            make_env(suite, str(seed % len(tasks)), seed, action_noise=0.05, cameras=())
        )
    ]
    assert len(failed) <= 1, f"failed seeds: {failed}"


def test_labels_are_clean_and_a_function_of_the_state():
    env = make_env("long", "2", 3, action_noise=0.1, cameras=())
    env.reset()
    for _ in range(40):
        before = env.scene.data.qpos.copy()
        action = Expert(env).act()  # a new expert every step: there is no memory to lose
        assert np.array_equal(action, Expert(env).act())
        assert np.array_equal(env.scene.data.qpos, before)
        assert action.dtype == np.float32
        assert action.shape == (7,)
        assert np.array_equal(action[3:6], np.zeros(3))
        assert action[6] in (-1.0, 1.0)
        assert np.abs(action).max() <= 1.0
        env.step(action)
        if env.success():
            break
    assert env.success()


def test_the_expert_recovers_when_the_cube_is_taken_away():
    env = make_env("object", "1", 6, cameras=())
    env.reset()
    expert = Expert(env)
    for _ in range(30):
        env.step(expert.act())
        if is_held(env.scene, "green cube"):
            break
    assert is_held(env.scene, "green cube")
    env.step(np.array([0, 0, 1.0, 0, 0, 0, 1]))
    for _ in range(4):
        env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))  # dropped
    assert not is_held(env.scene, "green cube")
    for _ in range(env.task.max_steps):
        env.step(expert.act())
        if env.success():
            break
    assert env.success()


def test_a_held_cube_over_the_plate_is_no_success():
    env = make_env("object", "0", 2, cameras=())
    env.reset()
    expert = Expert(env)
    goal = env.task.goals[0]
    for _ in range(env.task.max_steps):
        action = expert.act()
        if is_held(env.scene, goal.cube) and action[6] < 0:
            break
        env.step(action)
    assert is_held(env.scene, goal.cube)
    assert not env.success()
    env.step(action)
    for _ in range(3):
        env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert env.success()


def test_an_idle_arm_and_a_random_one_do_not_succeed():
    for suite in SUITES:
        rng = np.random.default_rng(0)
        for policy in (lambda _: np.zeros(7), lambda rng: rng.uniform(-1, 1, 7)):
            env = make_env(suite, "0", 1, cameras=())
            env.reset()
            for _ in range(20):
                env.step(policy(rng))
            assert not env.success()


def test_the_drawer_counts_from_sixty_percent_and_released():
    env = make_env("goal", "open_drawer", 0, cameras=())
    env.reset()
    scene, goal = env.scene, OpenDrawer()
    for opening, met in ((0.55, False), (0.65, True)):
        scene.arrange([], scene.solve_arm(np.array([0.4, -0.2, 0.3])), 0.1, opening)
        scene.forward()
        assert goal.satisfied(scene) is met
    scene.arrange([], scene.solve_arm(scene.objects()["drawer"].position), 0.03, 0.65)
    scene.forward()
    assert not goal.satisfied(scene)


def test_the_expert_rests_above_a_finished_task():
    env = make_env("object", "0", 5, cameras=())
    assert run_expert(env)
    expert = Expert(env)
    for _ in range(6):
        action = expert.act()
        assert action[6] == -1.0
        assert np.array_equal(action[:2], np.zeros(2))
        env.step(action)
    assert env.success()
    assert np.abs(expert.act()[:3]).max() < 0.1

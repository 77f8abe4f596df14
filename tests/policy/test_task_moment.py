"""Moments of tasks: what is shown is so, and the expert would do what is told."""

import collections

import mujoco
import numpy as np
import pytest

from roboalign_policy.sim import task_moment
from roboalign_policy.sim.env import WORKSPACE_M, TabletopEnv
from roboalign_policy.sim.expert import HOVER_M, Expert
from roboalign_policy.sim.goals import CLOSED_WIDTH_M
from roboalign_policy.sim.task_moment import random_moment
from roboalign_policy.sim.tasks import SUITES

COUNT = 300


@pytest.fixture(scope="module")
def moments():
    return [random_moment(seed) for seed in range(COUNT)]


def is_open(observation):
    return observation.gripper_width > CLOSED_WIDTH_M


def test_a_seed_gives_one_moment_whatever_came_before():
    first = random_moment(7, ("front", "wrist"))
    random_moment(8)
    again = random_moment(7, ("front", "wrist"))
    assert first.task == again.task and first.done == again.done
    for name in ("front", "wrist"):
        assert first.now.images[name].shape == (128, 128, 3)
        np.testing.assert_array_equal(first.now.images[name], again.now.images[name])
    np.testing.assert_array_equal(first.then.ee_position, again.then.ee_position)
    other = random_moment(8)
    assert not np.array_equal(other.now.images["front"], first.now.images["front"])
    with pytest.raises(ValueError, match="seed: found -1, expected 0 or more"):
        random_moment(-1)


def test_all_tasks_and_all_parts_of_them_are_shown(moments):
    assert {m.task for m in moments} == {task for tasks in SUITES.values() for task in tasks}
    suites = collections.Counter(m.task.suite for m in moments)
    assert min(suites.values()) > COUNT / 4 - 30
    of_long = collections.Counter(m.done for m in moments if m.task.suite == "long")
    assert set(of_long) == {0, 1, 2}
    changes = collections.Counter((is_open(m.now), is_open(m.then)) for m in moments)
    assert changes[True, False] > COUNT / 5 and changes[False, True] > COUNT / 5
    assert changes[True, True] == sum(m.done == len(m.task.goals) for m in moments) > COUNT / 10
    assert not changes[False, False]
    assert any(m.now.gripper_width == 0.0 for m in moments), "closed on nothing"


def test_the_arm_stands_where_it_is_said_to(moments):
    low, high = np.transpose(WORKSPACE_M)
    for moment in moments:
        for seen in (moment.now, moment.then):
            assert (seen.ee_position > low - 0.02).all(), moment
            assert (seen.ee_position < high + 0.02).all(), moment
            assert np.linalg.norm(seen.ee_rotvec) < 0.02, "it points straight down"
        assert set(moment.then.values()) == {"state.joints", "state.ee", "state.gripper"}


def test_a_finished_task_is_left_upwards(moments):
    for moment in moments:
        if moment.done == len(moment.task.goals):
            way = moment.then.ee_position - moment.now.ee_position
            assert np.abs(way[:2]).max() < 0.003
            assert moment.then.ee_position[2] == pytest.approx(HOVER_M, abs=0.03)


def test_other_instructions_name_one_object_each_and_are_answered():
    counts = collections.Counter()
    for seed in range(60):
        moment = random_moment(seed, others=4)
        plain = random_moment(seed)
        np.testing.assert_array_equal(moment.then.ee_position, plain.then.ee_position)
        np.testing.assert_array_equal(moment.now.images["front"], plain.now.images["front"])
        words = [other.instruction for other in moment.others]
        assert len({*words, moment.task.instruction}) == len(words) + 1, "none is asked twice"
        twins = {o.name.removesuffix(" 2") for o in moment.scene.objects if o.name.endswith(" 2")}
        for other in moment.others:
            counts[len(other.goals), other.done] += 1
            for noun in twins:
                told = other.instruction.split(noun)
                assert all(
                    part.split()[-1] in ("left", "right", "front", "back") for part in told[:-1]
                )
            if moment.scene.held is None and moment.scene.gripper_open:
                name = getattr(other.goals[0], "cube", None)
                if name and other.done == 0:
                    cube = next(o for o in moment.scene.objects if o.name == name)
                    far = np.abs(other.then.ee_position[:2] - cube.position[:2]).max()
                    assert far < 0.011 and not is_open(other.then)
    assert {(1, 0), (1, 1), (2, 0), (2, 1)} <= set(counts)


def test_the_expert_does_what_is_told():
    """With physics from there on: the next change of the gripper's word is where it is told."""
    found = collections.Counter()
    for seed in range(40):
        moment = random_moment(seed)
        env = TabletopEnv(moment.task, seed)
        env.reset()
        env.scene = task_moment._scene()
        env._joint_target, env._target = moment.now.joints, moment.now.ee_position
        mujoco.mj_forward(env.scene.model, env.scene.data)
        expert, seen = Expert(env), env.observe()
        for _ in range(40):
            before, seen = seen, env.step(expert.act())
            if is_open(before) != is_open(seen):
                break
        event = is_open(before), is_open(seen)
        told = is_open(moment.now), is_open(moment.then)
        far = np.abs(seen.ee_position - moment.then.ee_position).max()
        found[event == told and far < 0.02] += 1
    assert found[True] >= 0.9 * found.total(), found

"""The world behind sim_robot_node: when an episode is over."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from roboalign_policy.nodes.sim.sim_world import SimWorld


def drive_until_done(linger_steps: int) -> tuple[SimWorld, int, int]:
    """A world after its expert has finished, the step of the first success, and all steps."""
    world = SimWorld(100_000_000, 1_000_000_000, linger_steps)
    world.reset("goal", "open_drawer", 3, 0.0)
    first = None
    while not world.done:
        world.step(world.expert_action())
        if world.success and first is None:
            first = world.steps
    assert first is not None
    return world, first, world.steps


def test_an_episode_ends_at_once_with_success() -> None:
    world, first, steps = drive_until_done(0)
    assert world.success and steps == first


def test_a_demonstration_goes_on_to_show_release_and_retreat() -> None:
    world, first, steps = drive_until_done(4)
    assert world.success and steps == first + 4
    assert world.observation.gripper_width > 0.07


def world_with(max_steps: int | None = None) -> SimWorld:
    world = SimWorld(100_000_000, 1_000_000_000)
    world.reset("goal", "open_drawer", 3, 0.0)
    if max_steps is not None:
        world._env.task = dataclasses.replace(world._env.task, max_steps=max_steps)
    return world


def test_success_is_told_once_with_steps_and_seconds() -> None:
    world = world_with()
    world.step(np.zeros(7, np.float32))  # nobody has commanded yet: no step of the task
    world.command()
    told = []
    for _ in range(40):
        world.step(world.expert_action())
        told += [news] if (news := world.news()) else []
    (text,) = told
    steps = int(text.split()[2])
    assert text == f"success after {steps} steps, {steps / 10:.1f} s: goal/open_drawer, seed 3"
    assert 5 < steps < 40


def test_the_time_limit_is_told_once_and_counts_from_the_first_command() -> None:
    still = np.array([0, 0, 0, 0, 0, 0, -1], np.float32)
    world = world_with(max_steps=5)
    for _ in range(9):
        world.step(still)
        assert world.news() == ""
    world.command()
    told = []
    for _ in range(8):
        world.step(still)
        world.command()
        told += [news] if (news := world.news()) else []
    assert told == ["time limit: not done after 5 steps, 0.5 s: goal/open_drawer, seed 3"]
    while not world.success:
        world.step(world.expert_action())
        told += [news] if (news := world.news()) else []
    assert len(told) == 2 and told[1].startswith("success after ")
    assert ", past the limit of 5: goal/open_drawer" in told[1]


def test_the_scene_says_which_goals_are_met() -> None:
    world = SimWorld(100_000_000, 1_000_000_000)
    world.reset("long", "drawer_red_in_drawer", 3, 0.0)
    scene = json.loads(world.scene_json(0))
    assert scene["instruction"] == "open the drawer and put the red cube in the drawer"
    seen = [scene["goals"]]
    while not world.done:
        world.step(world.expert_action())
        seen.append(json.loads(world.scene_json(0))["goals"])
    assert seen[0] == {"drawer open": False, "red cube in the drawer": False}
    assert {"drawer open": True, "red cube in the drawer": False} in seen
    assert seen[-1] == {"drawer open": True, "red cube in the drawer": True}

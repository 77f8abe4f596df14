"""The world behind sim_robot_node: when an episode is over."""

from __future__ import annotations

import json

from roboalign_policy.nodes.sim_world import SimWorld


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

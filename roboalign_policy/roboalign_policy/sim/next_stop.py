"""What the expert does next in a scene as it stands: the switch of its gripper, and where."""

from __future__ import annotations

import dataclasses

import numpy as np

from roboalign_policy.sim.arm_model import FINGER_STROKE_M
from roboalign_policy.sim.env import POSITION_UNIT_M
from roboalign_policy.sim.expert import HOVER_M, PULLED_OUT, funnel
from roboalign_policy.sim.goals import CLOSED_WIDTH_M, Goal, OpenDrawer, PutOn, is_held
from roboalign_policy.sim.model import CUBE_HALF_M, DRAWER_TRAVEL_M
from roboalign_policy.sim.scene import Scene

OPEN_M, HOLDING_M = 2 * FINGER_STROKE_M, 2 * CUBE_HALF_M
HANDLE_M = 0.03
"""The gripper's width around the drawer's handle."""


@dataclasses.dataclass(frozen=True)
class NextStop:
    """Where the tool is when the gripper's word next changes, or at rest above a finished task.

    Attributes:
        done: how many goals come before the one that is worked at; all of them when finished.
        tool: (3,) m in base_link.
        width: of the gripper there, m.
    """

    done: int
    tool: np.ndarray
    width: float


def next_stop(scene: Scene, goals: tuple[Goal, ...]) -> NextStop:
    """What `Expert` does next: it works at the first goal that is not met.

    Args:
        scene: with positions brought up to date (`Scene.forward`).
        goals: of the task, in order.
    """
    tool = scene.tool_position
    for number, goal in enumerate(goals):
        if not goal.released(scene):
            return NextStop(number, *_stop(scene, goal, tool))
    return NextStop(len(goals), np.array([*tool[:2], max(HOVER_M, tool[2])]), OPEN_M)


def _stop(scene: Scene, goal: Goal, tool: np.ndarray) -> tuple[np.ndarray, float]:
    name = goal.cube if isinstance(goal, PutOn) else "drawer"
    thing = scene.objects()[name].position
    if is_held(scene, name):
        if isinstance(goal, OpenDrawer):
            return tool - (_pull(scene.drawer_opening), 0.0, 0.0), OPEN_M
        return _end_of_way(tool, goal.place(scene) + tool - thing), OPEN_M
    if scene.gripper_width_m < CLOSED_WIDTH_M:
        # Closed on nothing or on something else: it opens where it is, while it rises by a step.
        rise = np.clip(HOVER_M - tool[2], 0.0, POSITION_UNIT_M)
        return tool + (0.0, 0.0, rise), OPEN_M
    return _end_of_way(tool, thing), HANDLE_M if name == "drawer" else HOLDING_M


def _pull(opening: float) -> float:
    """How far back the handle is let go, m."""
    ahead = opening
    while ahead <= PULLED_OUT:
        ahead = min(1.0, ahead + POSITION_UNIT_M / DRAWER_TRAVEL_M)
    return (ahead - opening) * DRAWER_TRAVEL_M


def _end_of_way(tool: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Where the way to a target ends: the expert acts as soon as it is near enough."""
    while not (ahead := funnel(tool, target))[1]:
        tool = tool + np.clip(ahead[0], -POSITION_UNIT_M, POSITION_UNIT_M)
    return tool

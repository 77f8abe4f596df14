"""Scripted experts: what a good operator would do, a function of the present state and no more.

Two primitives, put A on B and open the drawer, made of one motion: go straight towards the place
above the target, sink into it as the tool comes near (a funnel), act with the gripper. With no
memory the expert recovers by itself from noise, pushes and lost cubes, and its labels depend only
on what a policy can see.
"""

from __future__ import annotations

import numpy as np

from roboalign_policy.sim.env import POSITION_UNIT_M, TabletopEnv
from roboalign_policy.sim.goals import CLOSED_WIDTH_M, PutOn, is_held
from roboalign_policy.sim.model import DRAWER_TRAVEL_M

HOVER_M = (
    0.13  # the tool's height when it travels: a carried cube then clears cubes and the handle
)
_ALIGNED_M = 0.010  # horizontal distance within which the gripper may act
_LEVEL_M = 0.012
_FUNNEL_SLOPE = 3.0
_OPEN, _CLOSE = -1.0, 1.0
PULLED_OUT = 0.8  # share of the drawer's travel at which the expert lets go


class Expert:
    """The operator of one environment."""

    def __init__(self, env: TabletopEnv) -> None:
        self._env = env

    def act(self) -> np.ndarray:
        """The action for the present state.

        Returns:
            (7,) float32 in action units; rotations exactly 0, gripper exactly -1 or +1.
        """
        scene = self._env.scene
        for goal in self._env.task.goals:
            if not goal.released(scene):
                move, gripper = (
                    self._put_on(goal) if isinstance(goal, PutOn) else self._open_drawer()
                )
                break
        else:
            rise = HOVER_M - scene.tool_position[2]
            move, gripper = np.array([0.0, 0.0, max(rise, 0.0)]), _OPEN
        delta = np.clip(move / POSITION_UNIT_M, -1.0, 1.0)
        return np.array([*delta, 0.0, 0.0, 0.0, gripper], dtype=np.float32)

    def _put_on(self, goal: PutOn) -> tuple[np.ndarray, float]:
        scene = self._env.scene
        if is_held(scene, goal.cube):
            cube = scene.objects()[goal.cube].position
            # Where the tool has to be for the cube, however it sits in the grip, to be in place.
            target = goal.place(scene) + scene.tool_position - cube
            move, arrived = funnel(scene.tool_position, target)
            return move, _OPEN if arrived else _CLOSE
        return self._grasp(scene.objects()[goal.cube].position)

    def _open_drawer(self) -> tuple[np.ndarray, float]:
        scene = self._env.scene
        handle = scene.objects()["drawer"].position
        if not is_held(scene, "drawer"):
            return self._grasp(handle)
        if scene.drawer_opening > PULLED_OUT:
            return np.zeros(3), _OPEN
        # By what the drawer still lacks, not by where the tool is: slipping fingers pull on.
        _, across, up = handle - scene.tool_position
        return np.array([(scene.drawer_opening - 1.0) * DRAWER_TRAVEL_M, across, up]), _CLOSE

    def _grasp(self, target: np.ndarray) -> tuple[np.ndarray, float]:
        scene = self._env.scene
        move, arrived = funnel(scene.tool_position, target)
        if scene.gripper_width_m < CLOSED_WIDTH_M:
            return np.array(
                [0.0, 0.0, max(HOVER_M - scene.tool_position[2], 0.0)]
            ), _OPEN  # closed on nothing
        return (np.zeros(3), _CLOSE) if arrived else (move, _OPEN)


def funnel(tool: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, bool]:
    """The way (3,) m to a target, from above, and whether the tool is there.

    Far away the tool travels at `HOVER_M`; near the target the height follows the distance down.
    A tool that is lower than that rises before it travels, so that nothing is swept off the table.
    """
    across = target[:2] - tool[:2]
    distance = float(np.hypot(*across))
    height = target[2] + np.clip(
        (distance - _ALIGNED_M) * _FUNNEL_SLOPE, 0.0, max(HOVER_M - target[2], 0.0)
    )
    if distance < _ALIGNED_M and abs(tool[2] - target[2]) < _LEVEL_M:
        return np.zeros(3), True
    step = across * min(1.0, POSITION_UNIT_M / max(distance, 1e-9))
    too_low = height - tool[2]
    freedom = float(np.clip(1.0 - (too_low - 0.01) / POSITION_UNIT_M, 0.0, 1.0))
    return np.array([*(step * freedom), too_low]), False

"""What a task asks for: goals that read the present state and say whether they are met."""

from __future__ import annotations

import dataclasses

import numpy as np

from roboalign_policy.sim.model import CUBE_HALF_M, DRAWER_TRAY_HALF_M, PLATE_RADIUS_M
from roboalign_policy.sim.scene import Scene

CLOSED_WIDTH_M = (
    0.07  # a gripper narrower than this counts as closed, here and in the contract's prompt
)
OPEN_ENOUGH = 0.6
_HOLD_RADIUS_M = 0.035
_REST_SPEED_M_S = 0.05
_RELEASE_ABOVE_M = 0.004


def is_held(scene: Scene, name: str) -> bool:
    """Whether the closed gripper is around an object (the handle, for the drawer)."""
    distance = np.linalg.norm(scene.objects()[name].position - scene.tool_position)
    return scene.gripper_width_m < CLOSED_WIDTH_M and bool(distance < _HOLD_RADIUS_M)


@dataclasses.dataclass(frozen=True)
class PutOn:
    """The cube rests, released, on a plate, on another cube or in the open drawer."""

    cube: str
    support: str

    def __str__(self) -> str:
        """The goal in words: "red cube on white plate"."""
        if self.support == "drawer":
            return f"{self.cube} in the drawer"
        return f"{self.cube} on {self.support}"

    def place(self, scene: Scene) -> np.ndarray:
        """(3,) m in base_link: where the cube's centre has to be when the gripper lets go."""
        if self.support == "drawer":
            # Higher than the others: the open fingers must stay above the walls of the tray.
            return scene.tray_position + (0.0, 0.0, CUBE_HALF_M + 0.022)
        target = scene.objects()[self.support]
        top = CUBE_HALF_M if target.shape == "cube" else 0.0
        return target.position + (0.0, 0.0, top + CUBE_HALF_M + _RELEASE_ABOVE_M)

    def satisfied(self, scene: Scene) -> bool:
        """Whether the cube lies at rest on its support and the gripper does not hold it."""
        return self.released(scene) and scene.cube_speed(self.cube) < _REST_SPEED_M_S

    def released(self, scene: Scene) -> bool:
        """Whether the cube is where it belongs and not held, be it still settling."""
        if is_held(scene, self.cube):
            return False
        offset = scene.objects()[self.cube].position - self.place(scene)
        if self.support == "drawer":
            return bool(np.all(np.abs(offset[:2]) < DRAWER_TRAY_HALF_M) and offset[2] < 0.01)
        reach = CUBE_HALF_M if "cube" in self.support else PLATE_RADIUS_M - 0.01
        return bool(np.hypot(*offset[:2]) < reach and abs(offset[2]) < 0.012)


@dataclasses.dataclass(frozen=True)
class OpenDrawer:
    """The drawer stands more than 60 % open and the gripper has let go of the handle."""

    def __str__(self) -> str:
        """What is to be."""
        return "drawer open"

    def released(self, scene: Scene) -> bool:
        """The same as satisfied: a drawer does not settle."""
        return self.satisfied(scene)

    def satisfied(self, scene: Scene) -> bool:
        """Whether the drawer is open and released."""
        return scene.drawer_opening > OPEN_ENOUGH and not is_held(scene, "drawer")


Goal = PutOn | OpenDrawer

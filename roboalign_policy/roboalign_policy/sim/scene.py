"""A scene: one private copy of the model, what stands where in which colour, and its pictures."""

from __future__ import annotations

import dataclasses

import mujoco
import numpy as np

from roboalign_policy.sim.arm_model import FINGER_STROKE_M, HOME_JOINTS_RAD
from roboalign_policy.sim.kinematics import ARM_JOINTS, ArmKinematics
from roboalign_policy.sim.model import (
    COLOURS,
    CUBE_COUNT,
    CUBE_HALF_M,
    DRAWER_HANDLE_AHEAD_M,
    DRAWER_HANDLE_GRASP_Z_M,
    DRAWER_TRAVEL_M,
    IMAGE_SIZE,
    PLATE_COUNT,
    PLATE_THICKNESS_M,
    make_model,
)
from roboalign_policy.sim.renderer import shared_renderer

DRAWER_COLOUR = "brown"
_SOLID_BITS = (1, 3)  # contype, conaffinity of an object that takes part


@dataclasses.dataclass(frozen=True)
class ObjectState:
    """What a scene holds: name, colour, `cube` | `plate` | `drawer`, place in base_link.

    `position` (3,) float64 m is the centre of a cube, the centre of a plate's upper face, and the
    grasp point on the handle of the drawer. `opening` is the drawer's, 0 closed to 1 open; 0 for
    all else.
    """

    name: str
    colour: str
    shape: str
    position: np.ndarray
    opening: float = 0.0


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where an object is to stand: colour, `cube` | `plate`, x and y in m, yaw in rad."""

    colour: str
    shape: str
    x: float
    y: float
    yaw: float = 0.0


class Scene:
    """Table, arm, up to four cubes, up to two plates and the drawer; `arrange` starts it anew."""

    def __init__(self) -> None:
        self.model = make_model()
        self.data = mujoco.MjData(self.model)
        self.kinematics = ArmKinematics(self.model)
        self._tool = self.model.site("tool").id
        self._camera = self.model.camera("front").id
        self._drawer_qpos = int(self.model.joint("drawer").qposadr[0])
        self._finger_qpos = int(self.model.joint("finger_left").qposadr[0])
        self._cube_qpos = [int(self.model.joint(f"cube{i}").qposadr[0]) for i in range(CUBE_COUNT)]
        self._cube_dof = [int(self.model.joint(f"cube{i}").dofadr[0]) for i in range(CUBE_COUNT)]
        self._bodies = {
            "cube": [self.model.body(f"cube{i}").id for i in range(CUBE_COUNT)],
            "plate": [self.model.body(f"plate{i}").id for i in range(PLATE_COUNT)],
        }
        self._tray = self.model.body("tray").id
        self._slots: dict[str, tuple[str, str, int]] = {}  # name -> colour, shape, index

    def arrange(
        self,
        placements: list[Placement],
        joints: np.ndarray,
        gripper_width_m: float,
        opening: float = 0.0,
    ) -> None:
        """Puts the objects, the arm and the drawer in place, at rest, at time zero.

        Args:
            placements: cubes and plates on the table; what is not named is taken away.
            joints: (7,) rad.
            gripper_width_m: between the pads, 0 to 0.1.
            opening: of the drawer, 0 closed to 1 open.

        Raises:
            ValueError: more cubes or plates than the model has, or an unknown colour or shape.
        """
        mujoco.mj_resetData(self.model, self.data)
        self._slots = {}
        used = {"cube": 0, "plate": 0}
        for placement in placements:
            self._place(placement, used)
        for shape, count in used.items():
            for index in range(count, len(self._bodies[shape])):
                self._take_away(shape, index)
        self.set_arm(joints, gripper_width_m)
        self.set_drawer(opening)

    def set_arm(self, joints: np.ndarray, gripper_width_m: float) -> None:
        """Puts the arm where it is to stand, joints (7,) rad, and commands it to stay there."""
        self.data.qpos[:ARM_JOINTS] = joints
        self.data.ctrl[:ARM_JOINTS] = joints
        self.data.qpos[self._finger_qpos : self._finger_qpos + 2] = gripper_width_m / 2
        self.data.ctrl[ARM_JOINTS:] = gripper_width_m / 2

    def set_drawer(self, opening: float) -> None:
        """Puts the drawer where it is to stand, 0 closed to 1 open."""
        self.data.qpos[self._drawer_qpos] = opening * DRAWER_TRAVEL_M

    def _place(self, placement: Placement, used: dict[str, int]) -> None:
        if placement.shape not in used or placement.colour not in COLOURS:
            raise ValueError(
                f"{placement}: expected shape cube or plate and a colour of {', '.join(COLOURS)}"
            )
        index = used[placement.shape]
        if index == len(self._bodies[placement.shape]):
            raise ValueError(f"{placement}: the model has {index} {placement.shape}s, no more")
        used[placement.shape] = index + 1
        body = self._bodies[placement.shape][index]
        drawn, touched = self._geoms(body)
        self.model.geom_rgba[drawn] = (*COLOURS[placement.colour], 1.0)
        self.model.geom_contype[touched], self.model.geom_conaffinity[touched] = _SOLID_BITS
        self.model.body_gravcomp[body] = 0.0
        if placement.shape == "cube":
            pose = (
                placement.x,
                placement.y,
                CUBE_HALF_M,
                np.cos(placement.yaw / 2),
                0,
                0,
                np.sin(placement.yaw / 2),
            )
            self.data.qpos[self._cube_qpos[index] : self._cube_qpos[index] + 7] = pose
        else:
            self.data.mocap_pos[self.model.body_mocapid[body]] = (placement.x, placement.y, 0.0)
        base = name = f"{placement.colour} {placement.shape}"
        number = 1
        while name in self._slots:
            number += 1
            name = f"{base} {number}"
        self._slots[name] = (placement.colour, placement.shape, index)

    def _take_away(self, shape: str, index: int) -> None:
        """Below the table, weightless, without contacts, not drawn: no time and no pixels."""
        body = self._bodies[shape][index]
        drawn, touched = self._geoms(body)
        self.model.geom_rgba[drawn, 3] = 0.0
        self.model.geom_contype[touched] = self.model.geom_conaffinity[touched] = 0
        self.model.body_gravcomp[body] = 1.0

    def _geoms(self, body: int) -> tuple[int, int]:
        """The shape that is drawn and the one that touches; a cube's are the same."""
        first = self.model.body_geomadr[body]
        return first, first + self.model.body_geomnum[body] - 1

    def forward(self) -> None:
        """Brings positions (not forces) up to date: all that pictures and object states need."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def move_cube(self, name: str, position: np.ndarray) -> None:
        """Moves a cube to position (3,) m, keeping its turn."""
        index = self._slots[name][2]
        self.data.qpos[self._cube_qpos[index] : self._cube_qpos[index] + 3] = position

    def solve_arm(
        self, position: np.ndarray, rotation: np.ndarray | None = None, iterations: int = 40
    ) -> np.ndarray:
        """Joints (7,) rad for a tool pose, searched from the home pose.

        Args:
            position: (3,) m in base_link.
            rotation: (3, 3) in base_link; None: straight down.
            iterations: greatest number of steps of the search.
        """
        turn = np.eye(3) if rotation is None else rotation
        return self.kinematics.inverse(position, turn, np.asarray(HOME_JOINTS_RAD), iterations)

    @property
    def joints(self) -> np.ndarray:
        """(7,) float64 rad."""
        return self.data.qpos[:ARM_JOINTS].copy()

    @property
    def gripper_width_m(self) -> float:
        """Distance between the pads."""
        return float(
            np.clip(
                self.data.qpos[self._finger_qpos : self._finger_qpos + 2], 0, FINGER_STROKE_M
            ).sum()
        )

    @property
    def tool_position(self) -> np.ndarray:
        """(3,) float64 m in base_link."""
        return self.data.site_xpos[self._tool].copy()

    @property
    def tool_rotation(self) -> np.ndarray:
        """(3, 3) float64 in base_link; the identity points straight down."""
        return self.data.site_xmat[self._tool].reshape(3, 3).copy()

    @property
    def drawer_opening(self) -> float:
        """0 closed to 1 open."""
        return float(self.data.qpos[self._drawer_qpos] / DRAWER_TRAVEL_M)

    @property
    def tray_position(self) -> np.ndarray:
        """(3,) m, the centre of the tray's floor."""
        return self.data.xpos[self._tray] + (0, 0, 0.006)

    def cube_speed(self, name: str) -> float:
        """Speed of a cube's centre in m/s."""
        start = self._cube_dof[self._slots[name][2]]
        return float(np.linalg.norm(self.data.qvel[start : start + 3]))

    def objects(self) -> dict[str, ObjectState]:
        """All that stands there, by name; twins are `red cube` and `red cube 2`."""
        states = {}
        for name, (colour, shape, index) in self._slots.items():
            position = self.data.xpos[self._bodies[shape][index]].copy()
            if shape == "plate":
                position[2] += PLATE_THICKNESS_M
            states[name] = ObjectState(name, colour, shape, position)
        handle = self.data.xpos[self._tray] + (-DRAWER_HANDLE_AHEAD_M, 0, DRAWER_HANDLE_GRASP_Z_M)
        states["drawer"] = ObjectState(
            "drawer", DRAWER_COLOUR, "drawer", handle, min(max(self.drawer_opening, 0.0), 1.0)
        )
        return states

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where points appear in the front picture.

        Args:
            points: (N, 3) m in base_link.

        Returns:
            (N, 2) float64, column and row in pixels; may lie outside the picture.
        """
        turn = self.data.cam_xmat[self._camera].reshape(3, 3)
        seen = (np.asarray(points) - self.data.cam_xpos[self._camera]) @ turn
        focal = IMAGE_SIZE / 2 / np.tan(np.radians(self.model.cam_fovy[self._camera]) / 2)
        flat = seen[:, :2] / -seen[:, 2:]
        return IMAGE_SIZE / 2 - 0.5 + focal * flat * (1.0, -1.0)

    def render(self, camera: str = "front") -> np.ndarray:
        """(128, 128, 3) uint8 rgb of the camera `front` or `wrist`."""
        return shared_renderer().render(self.model, self.data, camera)

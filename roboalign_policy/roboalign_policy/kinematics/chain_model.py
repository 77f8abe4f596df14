"""The chain from base to tip as a MuJoCo model of frames and joints, without geometry.

Built from the joints alone: no mesh is read, no fixed link is fused away, and nothing else of the
robot (grippers, mimic joints, a second arm) takes part. The base's frame is MuJoCo's world.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import mujoco
import numpy as np

from roboalign_policy.kinematics.urdf_joint import PRISMATIC, UrdfJoint


class ChainModel:
    """Forward kinematics and Jacobian of the last frame of a chain; not for several threads.

    Attributes:
        reach_m: length of the stretched-out chain from its first moving joint on.
    """

    def __init__(self, chain: Sequence[UrdfJoint], joint_names: Sequence[str]) -> None:
        """Compiles the model.

        Args:
            chain: joints from base to tip; `UrdfRobot.chain`.
            joint_names: the moving ones among them, in the order of all (n,) arrays here.
        """
        moving = [joint.name for joint in chain if joint.moves]
        self.reach_m = _reach_m(chain)
        self._order = np.array([moving.index(name) for name in joint_names])
        self._model = mujoco.MjModel.from_xml_string(_mjcf(chain))
        self._data = mujoco.MjData(self._model)
        self._tip = self._model.nbody - 1
        # Views: they show what the last call computed.
        self._position = self._data.xpos[self._tip]
        self._rotation = self._data.xmat[self._tip].reshape(3, 3)
        self._jacobian = np.zeros((6, len(moving)))

    def forward(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,) m and rotation (3, 3) of the tip in the base's frame at joints (n,)."""
        self._data.qpos[self._order] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._position.copy(), self._rotation.copy()

    def jacobian(self) -> np.ndarray:
        """(6, n) at the joints of the last `forward`: change of the tip a unit of each joint.

        The first three rows are m, the last three rad, both in the base's frame.
        """
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacBody(
            self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._tip
        )
        return self._jacobian[:, self._order]


def _reach_m(chain: Sequence[UrdfJoint]) -> float:
    first = next(place for place, joint in enumerate(chain) if joint.moves)
    offsets = sum(float(np.linalg.norm(joint.xyz)) for joint in chain[first + 1 :])
    strokes = sum(
        max(abs(joint.limits.low), abs(joint.limits.high))
        for joint in chain
        if joint.type == PRISMATIC and joint.limits is not None
    )
    return offsets + strokes


def _mjcf(chain: Sequence[UrdfJoint]) -> str:
    """MuJoCo's own XML of the chain: one body a link, each inside of the one that carries it."""
    outermost = ElementTree.Element("mujoco")
    # A URDF's rpy turns about fixed axes, x first: in MuJoCo's letters that is XYZ.
    ElementTree.SubElement(outermost, "compiler", angle="radian", eulerseq="XYZ")
    body = ElementTree.SubElement(outermost, "worldbody")
    for joint in chain:
        place = {"pos": _text(joint.xyz), "euler": _text(joint.rpy)}
        body = ElementTree.SubElement(body, "body", place)
        # Inertia plays no part in kinematics, but MuJoCo moves nothing without mass.
        ElementTree.SubElement(body, "inertial", pos="0 0 0", mass="1", diaginertia="1 1 1")
        if joint.moves:
            kind = "slide" if joint.type == PRISMATIC else "hinge"
            ElementTree.SubElement(body, "joint", type=kind, axis=_text(joint.axis))
    return ElementTree.tostring(outermost, encoding="unicode")


def _text(values: Sequence[float]) -> str:
    # MuJoCo 3 takes the very smallest numbers for too large ones.
    return " ".join(repr(float(value)) if abs(value) > 1e-30 else "0" for value in values)

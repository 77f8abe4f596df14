"""One joint of a URDF: what it joins, how it moves and how far.

Source: URDF specification, http://wiki.ros.org/urdf/XML/joint
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

from roboalign_policy.kinematics.urdf_text import UrdfError, read_number, read_vector

FIXED, REVOLUTE, CONTINUOUS, PRISMATIC = "fixed", "revolute", "continuous", "prismatic"
MOVING_TYPES = (REVOLUTE, CONTINUOUS, PRISMATIC)
JOINT_TYPES = (*MOVING_TYPES, FIXED, "floating", "planar")
_GREATEST = 1e4  # m and rad; poses beyond it have lost the digits that count


@dataclass(frozen=True)
class JointLimits:
    """How far and how fast a joint may move.

    Attributes:
        low: least position in rad (prismatic: m); -inf for a continuous joint.
        high: greatest position; inf for a continuous joint.
        velocity: greatest speed in rad/s (prismatic: m/s); inf where the URDF states none, as it
            may for a continuous joint.
    """

    low: float
    high: float
    velocity: float


@dataclass(frozen=True)
class Mimic:
    """A joint that follows another: position = multiplier * that of `joint` + offset."""

    joint: str
    multiplier: float
    offset: float


@dataclass(frozen=True)
class UrdfJoint:
    """One joint.

    Attributes:
        name: unique in the robot.
        type: one of `JOINT_TYPES`.
        parent: link that carries it.
        child: link that it moves; its frame lies in the joint.
        xyz: m, place of the child's frame in the parent's at position 0.
        rpy: rad, its orientation: turns about the parent's fixed x, then y, then z.
        axis: unit vector in the child's frame; of no meaning where it does not move.
        limits: of a moving joint, else None.
        effort: N m (prismatic: N); None where none is stated.
        mimic: the joint that it follows, if any.
    """

    name: str
    type: str
    parent: str
    child: str
    xyz: tuple[float, ...]
    rpy: tuple[float, ...]
    axis: tuple[float, ...]
    limits: JointLimits | None
    effort: float | None
    mimic: Mimic | None

    @property
    def moves(self) -> bool:
        """Whether one number says where it is."""
        return self.type in MOVING_TYPES


def read_name(element: ElementTree.Element, source: str) -> str:
    """The name of a link or a joint.

    Raises:
        UrdfError: it has none.
    """
    name = element.get("name")
    if not name:
        raise UrdfError(source, f"{element.tag}: found one without a name, expected a name")
    return name


def read_joint(element: ElementTree.Element, source: str) -> UrdfJoint:
    """A joint from its element.

    Raises:
        UrdfError: a part is missing or has no meaning; names joint, key and value.
    """
    name = read_name(element, source)
    where = f"{source}: joint {name!r}"
    kind = element.get("type")
    if kind not in JOINT_TYPES:
        raise UrdfError(where, f"type: found {kind!r}, expected one of {', '.join(JOINT_TYPES)}")
    origin = element.find("origin")
    limits, effort = _read_limits(element.find("limit"), kind, where)
    return UrdfJoint(
        name=name,
        type=kind,
        parent=_read_link(element, "parent", where),
        child=_read_link(element, "child", where),
        xyz=_read_place(origin, "xyz", where),
        rpy=_read_place(origin, "rpy", where),
        axis=_read_axis(element.find("axis"), kind, where),
        limits=limits,
        effort=effort,
        mimic=_read_mimic(element.find("mimic"), where),
    )


def _read_link(element: ElementTree.Element, end: str, where: str) -> str:
    child = element.find(end)
    link = None if child is None else child.get("link")
    if not link:
        raise UrdfError(where, f'{end}: found none, expected <{end} link="..."/>')
    return link


def _read_place(element: ElementTree.Element | None, key: str, where: str) -> tuple[float, ...]:
    values = read_vector(element, key, (0.0, 0.0, 0.0), f"{where}: origin")
    if max(map(abs, values)) > _GREATEST:
        raise UrdfError(
            where, f"origin: {key}: found {list(values)}, expected at most {_GREATEST:g} m or rad"
        )
    return values


def _read_axis(element: ElementTree.Element | None, kind: str, where: str) -> tuple[float, ...]:
    default = (1.0, 0.0, 0.0)
    if kind not in MOVING_TYPES:
        return default
    axis = read_vector(element, "xyz", default, f"{where}: axis")
    length = math.hypot(*axis)
    if not 1e-3 < length < 1e3:
        raise UrdfError(where, f"axis: found {list(axis)}, expected a vector of length 1")
    return tuple(value / length for value in axis)


def _read_limits(
    element: ElementTree.Element | None, kind: str, where: str
) -> tuple[JointLimits | None, float | None]:
    """Limits and effort of a joint of this type."""
    if kind not in MOVING_TYPES:
        return None, None
    endless = kind == CONTINUOUS
    if element is None:
        if endless:
            return JointLimits(-math.inf, math.inf, math.inf), None
        raise UrdfError(where, f"limit: found none, expected <limit .../>: the joint is {kind}")
    where = f"{where}: limit"
    # The specification wants both, and robot_state_publisher does not start without them either.
    effort, velocity = (read_number(element, key, None, where) for key in ("effort", "velocity"))
    for key, value in (("effort", effort), ("velocity", velocity)):
        if value < 0:
            raise UrdfError(where, f"{key}: found {value:g}, expected 0 or more")
    if endless:
        return JointLimits(-math.inf, math.inf, velocity), effort
    if "lower" not in element.attrib and "upper" not in element.attrib:
        raise UrdfError(where, f"found no lower and no upper, expected both: the joint is {kind}")
    # One that is left out is 0 by the specification.
    low, high = (read_number(element, key, 0.0, where) for key in ("lower", "upper"))
    if low > high:
        raise UrdfError(where, f"found lower {low:g}, upper {high:g}, expected lower <= upper")
    return JointLimits(low, high, velocity), effort


def _read_mimic(element: ElementTree.Element | None, where: str) -> Mimic | None:
    if element is None:
        return None
    where = f"{where}: mimic"
    joint = element.get("joint")
    if not joint:
        raise UrdfError(where, "joint: found none, expected the name of the joint to follow")
    return Mimic(
        joint,
        read_number(element, "multiplier", 1.0, where),
        read_number(element, "offset", 0.0, where),
    )

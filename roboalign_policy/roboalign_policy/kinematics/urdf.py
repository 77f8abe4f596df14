"""A robot as its URDF describes it: the tree of links, the limits, the chain to the tool.

The text comes over a topic (`robot_description`). Geometry, meshes, inertias and transmissions are
passed over: no mesh file is needed.

Source: URDF specification, http://wiki.ros.org/urdf/XML/robot
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from roboalign_policy.kinematics.urdf_joint import (
    JointLimits,
    Mimic,
    UrdfJoint,
    read_joint,
    read_name,
)
from roboalign_policy.kinematics.urdf_text import UrdfError, parse_xml

__all__ = ["JointLimits", "Mimic", "UrdfError", "UrdfJoint", "UrdfRobot"]

_NAMES_SHOWN = 20


@dataclass(frozen=True)
class UrdfRobot:
    """A robot: links that joints hold together in one tree.

    Attributes:
        name: of the robot.
        source: where the text came from, for messages.
        links: names in the order of the text.
        joints: in the order of the text.
        root: the link that no joint carries.
    """

    name: str
    source: str
    links: tuple[str, ...]
    joints: tuple[UrdfJoint, ...]
    root: str

    @classmethod
    def from_text(cls, xml: str, source: str) -> UrdfRobot:
        """Read a URDF.

        Args:
            xml: the text, with all xacro expanded.
            source: where it came from, as in "topic robot_description"; for messages.

        Raises:
            UrdfError: it is no URDF, or not one of a robot whose parts form one tree; names the
                element, what was found and what was expected.
        """
        outermost = parse_xml(xml, source)
        if outermost.tag != "robot":
            raise UrdfError(source, f"found <{outermost.tag}> outermost, expected <robot>")
        for element in outermost.iter():
            if "xacro" in element.tag:
                raise UrdfError(source, f"found <{element.tag}>, expected all xacro expanded")
        links = tuple(read_name(element, source) for element in outermost.findall("link"))
        joints = tuple(read_joint(element, source) for element in outermost.findall("joint"))
        _refuse_twice(links, source, "link")
        _refuse_twice([joint.name for joint in joints], source, "joint")
        _check_mimics(joints, source)
        root = _find_root(links, joints, source)
        return cls(outermost.get("name", ""), source, links, joints, root)

    def joint_limits(self) -> dict[str, JointLimits]:
        """Limits of every moving joint by its name, in the order of the text."""
        return {joint.name: joint.limits for joint in self.joints if joint.limits is not None}

    def joint_names(self, base: str, tip: str) -> tuple[str, ...]:
        """Moving joints from the link `base` out to the link `tip`, in this order.

        Raises:
            UrdfError: as of `chain`.
        """
        return tuple(joint.name for joint in self.chain(base, tip) if joint.moves)

    def chain(self, base: str, tip: str) -> tuple[UrdfJoint, ...]:
        """All joints, also fixed ones, from the link `base` out to the link `tip`.

        Raises:
            UrdfError: there is no such link, or `base` does not carry `tip`.
        """
        for key, link in (("base", base), ("tip", tip)):
            if link not in self.links:
                known = _shown(self.links)
                raise UrdfError(
                    self.source, f"{key}: found link {link!r}, expected one of {known}"
                )
        carrier = {joint.child: joint for joint in self.joints}
        found: list[UrdfJoint] = []
        link = tip
        while link != base:
            if link == self.root:
                raise UrdfError(
                    self.source, f"tip: found link {tip!r}, expected one that {base!r} carries"
                )
            found.append(carrier[link])
            link = carrier[link].parent
        return tuple(reversed(found))


def _check_mimics(joints: Sequence[UrdfJoint], source: str) -> None:
    """Sees that every mimic joint follows one that is there and does not follow it in turn."""
    wanted = {joint.name: joint.mimic.joint for joint in joints if joint.mimic is not None}
    names = {joint.name for joint in joints}
    for name, followed in wanted.items():
        if followed not in names:
            where = f"{source}: joint {name!r}: mimic"
            raise UrdfError(where, f"joint: found {followed!r}, expected a joint of the robot")
    for name in _cycle(wanted):
        where = f"{source}: joint {name!r}: mimic"
        raise UrdfError(where, f"joint: found {wanted[name]!r}, expected one that follows none")


def _find_root(links: Sequence[str], joints: Sequence[UrdfJoint], source: str) -> str:
    """The link that no joint carries, once it is sure that there is one tree."""
    if not links:
        raise UrdfError(source, "link: found none, expected at least one")
    _check_carriers(set(links), joints, source)
    parents = {joint.child: joint.parent for joint in joints}
    roots = [link for link in links if link not in parents]
    if len(roots) > 1:
        raise UrdfError(
            source,
            f"found {len(roots)} root links, {_shown(roots)}, expected one that carries all",
        )
    if cycle := _cycle(parents):
        lost = [link for link in links if link in cycle]
        raise UrdfError(source, f"found a cycle through links {_shown(lost)}, expected a tree")
    return roots[0]


def _cycle(next_of: Mapping[str, str]) -> list[str]:
    """A cycle that one comes to by going from each to the next; empty without any."""
    try:
        TopologicalSorter({name: (following,) for name, following in next_of.items()}).prepare()
    except CycleError as error:
        return error.args[1][1:]
    return []


def _check_carriers(links: set[str], joints: Sequence[UrdfJoint], source: str) -> None:
    """Sees that every joint joins two links of the robot, and that none is carried twice."""
    carrier: dict[str, str] = {}
    for joint in joints:
        where = f"{source}: joint {joint.name!r}"
        for key, link in (("parent", joint.parent), ("child", joint.child)):
            if link not in links:
                raise UrdfError(
                    where, f"{key}: found link {link!r}, which the robot does not have"
                )
        other = carrier.setdefault(joint.child, joint.name)
        if other != joint.name:
            raise UrdfError(
                where,
                f"child: found link {joint.child!r}, which joint {other!r} carries already",
            )


def _refuse_twice(names: Sequence[str], source: str, kind: str) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UrdfError(source, f"{kind} {name!r}: found twice, expected once")


def _shown(names: Sequence[str]) -> str:
    """Names for a message; of many the first."""
    text = ", ".join(names[:_NAMES_SHOWN])
    return text if len(names) <= _NAMES_SHOWN else f"{text} ... ({len(names)} in all)"

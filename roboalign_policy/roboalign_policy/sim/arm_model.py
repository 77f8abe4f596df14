"""The MJCF of the arm: the public kinematics of a Franka Panda in primitive shapes.

Source: link frames, joint limits and the 0.1034 m tool offset are those of
https://frankaemika.github.io/docs/control_parameters.html (modified Denavit-Hartenberg table).
"""

from __future__ import annotations

import math

from roboalign_policy.sim.mjcf import inertial, tag

FINGER_STROKE_M = 0.05  # each finger; the gripper opens twice as far
HOME_JOINTS_RAD = (0.0, -math.pi / 4, 0.0, -3 * math.pi / 4, 0.0, math.pi / 2, math.pi / 4)

ARM_COLOUR, FINGER_COLOUR = "0.20 0.22 0.27 1", "0.03 0.03 0.04 1"
_HAND_COLOUR = "0.12 0.13 0.16 1"

# Offset in the parent (m), turn (quaternion), joint range (rad), capsules: end points and radius.
# Slimmer than the real arm, so that it hides less of the table.
_LINKS = (
    ("0 0 0.333", "1 0 0 0", "-2.8973 2.8973", (("0 0 -0.19 0 0 0.03", 0.06),)),
    (
        "0 0 0",
        "1 -1 0 0",
        "-1.7628 1.7628",
        (("0 0 -0.06 0 0 0.06", 0.055), ("0 0 0 0 -0.2 0", 0.045)),
    ),
    (
        "0 -0.316 0",
        "1 1 0 0",
        "-2.8973 2.8973",
        (("0 0 -0.12 0 0 -0.02", 0.045), ("0 0 0 0.0825 0 0", 0.04)),
    ),
    (
        "0.0825 0 0",
        "1 1 0 0",
        "-3.0718 -0.0698",
        (("0 0 -0.04 0 0 0.04", 0.04), ("0 0 0 -0.0825 0.09 0", 0.035)),
    ),
    ("-0.0825 0.384 0", "1 -1 0 0", "-2.8973 2.8973", (("0 0 -0.27 0 0 -0.03", 0.032),)),
    (
        "0 0 0",
        "1 1 0 0",
        "-0.0175 3.7525",
        (("0 0 -0.03 0 0 0.03", 0.03), ("0 0 0 0.088 0 0", 0.026)),
    ),
    ("0.088 0 0", "1 1 0 0", "-2.8973 2.8973", (("0 0 -0.02 0 0 0.095", 0.025),)),
)
_ARM_GAINS = (30000, 30000, 30000, 30000, 10000, 10000, 10000)


def _finger_xml(side: str, sign: int) -> str:
    return tag(
        "body",
        inertial(0.1, 1e-4, 0.035),
        tag(
            "joint",
            name=f"finger_{side}",
            type="slide",
            axis=f"0 {sign} 0",
            range=f"0 {FINGER_STROKE_M}",
            armature=0.2,
            damping=2,
        ),
        tag(
            "geom",
            class_="pad",
            name=f"pad_{side}",
            pos=f"0 {0.006 * sign} 0.0367",
            size="0.011 0.006 0.0367",
        ),
        name=f"finger_{side}",
        pos="0 0 0.04",
        gravcomp=1,
    )


def arm_xml() -> str:
    """The body `link0` with everything that hangs on it."""
    xml = tag(
        "body",
        inertial(0.7, 0.002, 0.03),
        tag(
            "geom",
            class_="shell",
            type="box",
            pos="0 0 0.026",
            size="0.014 0.064 0.014",
            rgba=_HAND_COLOUR,
        ),
        # Turned so that a gripper pointing straight down is the identity: its rotation vector then
        # stays near zero instead of jumping between +pi and -pi.
        tag("site", name="tool", pos="0 0 0.1034", quat="0 1 0 0", group=4),
        tag("camera", name="wrist", pos="0.07 0 0", quat="0 0.69 0.69 0", fovy=75),
        _finger_xml("left", 1),
        _finger_xml("right", -1),
        name="hand",
        pos="0 0 0.107",
        quat="0.92388 0 0 -0.38268",
        gravcomp=1,
    )
    for number in range(len(_LINKS), 0, -1):
        offset, quat, limits, capsules = _LINKS[number - 1]
        xml = tag(
            "body",
            inertial(2, 0.02),
            tag("joint", name=f"joint{number}", class_="arm", range=limits),
            *(tag("geom", class_="shell", fromto=c, size=radius) for c, radius in capsules),
            xml,
            name=f"link{number}",
            pos=offset,
            quat=quat,
            gravcomp=1,
        )
    base = tag("geom", class_="shell", fromto="0 0 0.02 0 0 0.14", size=0.085)
    return tag("body", base, xml, name="link0", gravcomp=1)


def actuators_xml() -> str:
    """Position servos of the seven joints and the two fingers."""
    joints = (
        tag("position", name=f"joint{i}", joint=f"joint{i}", kp=gain, dampratio=1)
        for i, gain in enumerate(_ARM_GAINS, start=1)
    )
    fingers = (
        tag(
            "position",
            name=f"finger_{side}",
            joint=f"finger_{side}",
            kp=800,
            kv=25,
            ctrlrange=f"0 {FINGER_STROKE_M}",
            forcerange="-12 12",
        )
        for side in ("left", "right")
    )
    return tag("actuator", *joints, *fingers)

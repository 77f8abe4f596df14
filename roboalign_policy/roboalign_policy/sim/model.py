"""The MJCF of the table, the arm, the cubes, the plates and the drawer, from primitive shapes.

One model serves every task and every random scene: colours and places are written into a copy
of the compiled model, so nothing is compiled twice. `base_link` is the world frame: x forward,
y left, z up (REP-103), the table top at z = 0.
"""

from __future__ import annotations

import copy
import functools

import mujoco

from roboalign_policy.sim.arm_model import (
    ARM_COLOUR,
    FINGER_COLOUR,
    actuators_xml,
    arm_xml,
)
from roboalign_policy.sim.mjcf import box, tag

CUBE_COUNT = 4
PLATE_COUNT = 2
CUBE_HALF_M = 0.0225
CUBE_MASS_KG = 0.1
PLATE_RADIUS_M = 0.065
PLATE_CONTACT_HALF_M = 0.052
PLATE_THICKNESS_M = 0.008
IMAGE_SIZE = 128

DRAWER_TRAVEL_M = 0.11
DRAWER_CENTRE_Y_M = 0.170
DRAWER_TRAY_CLOSED_X_M = 0.735
DRAWER_TRAY_HALF_M = (0.058, 0.062)
DRAWER_HANDLE_AHEAD_M = 0.085  # from the tray's centre towards the robot
DRAWER_HANDLE_GRASP_Z_M = 0.072

# Saturated and far apart in hue: a small vision tower has to tell them apart in a few pixels.
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.92, 0.08, 0.08),
    "green": (0.05, 0.62, 0.12),
    "blue": (0.08, 0.20, 0.95),
    "yellow": (0.98, 0.88, 0.05),
    "purple": (0.55, 0.08, 0.75),
    "orange": (1.00, 0.48, 0.02),
    "cyan": (0.05, 0.82, 0.88),
    "white": (1.00, 1.00, 1.00),
}

_WOOD, _TAN, _PINK = "0.36 0.20 0.08 1", "0.78 0.58 0.34 1", "1.0 0.35 0.65 1"


def _cube_xml(name: str) -> str:
    size = (CUBE_HALF_M, CUBE_HALF_M, CUBE_HALF_M)
    return tag(
        "body",
        tag("freejoint", name=name),
        box(0, 0, 0, size, name=name, mass=CUBE_MASS_KG),
        name=name,
        pos="0 0 -1",
    )


def _plate_xml(name: str) -> str:
    half = PLATE_THICKNESS_M / 2
    return tag(
        "body",
        tag(
            "geom",
            class_="shell",
            name=name,
            type="cylinder",
            size=f"{PLATE_RADIUS_M} {half}",
            pos=f"0 0 {half}",
        ),
        # Boxes meet boxes exactly, cylinders do not: a cube set down on a cylinder is thrown off.
        box(
            0,
            0,
            half,
            (PLATE_CONTACT_HALF_M, PLATE_CONTACT_HALF_M, half),
            name=f"{name}_contact",
            rgba="0 0 0 0",
        ),
        name=name,
        mocap="true",
        pos="0 0 -1",
    )


def _drawer_xml() -> str:
    hx, hy = DRAWER_TRAY_HALF_M
    place = f"{DRAWER_TRAY_CLOSED_X_M} {DRAWER_CENTRE_Y_M} 0"
    bar = (DRAWER_HANDLE_AHEAD_M - hx) / 2
    cabinet = tag(
        "body",
        box(0.01, 0, 0.056, (hx + 0.012, hy + 0.012, 0.003), rgba=_WOOD),
        *(
            box(0.01, s * (hy + 0.008), 0.0265, (hx + 0.012, 0.004, 0.0265), rgba=_WOOD)
            for s in (1, -1)
        ),
        name="cabinet",
        pos=place,
    )
    tray = tag(
        "body",
        tag(
            "joint",
            name="drawer",
            type="slide",
            axis="-1 0 0",
            range=f"0 {DRAWER_TRAVEL_M}",
            damping=6,
            frictionloss=0.6,
        ),
        box(0, 0, 0.004, (hx, hy, 0.002), mass=0.1, rgba=_TAN),
        *(
            box(0, s * (hy - 0.003), 0.017, (hx, 0.003, 0.013), mass=0.03, rgba=_TAN)
            for s in (1, -1)
        ),
        *(
            box(s * (hx - 0.003), 0, 0.017, (0.003, hy, 0.013), mass=0.03, rgba=_TAN)
            for s in (1, -1)
        ),
        box(-(hx + bar), 0, 0.020, (bar, 0.012, 0.006), mass=0.02, rgba=_PINK),
        box(
            -DRAWER_HANDLE_AHEAD_M,
            0,
            0.052,
            (0.011, 0.015, 0.034),
            mass=0.03,
            rgba=_PINK,
            name="handle",
        ),
        name="tray",
        pos=place,
        gravcomp=1,
    )
    return cabinet + tray


def model_xml() -> str:
    """The whole MJCF document."""
    return f"""
<mujoco model="roboalign_tabletop">
  <compiler angle="radian" autolimits="true"/>
  <!-- A higher impratio, or too few iterations for it, makes cubes jump when they touch down. -->
  <option timestep="0.002" integrator="implicitfast" cone="elliptic" impratio="3"
          iterations="50" ls_iterations="50"/>
  <statistic center="0.5 0 0.1" extent="1.0"/>
  <visual>
    <global offwidth="{IMAGE_SIZE}" offheight="{IMAGE_SIZE}"/>
    <quality shadowsize="0" offsamples="0" numslices="16" numstacks="8"/>
    <headlight ambient="0.55 0.55 0.55" diffuse="0.45 0.45 0.45" specular="0 0 0"/>
    <map znear="0.05" zfar="4"/>
  </visual>
  <default>
    <default class="arm"><joint axis="0 0 1" armature="0.3" damping="1"/></default>
    <default class="shell">
      <geom type="capsule" contype="0" conaffinity="0" mass="0" rgba="{ARM_COLOUR}"/>
    </default>
    <default class="pad">
      <geom type="box" mass="0" friction="2.5 0.05 0.001" condim="4" priority="1"
            solref="0.006 1" solimp="0.95 0.99 0.001" rgba="{FINGER_COLOUR}"
            contype="2" conaffinity="1"/>
    </default>
    <default class="solid">
      <geom friction="1 0.005 0.0001" contype="1" conaffinity="3"/>
    </default>
  </default>
  <worldbody>
    <geom name="table" type="plane" size="2 2 0.1" rgba="0.52 0.53 0.55 1"
          friction="1 0.005 0.0001" contype="1" conaffinity="1"/>
    <camera name="front" pos="1.2015 0 1.0816" xyaxes="0 1 0 -0.832 0 0.555" fovy="22.5"/>
    {arm_xml()}
    {"".join(_cube_xml(f"cube{i}") for i in range(CUBE_COUNT))}
    {"".join(_plate_xml(f"plate{i}") for i in range(PLATE_COUNT))}
    {_drawer_xml()}
  </worldbody>
  <!-- Without it two fingers of equal force let a held cube drift sideways between them. -->
  <equality>
    <joint joint1="finger_left" joint2="finger_right" solref="0.005 1"
           solimp="0.95 0.99 0.001"/>
  </equality>
  {actuators_xml()}
</mujoco>"""


@functools.lru_cache(maxsize=1)
def _compiled() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(model_xml())


def make_model() -> mujoco.MjModel:
    """A private copy of the model, to be coloured at will; it is compiled once a process."""
    return copy.copy(_compiled())

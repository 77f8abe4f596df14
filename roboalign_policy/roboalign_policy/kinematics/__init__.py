"""A real arm's kinematics: steps of the end effector to joint targets on the robot's URDF.

May import: core, the standard library, numpy and mujoco. May not import: ROS, torch, sim.

Nothing here draws, but the first import of mujoco in a process decides for all of it how pictures
are drawn: so the default is the one of `roboalign_policy.sim`. A machine without EGL sets
`MUJOCO_GL=disable`.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")

from roboalign_policy.kinematics.arm import ArmSolver, StepResult  # noqa: E402
from roboalign_policy.kinematics.delta_integrator import DeltaIntegrator  # noqa: E402
from roboalign_policy.kinematics.pose_search import Pose  # noqa: E402
from roboalign_policy.kinematics.urdf import (  # noqa: E402
    JointLimits,
    Mimic,
    UrdfError,
    UrdfJoint,
    UrdfRobot,
)

__all__ = [
    "ArmSolver",
    "DeltaIntegrator",
    "JointLimits",
    "Mimic",
    "Pose",
    "StepResult",
    "UrdfError",
    "UrdfJoint",
    "UrdfRobot",
]

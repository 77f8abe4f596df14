"""The embedded robot: a MuJoCo tabletop with tasks and scripted experts; no ROS, no torch.

`MUJOCO_GL` decides at the first import of mujoco how pictures are drawn, so the default (`egl`,
which Mesa serves without a GPU or a display) is set here, before any module of this package can
import it.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")
# Mesa draws in the calling thread: for pictures this small its own threads only wait for a core.
os.environ.setdefault("LP_NUM_THREADS", "0")

from roboalign_policy.sim.env import Observation, TabletopEnv, make_env  # noqa: E402
from roboalign_policy.sim.expert import Expert  # noqa: E402
from roboalign_policy.sim.random_scene import SceneSample, random_scene  # noqa: E402
from roboalign_policy.sim.scene import ObjectState, Scene  # noqa: E402
from roboalign_policy.sim.tasks import SUITES, Task, find_task  # noqa: E402

__all__ = [
    "SUITES",
    "Expert",
    "ObjectState",
    "Observation",
    "Scene",
    "SceneSample",
    "TabletopEnv",
    "Task",
    "find_task",
    "make_env",
    "random_scene",
]

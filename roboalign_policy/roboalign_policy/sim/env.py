"""The tabletop as an environment: end-effector deltas in, camera, joints and pose out, 10 Hz."""

from __future__ import annotations

import dataclasses
import zlib

import mujoco
import numpy as np

from roboalign_policy.kinematics.rotation import rotation_from_rotvec, rotvec_from_rotation
from roboalign_policy.sim.arm_model import FINGER_STROKE_M
from roboalign_policy.sim.kinematics import ARM_JOINTS
from roboalign_policy.sim.scene import ObjectState, Scene
from roboalign_policy.sim.tasks import Task, find_task

CONTROL_PERIOD_NS = 100_000_000
SUBSTEPS = 50  # of 0.002 s
POSITION_UNIT_M = 0.05
ROTATION_UNIT_RAD = 0.5
ACTION_DIMS = 7
# All of it within reach of a gripper that points down.
WORKSPACE_M = ((0.29, 0.70), (-0.28, 0.28), (0.014, 0.35))
TILT_LIMIT_RAD = 0.8
PUSH_RATE = 0.01
START_M = ((0.36, 0.58), (-0.2, 0.2), (0.10, 0.26))
_START_CENTRE_M = (0.42, 0.0, 0.20)
# The target may run ahead of the tool by one full step and a little: enough not to slow a free
# motion, too little to wind up against an obstacle.
_LEASH_M = 0.06
_SEGMENTS = 10  # the joint targets move in this many steps through a control period


@dataclasses.dataclass(frozen=True)
class Observation:
    """What the robot's sensors say at a control instant.

    joints (7,) float64 rad; gripper_width in m between the pads; ee_position (3,) float64 m and
    ee_rotvec (3,) float64 rad in base_link, zero rotation is a gripper that points straight down;
    images: (128, 128, 3) uint8 rgb by camera.
    """

    time_ns: int
    joints: np.ndarray
    gripper_width: float
    ee_position: np.ndarray
    ee_rotvec: np.ndarray
    images: dict[str, np.ndarray]

    def values(self) -> dict[str, np.ndarray]:
        """What a policy is given, by the stream keys of contract ``sim_panda``.

        Returns:
            ``image.<camera>`` (128, 128, 3) uint8 rgb; ``state.joints`` (7,) float32 rad;
            ``state.ee`` (7,) float32: x y z in m in base_link, quaternion x y z w;
            ``state.gripper`` (1,) float32 m.
        """
        quat, angle = np.zeros(4), float(np.linalg.norm(self.ee_rotvec))
        axis = self.ee_rotvec / angle if angle > 0 else np.array([0.0, 0.0, 1.0])
        mujoco.mju_axisAngle2Quat(quat, axis, angle)  # w x y z
        return {
            **{f"image.{camera}": image for camera, image in self.images.items()},
            "state.joints": self.joints.astype(np.float32),
            "state.ee": np.array([*self.ee_position, *quat[1:], quat[0]], np.float32),
            "state.gripper": np.array([self.gripper_width], np.float32),
        }


class TabletopEnv:
    """One task from one seed: the same seed and actions give the same states and pixels.

    Noise and pushes act between command and arm: a recorder that stores commands stores clean
    labels while the states vary.
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        *,
        action_noise: float = 0.0,
        randomise_start: bool = True,
        push_rate: float | None = None,
        cameras: tuple[str, ...] = ("front",),
    ) -> None:
        """Sets the scene up; `reset` starts it.

        Args:
            task: what to do.
            seed: decides the scene, the start pose, the noise and the pushes.
            action_noise: standard deviation in action units, on the translation.
            randomise_start: start the tool anywhere above the table, not always at one place.
            push_rate: probability a step of a push of 2 to 5 cm; None: 0.01 when there is noise,
                else 0.
            cameras: which pictures an observation holds; none saves the drawing.

        Raises:
            ValueError: a number is out of its range.
        """
        if seed < 0:
            raise ValueError(f"seed: found {seed}, expected 0 or more")
        if not 0.0 <= action_noise <= 1.0:
            raise ValueError(f"action_noise: found {action_noise}, expected 0 to 1 action units")
        self.task = task
        self.seed = seed
        self.scene = Scene()
        self._noise = action_noise
        self._randomise_start = randomise_start
        self._push_rate = (
            push_rate if push_rate is not None else (PUSH_RATE if action_noise > 0 else 0.0)
        )
        self._cameras = cameras
        self._steps = 0

    @property
    def instruction(self) -> str:
        """The sentence that tells the policy what to do."""
        return self.task.instruction

    @property
    def steps(self) -> int:
        """Control steps since the reset."""
        return self._steps

    @property
    def time_ns(self) -> int:
        """Simulated time since the reset."""
        return self._steps * CONTROL_PERIOD_NS

    def reset(self) -> Observation:
        """Back to the start of the seed's episode."""
        self._rng = np.random.default_rng(
            [self.seed, zlib.crc32(f"{self.task.suite}/{self.task.name}".encode())]
        )
        placements = self.task.layout(self._rng)
        start = np.array(_START_CENTRE_M)
        if self._randomise_start:
            start = np.array([self._rng.uniform(*limits) for limits in START_M])
        self._joint_target = self.scene.solve_arm(start)
        self.scene.arrange(placements, self._joint_target, 2 * FINGER_STROKE_M)
        mujoco.mj_forward(self.scene.model, self.scene.data)
        self._target = self.scene.tool_position
        self._rotvec = np.zeros(3)
        self._steps = 0
        return self.observe()

    def step(self, action: np.ndarray) -> Observation:
        """Moves the tool by one action and lets 0.1 s pass.

        Args:
            action: (7,) dx dy dz in 0.05 m, droll dpitch dyaw in 0.5 rad, in base_link, and the
                gripper, above 0 close, else open; clipped to -1 .. 1.

        Returns:
            the observation at the end of the period.

        Raises:
            ValueError: another shape, or a value that is not finite; nothing has moved then.
        """
        command = np.asarray(action, dtype=np.float64)
        if command.shape != (ACTION_DIMS,):
            raise ValueError(f"action: found shape {command.shape}, expected ({ACTION_DIMS},)")
        if not np.isfinite(command).all():
            raise ValueError(f"action: found {command.tolist()}, expected finite values")
        command = np.clip(command, -1.0, 1.0)
        self._move_target(command)
        joints = self.scene.kinematics.inverse(
            self._target, rotation_from_rotvec(self._rotvec), self._joint_target
        )
        model, data = self.scene.model, self.scene.data
        fingers_before, fingers = (
            data.ctrl[ARM_JOINTS:].copy(),
            0.0 if command[6] > 0 else FINGER_STROKE_M,
        )
        before = self._joint_target
        for segment in range(1, _SEGMENTS + 1):
            # Reached before the period ends: the arm has come to rest at its target when the next
            # picture is taken.
            share = min(1.0, segment / (_SEGMENTS - 2))
            data.ctrl[:ARM_JOINTS] = before + share * (joints - before)
            data.ctrl[ARM_JOINTS:] = fingers_before + share * (fingers - fingers_before)
            mujoco.mj_step(model, data, SUBSTEPS // _SEGMENTS)
        self._joint_target = joints
        self._steps += 1
        self.scene.forward()
        return self.observe()

    def _move_target(self, command: np.ndarray) -> None:
        # The target is integrated from the last target, not from where the tool is: a zero action
        # then holds still for ever, whatever the load. The leash keeps it from running away from a
        # tool that cannot follow.
        shift = command[:3].copy()
        if self._noise > 0:
            shift = np.clip(shift + self._rng.normal(0.0, self._noise, 3), -1.0, 1.0)
        if self._push_rate > 0 and self._rng.random() < self._push_rate:
            angle, length = self._rng.uniform(0, 2 * np.pi), self._rng.uniform(0.4, 1.0)
            shift = shift + length * np.array(
                [np.cos(angle), np.sin(angle), self._rng.uniform(0.0, 0.6)]
            )
        tool = self.scene.tool_position
        target = self._target + shift * POSITION_UNIT_M
        gap = target - tool
        distance = float(np.linalg.norm(gap))
        leash = max(_LEASH_M, float(np.linalg.norm(shift)) * POSITION_UNIT_M)
        if distance > leash:
            target = tool + gap * (leash / distance)
        low, high = np.array(WORKSPACE_M).T
        self._target = np.clip(target, low, high)
        turn = rotation_from_rotvec(command[3:6] * ROTATION_UNIT_RAD) @ rotation_from_rotvec(
            self._rotvec
        )
        rotvec = rotvec_from_rotation(turn)
        angle = float(np.linalg.norm(rotvec))
        self._rotvec = rotvec * (TILT_LIMIT_RAD / angle) if angle > TILT_LIMIT_RAD else rotvec

    def observe(self) -> Observation:
        """The observation of the present state."""
        scene = self.scene
        return Observation(
            time_ns=self.time_ns,
            joints=scene.joints,
            gripper_width=scene.gripper_width_m,
            ee_position=scene.tool_position,
            ee_rotvec=rotvec_from_rotation(scene.tool_rotation),
            images={camera: scene.render(camera) for camera in self._cameras},
        )

    def render(self, camera: str = "front") -> np.ndarray:
        """(128, 128, 3) uint8 rgb of the camera `front` or `wrist`."""
        return self.scene.render(camera)

    def success(self) -> bool:
        """Whether every goal of the task is met now."""
        return all(self.goals().values())

    def goals(self) -> dict[str, bool]:
        """What the task asks for ("red cube on white plate"), and whether that is so now."""
        return {str(goal): goal.satisfied(self.scene) for goal in self.task.goals}

    def objects(self) -> dict[str, ObjectState]:
        """What stands on the table, by name."""
        return self.scene.objects()


def make_env(
    suite: str,
    task: str,
    seed: int,
    *,
    action_noise: float = 0.0,
    randomise_start: bool = True,
    **options,
) -> TabletopEnv:
    """The environment of a task by name (or number in its suite); options as of `TabletopEnv`.

    Raises:
        ValueError: there is no such suite or task, or a number is out of its range.
    """
    return TabletopEnv(
        find_task(suite, task),
        seed,
        action_noise=action_noise,
        randomise_start=randomise_start,
        **options,
    )

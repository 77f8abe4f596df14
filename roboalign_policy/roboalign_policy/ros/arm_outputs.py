"""All that the safety gate sends to one arm: the contract's commands and its outputs, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from roboalign_policy.core import keys
from roboalign_policy.core.contract.channels import command_channels
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.gate.types import GateFault, Passed, Reason
from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_policy.kinematics.arm import ArmSolver
from roboalign_policy.kinematics.delta_integrator import DeltaIntegrator
from roboalign_policy.kinematics.rotation import rotation_from_rotvec, rotvec_from_rotation
from roboalign_policy.kinematics.urdf import UrdfRobot
from roboalign_policy.ros.arm_messages import AT_ONCE, IN_FORCE_S, CommandMessages
from roboalign_policy.ros.conversions import pose_to_msg
from roboalign_policy.ros.stamps import ns_to_stamp


class ArmOutputs:
    """Turns what passed the gate into messages, and stops into the safe action.

    Attributes:
        channels: where messages go; `motion` and `safe` yield one message a channel, None where
            nothing is to be sent there.
    """

    def __init__(self, contract: Any, robot_description: str | None) -> None:
        """Make the writers.

        Args:
            contract: its `action` says what goes out.
            robot_description: URDF text for joint outputs without a `urdf` file; else unused.

        Raises:
            ValueError: the URDF does not fit the contract, or is needed and not there.
            OSError: the `urdf` file cannot be read.
        """
        self._commands = CommandMessages(contract)
        self._writers = [
            _writer_of(output, contract, robot_description) for output in contract.action.outputs
        ]
        self.channels = command_channels(contract.action)

    def motion(
        self, passed: Passed, stamp_ns: int, streams: StreamWatch, steady_s: float
    ) -> list[Any]:
        """Messages of what passed the gate.

        Raises:
            GateFault: UNREACHABLE, the step leads where the arm cannot go; nothing may be sent.
        """
        # The outputs first: should a step not be reachable, the commands must not go out either.
        made = [w.motion(passed, stamp_ns, streams, steady_s) for w in self._writers]
        return [*self._commands.motion(passed, stamp_ns, steady_s), *made]

    def safe(self, stamp_ns: int, streams: StreamWatch, steady_s: float) -> list[Any]:
        """Messages of the safe action; what follows starts anew from the measured state."""
        made = [writer.safe(stamp_ns, streams, steady_s) for writer in self._writers]
        return [*self._commands.safe(stamp_ns, streams, steady_s), *made]


class _EndEffector:
    """Steps of the end effector in SI, in the order of `keys.EE_DIMS`."""

    def __init__(self, contract: Any) -> None:
        dims = {dim.name: (index, dim.scale) for index, dim in enumerate(contract.action.dims)}
        self._parts = [(row, *dims[name]) for row, name in enumerate(keys.EE_DIMS) if name in dims]
        self.axes = tuple(name for name in keys.EE_DIMS if name in dims)

    def delta(self, values: np.ndarray) -> np.ndarray:
        """(6,) m and rad of an action (A,)."""
        delta = np.zeros(6)
        for row, index, scale in self._parts:
            delta[row] = values[index] * scale
        return delta


class _JointWriter:
    """Joint targets by inverse kinematics from the joints commanded last."""

    def __init__(self, output: Any, contract: Any, robot: UrdfRobot) -> None:
        self._output, self._step_s = output, 1.0 / contract.rate_hz
        self._effector = _EndEffector(contract)
        self._solver = ArmSolver(
            robot, output.base, output.tip, output.joint_names, axes=self._effector.axes
        )
        self._integrator = DeltaIntegrator(self._solver, self._step_s)
        self._running = False
        self._last, self._last_s = None, 0.0

    def motion(self, passed: Passed, stamp_ns: int, streams: StreamWatch, steady_s: float) -> Any:
        """Message of the joints that the step leads to."""
        try:
            if not self._running:
                # Fresh and believable: the gate has just checked all streams.
                measured = streams.value(self._output.stream)
                if measured is None:
                    raise ValueError(f"{self._output.stream}: never received")
                self._integrator.start(measured)
                self._running = True
            result = self._integrator.advance(self._effector.delta(passed.steps[0]))
        except ValueError as error:
            raise GateFault(Reason.UNREACHABLE, str(error)) from None
        if not result.reached:
            raise GateFault(Reason.UNREACHABLE, result.reason)
        self._last, self._last_s = result.q_target, steady_s
        return self._message(result.q_target, ns_to_stamp(stamp_ns))

    def safe(self, stamp_ns: int, streams: StreamWatch, steady_s: float) -> Any:
        """The present joints, or those commanded last where the present ones are in doubt."""
        self._running = False
        measured = streams.credible(self._output.stream, steady_s)
        doubtful = measured is None or self._solver.bounds.outside(np.asarray(measured, float))
        in_force = steady_s - self._last_s <= IN_FORCE_S
        held, self._last = (self._last if in_force else None) if doubtful else measured, None
        return None if held is None else self._message(np.asarray(held, float), AT_ONCE)

    def _message(self, joints: np.ndarray, stamp: Time) -> Any:
        if self._output.kind == keys.JOINT_GROUP_OUTPUT:
            return Float64MultiArray(data=joints.tolist())
        point = JointTrajectoryPoint(positions=joints.tolist())
        seconds, nanoseconds = divmod(round(self._step_s * 1e9), 10**9)
        point.time_from_start.sec, point.time_from_start.nanosec = seconds, nanoseconds
        msg = JointTrajectory(joint_names=list(self._output.joint_names), points=[point])
        msg.header.frame_id = self._output.frame_id
        msg.header.stamp = stamp
        return msg


class _PoseWriter:
    """Target poses: the pose commanded last, moved by the step."""

    def __init__(self, output: Any, contract: Any) -> None:
        self._output = output
        self._effector = _EndEffector(contract)
        names = contract.stream(output.stream).names
        self._index = [names.index(name) for name in ("x", "y", "z", "qx", "qy", "qz", "qw")]
        self._box = contract.action.safety.workspace
        self._pose: tuple[np.ndarray, np.ndarray] | None = None
        self._pose_s = 0.0
        self._running = False

    def motion(
        self, passed: Passed, stamp_ns: int, streams: StreamWatch, steady_s: float
    ) -> PoseStamped:
        """Message of the pose that the step leads to."""
        if not self._running:
            self._pose = self._pose_of(streams.value(self._output.stream))
            if self._pose is None:
                raise GateFault(Reason.UNREACHABLE, f"{self._output.stream}: no pose to start at")
            self._running = True
        delta = self._effector.delta(passed.steps[0])
        position, rotation = self._pose
        self._pose = (position + delta[:3], rotation_from_rotvec(delta[3:]) @ rotation)
        self._pose_s = steady_s
        return self._message(stamp_ns)

    def safe(self, stamp_ns: int, streams: StreamWatch, steady_s: float) -> PoseStamped | None:
        """The present pose, or the one commanded last where the present one is in doubt."""
        self._running = False
        pose = self._pose_of(streams.credible(self._output.stream, steady_s))
        if pose is not None and self._is_within(pose[0]):
            self._pose = pose
        elif steady_s - self._pose_s > IN_FORCE_S:
            self._pose = None
        return None if self._pose is None else self._message(stamp_ns)

    def _is_within(self, position: np.ndarray) -> bool:
        """Whether a place is one where the arm may be told to stay."""
        if self._box is None:
            return True
        bounds = (self._box.x, self._box.y, self._box.z)
        return all(low <= v <= high for (low, high), v in zip(bounds, position, strict=True))

    def _pose_of(self, value: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
        if value is None or not np.isfinite(value).all():
            return None
        x, y, z, qx, qy, qz, qw = np.asarray(value, float)[self._index]
        axis = np.array([qx, qy, qz])
        sine = float(np.linalg.norm(axis))
        if np.hypot(sine, qw) < 0.5:
            return None
        # Any scale of the quaternion is the same turn.
        turn = axis * (2.0 * np.arctan2(sine, qw) / sine) if sine else axis
        return np.array([x, y, z]), rotation_from_rotvec(turn)

    def _message(self, stamp_ns: int) -> PoseStamped:
        position, rotation = self._pose
        return pose_to_msg(
            position, rotvec_from_rotation(rotation), stamp_ns, self._output.frame_id
        )


class _GripperWriter:
    """Goals of a gripper's action, one whenever the command changes."""

    def __init__(self, output: Any, contract: Any) -> None:
        self._output = output
        self._index = contract.action.names.index(keys.GRIPPER_DIM)
        self._goal = _gripper_goal_type()
        self._last: float | None = None

    def motion(self, passed: Passed, stamp_ns: int, streams: StreamWatch, steady_s: float) -> Any:
        """Goal, or None while the command stays the same."""
        value = float(passed.steps[-1][self._index])
        if self._last is not None and abs(value - self._last) < 0.01:
            return None
        self._last = value
        goal = self._goal()
        goal.command.position = (value - self._output.offset) / self._output.gain
        goal.command.max_effort = self._output.max_effort
        return goal

    def safe(self, stamp_ns: int, streams: StreamWatch, steady_s: float) -> None:
        """A gripper keeps what it holds: nothing is sent."""
        return None


def _writer_of(output: Any, contract: Any, robot_description: str | None) -> Any:
    if output.kind == keys.GRIPPER_ACTION_OUTPUT:
        return _GripperWriter(output, contract)
    if output.kind == keys.POSE_OUTPUT:
        return _PoseWriter(output, contract)
    if output.urdf:
        if fault := pointer_fault(Path(output.urdf)):
            raise ValueError(f"output {output.topic}: urdf: {output.urdf} {fault}")
        text = Path(output.urdf).read_text(encoding="utf-8")
    elif robot_description is None:
        raise ValueError(
            f"output {output.topic}: no urdf in the contract and no robot_description"
        )
    else:
        text = robot_description
    robot = UrdfRobot.from_text(text, output.urdf or "robot_description")
    return _JointWriter(output, contract, robot)


def _gripper_goal_type() -> Any:
    try:
        from control_msgs.action import GripperCommand
    except ImportError:
        raise ValueError(
            "output gripper_action: control_msgs is not installed; it comes with ROS 2: "
            "sudo apt install ros-$ROS_DISTRO-control-msgs"
        ) from None
    return GripperCommand.Goal

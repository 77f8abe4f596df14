"""The messages that move or stop an arm: what the safety gate publishes.

The contract's commands go out as `CommandWriter` writes them, trajectories with the whole chunk
where the contract says so; `action.outputs` take the place of the commands of their dimensions.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np

from roboalign_policy.core import keys
from roboalign_policy.core.contract.channels import sent_commands
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.gate.types import Passed
from roboalign_policy.core.messages.selectors import fill_command
from roboalign_policy.ros.chunk_msgs import CommandWriter
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.stamps import ns_to_stamp

#: Stamp of a trajectory that a joint_trajectory_controller begins when it receives it. Another
#: one it refuses where by its own clock the trajectory has ended: a stop must not be.
#: Source: ros2_controllers, joint_trajectory_controller.cpp, validate_trajectory_msg.
AT_ONCE = ns_to_stamp(0)
#: s; what the arm was told longer ago says nothing of where it is now.
IN_FORCE_S = 2.0


class CommandMessages:
    """Messages of the contract's own commands, those that an output replaces left out."""

    def __init__(self, contract: Any) -> None:
        """Find out which commands are written as they are."""
        self._action = action = contract.action
        self._names = list(action.names)
        self._commands = [action.commands[index] for index in sent_commands(action)]
        chosen = replace(contract, action=replace(action, commands=tuple(self._commands)))
        self._writer = CommandWriter(chosen)
        self._passed: Passed | None = None
        self._passed_s = 0.0
        self._far = action.safety.first_pose
        self._grippers: dict[str, float] = {}

    def motion(self, passed: Passed, stamp_ns: int, steady_s: float) -> list[Any]:
        """Messages of what passed the gate at ``steady_s``, one a channel."""
        self._passed, self._passed_s = passed, steady_s
        messages = self._writer.write(passed.steps[0], stamp_ns)
        if len(passed.steps) == 1:
            return messages
        return [
            self._whole_chunk(command, msg, passed)
            for command, msg in zip(self._commands, messages, strict=True)
        ]

    def safe(self, stamp_ns: int, streams: StreamWatch, steady_s: float) -> list[Any]:
        """Messages of the contract's safe action, one a channel; None where none says it."""
        values = self._held(streams, steady_s)
        # All are written at once; those with a value that nobody knows are not sent.
        known = np.array([values.get(name, np.nan) for name in self._names])
        found = []
        self._passed = None  # the arm is told to hold; where it is from now on is for others too
        for command, msg in zip(self._commands, self._writer.write(known, stamp_ns), strict=True):
            is_trajectory = command.type == keys.JOINT_TRAJECTORY_TYPE
            if is_trajectory and self._action.safe == "stop":
                found.append(message_class(command.type)(joint_names=list(command.joint_names)))
                continue
            if is_trajectory:
                msg.header.stamp = AT_ONCE
            found.append(msg if set(command.fields) <= set(values) else None)
        return found

    def _held(self, streams: StreamWatch, steady_s: float) -> dict[str, float]:
        """Action values that keep the arm where it is: no step, or the present positions."""
        values: dict[str, float] = {}
        commanded = self._commanded(steady_s)
        for index, name in enumerate(self._names):
            last = None if commanded is None else float(commanded[index])
            if keys.is_gripper(name):
                last = self._grippers.get(name)
            elif self._action.control_mode == keys.EE_DELTA:
                values[name] = 0.0
                continue
            measured = streams.credible_position_of(name, steady_s)
            far = None not in (measured, last) and abs(measured - last) > self._far
            # A gripper that holds something keeps its command: measured is where it got stuck.
            # And where the arm seems to be far from what it was told, holding there is a jump.
            keeps = last is not None and (keys.is_gripper(name) or measured is None or far)
            held = last if keeps else measured
            if held is not None:
                values[name] = held
        return values

    def _commanded(self, steady_s: float) -> np.ndarray | None:
        """(A,) what the arm is told at this instant; of a whole chunk not where it ends.

        None where that was long ago: somebody may have moved the arm since.
        """
        if self._passed is None:
            return None
        steps, step_s = self._passed.steps, self._passed.step_s
        due_s = step_s * np.arange(1, len(steps) + 1)  # as in `_whole_chunk`
        passed_s = steady_s - self._passed_s
        told = np.array([np.interp(passed_s, due_s, way) for way in steps.T])
        for name, value in zip(self._names, told.tolist(), strict=True):
            if keys.is_gripper(name):
                self._grippers[name] = value
        return told if passed_s <= due_s[-1] + IN_FORCE_S else None

    def _whole_chunk(self, command: Any, msg: Any, passed: Passed) -> Any:
        """Trajectory of all steps by name, times strictly increasing, positions only."""
        first = copy.deepcopy(msg)
        points = []
        for number, values in enumerate(passed.steps, start=1):
            fill_command(first, command, dict(zip(self._names, values.tolist(), strict=True)))
            point = copy.deepcopy(first.points[0])
            seconds, nanoseconds = divmod(round(number * passed.step_s * 1e9), 10**9)
            point.time_from_start.sec, point.time_from_start.nanosec = seconds, nanoseconds
            points.append(point)
        first.header.stamp = AT_ONCE
        first.points = points
        return first

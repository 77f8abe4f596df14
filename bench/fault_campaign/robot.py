"""A robot made of topics, in a process of its own: two cameras, joints, pose, buttons; and faults.

It does what its controller tells it on topic `plant`. What the campaign asks over `control` sets
in at the instant that the answer names, in the messages that follow.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from array import array
from collections import deque
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Bool, Float64MultiArray

from fault_campaign.contracts import (
    CAMERA_HZ,
    CAMERAS,
    CONTRACT_VARIABLE,
    HEIGHT,
    JOINT_CONTRACT,
    JOINTS,
    JOINTS_HZ,
    PLANT_TOPIC,
    POSE_HZ,
    ROBOT_VARIABLE,
    WIDTH,
    WORKSPACE,
)
from fault_campaign.control import serve
from fault_campaign.motion import home, way_out
from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.conversions import joint_state_to_msg, pose_to_msg
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import qos_from_contract, reliable_qos
from roboalign_policy.ros.stamps import ns_to_stamp

_FRAMES = 16
_BUTTON_HZ = 50.0
_FLOOD = 10


class Robot(Node):
    """Streams of one contract; every fault is a change of what one of them says."""

    def __init__(self) -> None:
        """Advertise, and begin at home with all in order."""
        super().__init__("robot")
        self._is_joints = os.environ[ROBOT_VARIABLE] == JOINT_CONTRACT
        self._state = np.array(home(os.environ[ROBOT_VARIABLE]))
        self._faults: dict[str, dict[str, Any]] = {}
        self._buttons: dict[str, bool] = {}
        self._held: deque[tuple[float, str, Any]] = deque()
        self._last: dict[str, Any] = {}  # newest message of each stream
        self._count = 0
        rng = np.random.default_rng(0)
        self._noise = [
            array("B", rng.integers(0, 256, HEIGHT * WIDTH * 3, np.uint8).tobytes())
            for _ in range(_FRAMES)
        ]
        contract = load_contract(os.environ[CONTRACT_VARIABLE])
        self._ends = {
            stream.key: self.create_publisher(
                message_class(stream.type), stream.topic, qos_from_contract(stream.qos)
            )
            for stream in contract.observations
        }
        self._button_ends = {
            name: self.create_publisher(Bool, name, reliable_qos(1))
            for name in ("estop", "deadman")
        }
        self.create_subscription(Float64MultiArray, PLANT_TOPIC, self._move, reliable_qos(50))
        for key in CAMERAS:
            self.create_timer(1 / CAMERA_HZ, functools.partial(self._stream, key, self._image))
        self.create_timer(
            1 / JOINTS_HZ, functools.partial(self._stream, "state.joints", self._joints)
        )
        self.create_timer(1 / POSE_HZ, functools.partial(self._stream, "state.ee", self._pose))
        self.create_timer(1 / _BUTTON_HZ, self._press)
        self.create_timer(0.005, self._release)
        serve(self._handle)

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what the campaign asks; the answer names the instant."""
        what, t_ns = request["do"], time.monotonic_ns()
        if what == "heal":
            self._faults = {}
            if self._is_joints:
                # A hold target may have led the last joint away; somebody puts it back.
                self._state = np.array([*self._state[:-1], 0.0])
        elif what == "button":
            self._buttons[request["name"]] = request["value"]
            self._press()
        elif what == "silence_button":
            self._buttons.pop(request["name"], None)
        elif what == "fault":
            # Replaced as a whole: the streams' timers run in another thread.
            self._faults = {**self._faults, request["stream"]: request}
        else:
            raise ValueError(f"do: found {what!r}, expected heal, button, silence_button, fault")
        return {"t_ns": t_ns}

    def _move(self, msg: Float64MultiArray) -> None:
        """The controller moves the arm: displacement of the end effector, or joint targets."""
        values = np.array(msg.data)
        self._state = values if self._is_joints else self._state + values

    def _press(self) -> None:
        for name, value in list(self._buttons.items()):
            self._button_ends[name].publish(Bool(data=value))

    def _stream(self, key: str, make: Any) -> None:
        fault = self._faults.get(key, {})
        kind = fault.get("kind", "")
        if kind == "drop":
            return
        for _ in range(_FLOOD if kind == "flood" else 1):
            now_ns = self.get_clock().now().nanoseconds
            if kind == "frozen_stamps":
                msg = self._last[key]
            else:
                stamp_ns = now_ns + round(fault.get("seconds", 0.0) * 1e9 * (kind == "shift"))
                msg = make(key, stamp_ns, kind, fault)
            if kind == "late":
                self._held.append((time.monotonic() + fault["seconds"], key, msg))
            else:
                self._last[key] = msg
                self._ends[key].publish(msg)

    def _release(self) -> None:
        """Send what is late and due."""
        while self._held and self._held[0][0] <= time.monotonic():
            _, key, msg = self._held.popleft()
            self._ends[key].publish(msg)

    def _image(self, key: str, stamp_ns: int, kind: str, fault: dict[str, Any]) -> Image:
        self._count += 1
        height, data = HEIGHT, self._noise[self._count % _FRAMES]
        if kind == "frozen_pixels":
            data = self._last[key].data
        if kind == "size":
            height, data = HEIGHT // 2, data[: len(data) // 2]
        if kind == "bytes":
            data = data[: len(data) // 2]
        msg = Image(height=height, width=WIDTH, encoding="rgb8", step=WIDTH * 3, data=data)
        msg.header.stamp, msg.header.frame_id = ns_to_stamp(stamp_ns), "camera"
        return msg

    def _joints(self, key: str, stamp_ns: int, kind: str, fault: dict[str, Any]) -> Any:
        names, values = list(JOINTS), np.zeros(len(JOINTS))
        if self._is_joints:
            values[:] = self._state
        if kind == "value":
            values[-1] = float(fault["value"])
        if kind == "missing":
            names, values = names[:-1], values[:-1]
        return joint_state_to_msg(names, values, stamp_ns)

    def _pose(self, key: str, stamp_ns: int, kind: str, fault: dict[str, Any]) -> Any:
        position = np.array(home("twist")) if self._is_joints else self._state.copy()
        if kind == "value":
            position[2] = float(fault["value"])
        if kind == "outside":
            axis, sign = way_out(position)
            low, high = WORKSPACE["xyz"[axis]]
            position[axis] = high + 0.02 if sign > 0 else low - 0.02
        return pose_to_msg(position, np.zeros(3), stamp_ns, "base_link")


def main() -> int:
    """Run until told to stop; exit status."""
    return run_node(lambda _: Robot())


if __name__ == "__main__":
    sys.exit(main())

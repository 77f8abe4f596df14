"""The processes of overhead.py: cameras, controller, instant policy, and the script by hand.

python bench/overhead_processes.py cameras|controller|script OUT SECONDS|policy --ros-args ...
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState

WIDTH, HEIGHT, CAMERA_HZ, JOINTS_HZ = 640, 480, 30.0, 100.0
CAMERAS = ("left", "right")
JOINTS = ("joint1", "joint2", "joint3", "joint4", "joint5", "joint6")
DIMS = ("dx", "dy", "dz")
WARM_UP_S = 3.0
NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


def contract() -> dict:
    """Two cameras and joint states at 30 Hz; the action is one twist."""
    best_effort = {"reliability": "best_effort", "depth": 1}
    observations = [
        {
            "key": f"image.{name}",
            "topic": f"camera/{name}/image_raw",
            "type": "sensor_msgs/msg/Image",
            "shape": [HEIGHT, WIDTH, 3],
            "qos": best_effort,
            "max_age_s": 0.2,
        }
        for name in CAMERAS
    ]
    joints = {
        "key": "state.joints",
        "topic": "joint_states",
        "type": "sensor_msgs/msg/JointState",
        "fields": [{"name": n, "path": f"position[{n}]", "unit": "rad"} for n in JOINTS],
        "qos": best_effort,
        "max_age_s": 0.2,
    }
    gain = 1 / (0.01 * CAMERA_HZ)
    fields = {n: {"path": f"twist.linear.{n[1]}", "gain": gain} for n in DIMS}
    twist = {"topic": "twist", "type": "geometry_msgs/msg/TwistStamped", "fields": fields}
    return {
        "schema": "roboalign-contract/1",
        "name": "overhead",
        "base_frame": "base_link",
        "rate_hz": CAMERA_HZ,
        "observations": [*observations, joints],
        "action": {
            "control_mode": "ee_delta",
            "horizon": 8,
            "dims": [{"name": n, "unit": "0.01 m", "limits": [-1.0, 1.0]} for n in DIMS],
            "commands": [twist],
        },
    }


def cameras() -> None:
    """Noise from two cameras that are out of step, and joint states; stamped before filling."""
    node = rclpy.create_node("cameras")
    rng = np.random.default_rng(0)
    frames = [
        array("B", rng.integers(0, 256, HEIGHT * WIDTH * 3, np.uint8).tobytes()) for _ in range(5)
    ]

    def camera(name: str) -> Callable[[], None]:
        publisher = node.create_publisher(Image, f"camera/{name}/image_raw", NEWEST)
        msg = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=WIDTH * 3)
        count = 0

        def publish() -> None:
            nonlocal count
            count += 1
            msg.header.stamp = node.get_clock().now().to_msg()
            msg.data = frames[count % len(frames)]
            publisher.publish(msg)

        return publish

    joints = JointState(name=list(JOINTS), position=[0.0] * len(JOINTS))
    joint_publisher = node.create_publisher(JointState, "joint_states", NEWEST)

    def publish_joints() -> None:
        joints.header.stamp = node.get_clock().now().to_msg()
        joint_publisher.publish(joints)

    node.create_timer(1 / CAMERA_HZ, camera(CAMERAS[0]))
    time.sleep(0.5 / CAMERA_HZ)
    node.create_timer(1 / CAMERA_HZ, camera(CAMERAS[1]))
    node.create_timer(1 / JOINTS_HZ, publish_joints)
    rclpy.spin(node)


def controller() -> None:
    """Takes the commands, as a controller does."""
    node = rclpy.create_node("controller")
    node.create_subscription(TwistStamped, "twist", lambda _: None, 10)
    rclpy.spin(node)


def policy() -> None:
    """policy_node around a policy that answers at once."""
    from roboalign_policy.core.contract.contract import load_contract
    from roboalign_policy.nodes.policy.policy_node import PolicyNode
    from roboalign_policy.nodes.spinning import run_node

    class Instant:
        """Always the same small step."""

        thinks, chunking, replan_after_steps = False, "fresh", 0

        def __init__(self, parameters) -> None:
            self.contract = load_contract(parameters.contract)
            self.hash, self.horizon, self.dims = "0" * 64, 8, len(DIMS)

        def act(self, values, instruction, **asked):
            """Answer without looking."""
            return SimpleNamespace(
                actions=np.full((self.horizon, self.dims), 0.1, np.float32),
                tokens=[],
                reasoning="",
                status="ok",
                detail="",
                inference_s=0.0,
            )

    sys.exit(run_node(lambda _: PolicyNode(Instant)))


def script(out: str, seconds: float) -> None:
    """The same path by hand; writes the milliseconds of every command to ``out``."""
    node = rclpy.create_node("script")
    publisher = node.create_publisher(TwistStamped, "twist", 10)
    newest: dict[str, np.ndarray] = {}
    times_ms: list[float] = []
    command = TwistStamped()
    begin_s = time.monotonic() + WARM_UP_S

    def on_image(name: str, msg: Image) -> None:
        newest[name] = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)
        if len(newest) < len(CAMERAS) + 1:
            return
        command.header.stamp = node.get_clock().now().to_msg()
        command.twist.linear.x = 0.03
        publisher.publish(command)
        stamp_ns = msg.header.stamp.sec * 1_000_000_000 + msg.header.stamp.nanosec
        if time.monotonic() > begin_s:
            times_ms.append((node.get_clock().now().nanoseconds - stamp_ns) / 1e6)

    def on_joints(msg: JointState) -> None:
        newest["joints"] = np.array(msg.position, np.float32)

    node.create_subscription(JointState, "joint_states", on_joints, NEWEST)
    for name in CAMERAS:
        node.create_subscription(
            Image, f"camera/{name}/image_raw", lambda msg, n=name: on_image(n, msg), NEWEST
        )
    while time.monotonic() < begin_s + seconds:
        rclpy.spin_once(node, timeout_sec=0.1)
    Path(out).write_text(json.dumps(times_ms), encoding="utf-8")


def main() -> None:
    """Run one of the processes."""
    name, *rest = sys.argv[1:]
    if name == "policy":
        policy()  # ends the process
    rclpy.init(args=sys.argv)
    if name == "script":
        script(rest[0], float(rest[1]))
    else:
        try:
            {"cameras": cameras, "controller": controller}[name]()
        except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
            pass
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()

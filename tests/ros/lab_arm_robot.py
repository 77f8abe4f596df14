"""The made-up arm of docs/bring-your-own-robot.md: four joints, one camera, no hardware.

The page starts it, for who has no robot. It obeys ``arm_controller/joint_trajectory`` as a
joint_trajectory_controller does: the joints go in a straight line to the newest trajectory's last
point and are there when its time is over.
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from roboalign_policy.nodes.spinning import run_node
from roboalign_policy.ros.conversions import image_to_msg, joint_state_to_msg

JOINTS = ("joint1", "joint2", "joint3", "joint4")
START = (0.0, 0.3, -0.6, 0.2)  # rad
HEIGHT, WIDTH = 48, 64  # px
JOINTS_HZ, IMAGES_HZ = 50.0, 20.0


class LabArm(Node):
    """Publishes joint_states and camera/image_raw, subscribes to the controller's topic."""

    def __init__(self) -> None:
        """Start at rest."""
        super().__init__("lab_arm")
        self._from = self._to = np.array(START)
        self._since_s, self._duration_s = 0.0, 1.0
        self._noise = np.random.default_rng(0)
        self._joints = self.create_publisher(JointState, "joint_states", 10)
        self._images = self.create_publisher(Image, "camera/image_raw", qos_profile_sensor_data)
        self.create_subscription(
            JointTrajectory, "arm_controller/joint_trajectory", self._obey, 10
        )
        self.create_timer(1 / JOINTS_HZ, self._publish_joints)
        self.create_timer(1 / IMAGES_HZ, self._publish_image)

    def _obey(self, msg: JointTrajectory) -> None:
        order = [msg.joint_names.index(name) for name in JOINTS]
        point = msg.points[-1]
        self._from, self._to = self._present(), np.array(point.positions)[order]
        self._since_s = time.monotonic()
        time_from_start = point.time_from_start
        self._duration_s = max(time_from_start.sec + time_from_start.nanosec * 1e-9, 1e-3)

    def _present(self) -> np.ndarray:
        """(4,) rad."""
        share = min((time.monotonic() - self._since_s) / self._duration_s, 1.0)
        return self._from + share * (self._to - self._from)

    def _publish_joints(self) -> None:
        self._joints.publish(joint_state_to_msg(JOINTS, self._present(), self._now_ns()))

    def _publish_image(self) -> None:
        """A bright bar where joint1 points, on a noisy ground: no two pictures are the same."""
        image = self._noise.integers(0, 30, (HEIGHT, WIDTH, 3), np.uint8)
        column = WIDTH / 2 * (1 - self._present()[0] / math.pi)
        image[:, int(np.clip(column, 2, WIDTH - 3)) - 2 :][:, :5] = (220, 60, 40)
        self._images.publish(image_to_msg(image, self._now_ns(), "camera"))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main() -> int:
    """Run until ctrl-C; exit status."""
    return run_node(lambda _: LabArm())


if __name__ == "__main__":
    sys.exit(main())

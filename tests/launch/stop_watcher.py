"""Sees a started robot move, presses its emergency stop, and sees that nothing moves any more.

Run as a process of its own in the robot's ROS domain; exit code 0 when all of it was seen.
"""

from __future__ import annotations

import sys
import time

import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from roboalign_msgs.msg import GateStatus
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from roboalign_policy.ros.qos import reliable_qos

START_S, QUIET_S = 90.0, 1.5


class Watcher:
    """Everything that a controller, an operator and the arm know."""

    def __init__(self):
        self.node = rclpy.create_node("watcher")
        self.poses, self.twists, self.gate = [], [], []
        for kind, topic, into in (
            (PoseStamped, "ee_pose", self.poses),
            (TwistStamped, "servo_node/delta_twist_cmds", self.twists),
            (GateStatus, "safety_gate_node/status", self.gate),
        ):
            self.node.create_subscription(kind, topic, into.append, reliable_qos(50))
        self.estop = self.node.create_client(Trigger, "safety_gate_node/estop")
        self.button = self.node.create_publisher(Bool, "estop", reliable_qos(1, latched=True))

    def until(self, condition, seconds, what):
        """Wait, or end the process with a message."""
        end_s = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end_s:
                sys.exit(
                    f"waited {seconds} s for {what}: {len(self.poses)} poses, "
                    f"{len(self.twists)} twists, gate {self.gate[-1:]}"
                )
            rclpy.spin_once(self.node, timeout_sec=0.05)

    def moved_m(self, since=0):
        """Way of the end effector from one pose to the newest."""
        if len(self.poses) <= since:
            return 0.0
        a, b = self.poses[since].pose.position, self.poses[-1].pose.position
        return ((a.x - b.x) ** 2 + (a.y - b.y) ** 2 + (a.z - b.z) ** 2) ** 0.5

    def is_still(self):
        """True where the newest command moves nothing."""
        twist = self.twists[-1].twist
        return not any(getattr(p, axis) for p in (twist.linear, twist.angular) for axis in "xyz")


def main():
    """Move, stop, stand."""
    rclpy.init()
    w = Watcher()
    w.until(lambda: w.gate, START_S, "a sign of life of the gate")
    w.until(w.estop.service_is_ready, START_S, "the stop's service")
    w.until(lambda: len(w.twists) >= 10 and w.moved_m() > 1e-3, START_S, "the arm to move")
    w.until(lambda: w.gate[-1].state == GateStatus.STATE_ACTIVE, 5.0, "the gate to be active")
    w.until(lambda: w.button.get_subscription_count() > 0, 5.0, "the gate on topic estop")
    w.button.publish(Bool(data=True))
    w.until(lambda: w.gate[-1].state == GateStatus.STATE_ESTOP, 5.0, "the gate to latch")
    w.until(w.is_still, 5.0, "the safe action on the controller's topic")
    end_s = time.monotonic() + 0.5  # the repeats of the safe action, and the arm's own stopping
    while time.monotonic() < end_s:
        rclpy.spin_once(w.node, timeout_sec=0.05)
    twists, poses = len(w.twists), len(w.poses)
    end_s = time.monotonic() + QUIET_S
    while time.monotonic() < end_s:
        rclpy.spin_once(w.node, timeout_sec=0.05)
    if len(w.twists) != twists or w.moved_m(poses - 1) > 1e-4:
        sys.exit(
            f"moved after the stop: {len(w.twists) - twists} twists, {w.moved_m(poses - 1)} m"
        )
    print(f"{len(w.twists)} twists, moved {w.moved_m() * 1e3:.1f} mm, then stood")


if __name__ == "__main__":
    main()

"""What the tests of policy_node share: a robot made of topics, and a client of the node."""

from __future__ import annotations

import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.action import ActionClient
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import ActionChunk, PolicyStatus
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from roboalign_policy.ros.conversions import image_to_msg, joint_state_to_msg, pose_to_msg
from roboalign_policy.ros.qos import reliable_qos

TWIST, GRIPPER = "servo_node/delta_twist_cmds", "gripper_controller/joint_trajectory"


class Robot:
    """The streams of contract sim_panda at 10 Hz; each can fall silent."""

    def __init__(self, probe):
        node = probe.node
        self.silent, self.height = set(), 128
        self._publishers = {
            "image.front": node.create_publisher(Image, "camera/front/image_raw", reliable_qos(5)),
            "state.joints": node.create_publisher(JointState, "joint_states", reliable_qos(5)),
            "state.ee": node.create_publisher(PoseStamped, "ee_pose", reliable_qos(5)),
            "state.gripper": node.create_publisher(JointState, "gripper_state", reliable_qos(5)),
        }
        node.create_timer(0.1, self._publish)

    def _publish(self):
        now_ns = time.time_ns()
        names = [f"panda_joint{number}" for number in range(1, 8)]
        image = np.zeros((self.height, 128, 3), np.uint8)
        messages = {
            "image.front": image_to_msg(image, now_ns, "camera"),
            "state.joints": joint_state_to_msg(names, np.zeros(7), now_ns),
            "state.ee": pose_to_msg(np.zeros(3), np.zeros(3), now_ns, "base_link"),
            "state.gripper": joint_state_to_msg(["gripper_width"], [0.08], now_ns),
        }
        for key, msg in messages.items():
            if key not in self.silent:
                self._publishers[key].publish(msg)


class Client:
    """Sends RunPolicy goals and listens to the node."""

    def __init__(self, probe):
        self.probe = probe
        self._action = ActionClient(probe.node, RunPolicy, "policy_node/run_policy")
        self.chunks = probe.collect(ActionChunk, "action_chunk", reliable_qos(50))
        self.twists = probe.collect(TwistStamped, TWIST, reliable_qos(50))
        self.grippers = probe.collect(JointTrajectory, GRIPPER, reliable_qos(50))
        self.status = probe.collect(PolicyStatus, "policy_node/status", reliable_qos(50))
        self.reasonings = probe.collect(String, "policy_node/reasoning", reliable_qos(50))
        self.feedback = []

    def send(self, instruction, **limits):
        if not self._action.wait_for_server(30.0):
            pytest.fail("policy_node/run_policy is not there after 30 s")
        # Topics are discovered beside the action: without this the first messages are not heard.
        heard = self.status
        self.probe.until(lambda: heard, what="a status")
        goal = RunPolicy.Goal(instruction=instruction, **limits)
        sent = self._action.send_goal_async(goal, lambda msg: self.feedback.append(msg.feedback))
        self.probe.until(sent.done, what="acceptance")
        return sent.result()

    def result(self, handle, timeout_s=30.0):
        future = handle.get_result_async()
        self.probe.until(future.done, timeout_s, "the result")
        return future.result().result

    def run(self, instruction, **limits):
        return self.result(self.send(instruction, **limits))

    def state(self, *wanted):
        """Wait for a status in one of the states and return it."""
        self.probe.until(
            lambda: self.status and self.status[-1].state in wanted, what=f"state {wanted}"
        )
        return self.status[-1]

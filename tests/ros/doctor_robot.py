"""What the tests of the doctor share: a robot made of topics, with one fault or none."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from policy_harness import GRIPPER, TWIST
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from roboalign_policy.ros.conversions import image_to_msg, joint_state_to_msg, pose_to_msg
from roboalign_policy.ros.qos import reliable_qos

JOINTS = [f"panda_joint{number}" for number in range(1, 8)]
CAMERA = "camera/front/image_raw"


class Robot:
    """Contract sim_panda as topics of a node, with whatever fault a test gives it."""

    def __init__(
        self,
        node,
        *,
        camera=CAMERA,
        camera_qos=None,
        rate_hz=10.0,
        ahead_s=0.0,
        size=(128, 128),
        joints=JOINTS,
        gripper_type=JointState,
        controllers=(TWIST, GRIPPER),
        estop=True,
    ):
        self._ahead_ns, self._size, self._joints = round(ahead_s * 1e9), size, list(joints)
        self._gripper_type, qos = gripper_type, reliable_qos(5)
        self._image = node.create_publisher(Image, camera, camera_qos or qos)
        self._arm = node.create_publisher(JointState, "joint_states", qos)
        self._pose = node.create_publisher(PoseStamped, "ee_pose", qos)
        self._gripper = node.create_publisher(gripper_type, "gripper_state", qos)
        self._scene = node.create_publisher(String, "scene", qos)
        for topic, kind in ((TWIST, TwistStamped), (GRIPPER, JointTrajectory)):
            if topic in controllers:
                node.create_subscription(kind, topic, lambda _: None, reliable_qos(10))
        if estop:
            node.create_service(Trigger, "safety_gate_node/estop", lambda _, answer: answer)
        node.create_timer(1 / rate_hz, self._publish)

    def _publish(self):
        now_ns = time.time_ns() + self._ahead_ns
        pixels = np.zeros((*self._size, 3), np.uint8)
        self._image.publish(image_to_msg(pixels, now_ns, "camera"))
        self._arm.publish(joint_state_to_msg(self._joints, np.zeros(len(self._joints)), now_ns))
        self._pose.publish(pose_to_msg(np.zeros(3), np.zeros(3), now_ns, "base_link"))
        gripper = joint_state_to_msg(["gripper_width"], [0.08], now_ns)
        self._gripper.publish(gripper if self._gripper_type is JointState else String())


@contextmanager
def running(probe):
    """Serve the probe's nodes in a thread meanwhile."""
    over = threading.Event()

    def spin():
        while not over.is_set():
            probe.executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10.0)

"""What the tests of policy_node share: a robot made of topics, a gate, a client of the node."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.action import ActionClient
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import ActionChunk, Candidate, GateStatus, PolicyStatus
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.node_process import NodeProcess
from roboalign_policy.ros.conversions import image_to_msg, joint_state_to_msg, pose_to_msg
from roboalign_policy.ros.qos import reliable_qos

TWIST, GRIPPER = "servo_node/delta_twist_cmds", "gripper_controller/joint_trajectory"

HERE = Path(__file__).resolve().parent


def patient_contract(folder, late=(), ages=()):
    """File with contract sim_panda whose streams may be late, as those of a busy test are.

    Args:
        folder: where it is written.
        late: keys of streams that the test is late with: at most 1 s old, and not frozen longer
            than the contract says.
        ages: s; by key `max_age_s` of streams; of all others it is 5.
    """
    data = load_contract("sim_panda").to_dict()
    for stream in data["observations"]:
        age_s = 1.0 if stream["key"] in late else 5.0
        stream["max_age_s"] = dict(ages).get(stream["key"], age_s)
        if "shape" in stream and stream["key"] not in late:
            stream["max_frozen_s"] = 5.0
    path = folder / "contract.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


def fake_policies(tmp_path, **defaults):
    """Body of a fixture: yields a function that starts the node around the fake policy.

    Gate and streams are of the test's own process and may be late on a busy machine. A test of
    what late ones do names them: see `patient_contract`.
    """
    started = []
    patience = {"gate_timeout_s": 3.0, "max_chunk_age_s": 20.0}
    patience["contract"] = patient_contract(tmp_path)
    defaults = {**patience, **defaults}

    def start(**parameters):
        paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
        log = tmp_path / f"policy-{len(started)}.log"
        env = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        parameters = {"autostart": True, "status_period_s": 0.1, **defaults, **parameters}
        started.append(NodeProcess("fake_policy_node", parameters, log, env=env))
        return started[-1]

    yield start
    codes = [process.stop() for process in started]
    assert codes == [0] * len(started), [process.tail() for process in started]


class Robot:
    """The streams of contract sim_panda at 10 Hz; each can fall silent."""

    def __init__(self, probe):
        node = probe.node
        self.silent, self.height = set(), 128
        self.images, self.frozen = 0, False
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
        self.images += not self.frozen
        image = np.full((self.height, 128, 3), self.images % 256, np.uint8)
        messages = {
            "image.front": image_to_msg(image, now_ns, "camera"),
            "state.joints": joint_state_to_msg(names, np.zeros(7), now_ns),
            "state.ee": pose_to_msg(np.zeros(3), np.zeros(3), now_ns, "base_link"),
            "state.gripper": joint_state_to_msg(["gripper_width"], [0.08], now_ns),
        }
        for key, msg in messages.items():
            if key not in self.silent:
                self._publishers[key].publish(msg)


class Gate:
    """A stand-in for safety_gate_node: says in its status what the test wants."""

    def __init__(self, probe, state=GateStatus.STATE_READY):
        node = probe.node
        self.status = GateStatus(state=state)
        self.silent = False
        self.candidates = []
        self._publisher = node.create_publisher(
            GateStatus, "safety_gate_node/status", reliable_qos(10)
        )
        node.create_subscription(Candidate, "candidate", self._hear, reliable_qos(100))
        node.create_timer(0.05, self.publish)

    def say(self, state, reason=GateStatus.REASON_NONE, detail="", source=""):
        self.status = GateStatus(state=state, reason=reason, detail=detail, source=source)
        self.publish()

    def publish(self):
        if not self.silent:
            self._publisher.publish(self.status)

    def kinds(self):
        return [msg.kind for msg in self.candidates]

    def _hear(self, msg):
        self.candidates.append(msg)
        driving = (self.status.state, self.status.source) == (GateStatus.STATE_ACTIVE, msg.source)
        if msg.kind == Candidate.KIND_MOTION and self.status.state == GateStatus.STATE_READY:
            self.say(GateStatus.STATE_ACTIVE, source=msg.source)
        elif msg.kind == Candidate.KIND_END and driving:
            self.say(GateStatus.STATE_READY)
        elif msg.kind == Candidate.KIND_FAULT and driving:
            self.say(GateStatus.STATE_STOPPED, GateStatus.REASON_SENDER_FAULT, msg.reason)


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

"""sim_robot_node in a process of its own: topics, lock step, real time, services."""

import hashlib
import json
import time

import numpy as np
from geometry_msgs.msg import PoseStamped
from roboalign_msgs.srv import GetOutcome, ResetSim
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.messages.selectors import vector_from_msg
from roboalign_policy.nodes.node_process import NodeProcessError
from roboalign_policy.ros.chunk_msgs import CommandWriter
from roboalign_policy.ros.definitions import message_class
from roboalign_policy.ros.qos import lossless_qos, reliable_qos
from roboalign_policy.ros.stamps import ns_to_stamp, stamp_to_ns

CONTRACT = load_contract(find_contract("sim_panda"))
STEP_NS = 100_000_000
OBSERVED = {
    "camera/front/image_raw": Image,
    "joint_states": JointState,
    "ee_pose": PoseStamped,
    "gripper_state": JointState,
    "scene": String,
    "/clock": Clock,
}


class Driver:
    """Commands the arm as a policy would, and keeps what the robot says."""

    def __init__(self, probe):
        """Subscribe and advertise."""
        self.probe = probe
        self.seen = {
            topic: probe.collect(kind, topic, lossless_qos()) for topic, kind in OBSERVED.items()
        }
        self.writer = CommandWriter(CONTRACT)
        self.publishers = [
            probe.node.create_publisher(message_class(c.type), c.topic, lossless_qos())
            for c in CONTRACT.action.commands
        ]
        probe.until(self._matched, what="the simulator on the command topics")

    def _matched(self):
        return all(publisher.get_subscription_count() for publisher in self.publishers)

    def reset(self, **values):
        """New episode; waits for its first observation. Returns the response."""
        request = {"suite": "object", "task": "", "seed": 3, "action_noise": 0.2, **values}
        response = self.probe.call(ResetSim, "sim_robot_node/reset", **request)
        assert response.ok, response.message
        self.wait_for(stamp_to_ns(response.stamp))
        return response

    def command(self, action, stamp_ns, only=None):
        """Publish an action, or only one of its messages."""
        for index, msg in enumerate(self.writer.write(np.asarray(action, np.float32), stamp_ns)):
            if only in (None, index):
                self.publishers[index].publish(msg)

    def wait_for(self, stamp_ns):
        """Wait for everything that the observation of a time consists of."""

        def complete():
            stamps = [
                {stamp_to_ns(m.header.stamp) for m in self.seen[topic]}
                for topic in ("camera/front/image_raw", "joint_states", "ee_pose", "gripper_state")
            ]
            return all(stamp_ns in found for found in stamps)

        self.probe.until(complete, what=f"the observation of {stamp_ns} ns")

    def run(self, actions, start_ns):
        """Drive a whole list of actions in lock step.

        Returns a hash of everything seen from the start on.
        """
        for k, action in enumerate(actions):
            self.command(action, start_ns + k * STEP_NS)
            self.wait_for(start_ns + (k + 1) * STEP_NS)
        digest = hashlib.sha256()
        for topic in ("camera/front/image_raw", "joint_states", "ee_pose", "gripper_state"):
            for msg in self.seen[topic]:
                if stamp_to_ns(msg.header.stamp) >= start_ns:
                    msg.header.stamp = ns_to_stamp(stamp_to_ns(msg.header.stamp) - start_ns)
                    digest.update(
                        str(msg).encode()
                        if topic != "camera/front/image_raw"
                        else msg.data.tobytes()
                    )
        return digest.hexdigest()


ACTIONS = np.random.default_rng(0).uniform(-1, 1, (8, 7))
SIM = {"mode": "lockstep", "republish_s": 60.0}


def test_same_seed_and_commands_give_the_same_bits(start_node, probe):
    """Two processes, and two episodes of one process with another between.

    Images and states are identical.
    """
    hashes = []
    for _ in range(2):
        process = start_node("sim_robot_node", **SIM)
        driver = Driver(probe)
        hashes.append(driver.run(ACTIONS, stamp_to_ns(driver.reset().stamp)))
        if len(hashes) == 1:
            other = driver.run(ACTIONS, stamp_to_ns(driver.reset(seed=4).stamp))
            hashes.append(driver.run(ACTIONS, stamp_to_ns(driver.reset().stamp)))
        process.stop()
    assert len(set(hashes)) == 1
    assert other not in hashes


def test_lock_step_moves_only_for_both_commands_of_the_present_stamp(start_node, probe):
    """Half an action, an old and a future stamp leave the world as it is; the latter count."""
    start_node("sim_robot_node", **SIM)
    driver = Driver(probe)
    start_ns = stamp_to_ns(driver.reset().stamp)
    driver.command(ACTIONS[0], start_ns, only=0)
    driver.command(ACTIONS[0], start_ns - STEP_NS)
    driver.command(ACTIONS[0], start_ns + STEP_NS)
    probe.spin_for(0.5)
    assert probe.call(GetOutcome, "sim_robot_node/get_outcome").steps == 0
    driver.command(ACTIONS[0], start_ns, only=1)
    driver.wait_for(start_ns + STEP_NS)
    probe.until(lambda: json.loads(driver.seen["scene"][-1].data)["step"] == 1)
    assert json.loads(driver.seen["scene"][-1].data)["ignored_commands"] == 4


def test_observation_is_what_the_contract_says(start_node, probe):
    """Types, names, shapes, frames; the clock shows the observation's time."""
    start_node("sim_robot_node", **SIM)
    driver = Driver(probe)
    response = driver.reset()
    start_ns = stamp_to_ns(response.stamp)
    for stream in CONTRACT.observations:
        msg = driver.seen[stream.topic][-1]
        assert type(msg) is message_class(stream.type)
        if stream.fields:
            assert np.isfinite(vector_from_msg(msg, stream.fields)).all()
    image = driver.seen["camera/front/image_raw"][-1]
    assert (image.height, image.width, image.encoding) == (128, 128, "rgb8")
    assert driver.seen["ee_pose"][-1].header.frame_id == CONTRACT.base_frame
    clocks = driver.seen["/clock"]  # joined later than the streams on a busy machine
    probe.until(lambda: clocks and stamp_to_ns(clocks[-1].clock) == start_ns, what="the clock")
    task = probe.collect(String, "task", reliable_qos(1, latched=True))
    assert probe.until(lambda: task)[-1].data == response.instruction
    scene = json.loads(driver.seen["scene"][-1].data)
    assert scene["seed"] == 3 and scene["objects"]


def test_time_never_goes_back_over_resets(start_node, probe):
    """Every episode begins later than the last one ended."""
    start_node("sim_robot_node", **SIM)
    driver = Driver(probe)
    starts = []
    for _ in range(3):
        starts.append(stamp_to_ns(driver.reset().stamp))
        driver.run(ACTIONS[:2], starts[-1])
    assert np.diff(starts).min() >= 2 * STEP_NS + 1_000_000_000


def test_impossible_resets_change_nothing(start_node, probe):
    """The answer names field and value; the present episode goes on."""
    start_node("sim_robot_node", **SIM)
    driver = Driver(probe)
    driver.run(ACTIONS[:1], stamp_to_ns(driver.reset(seed=5).stamp))
    for values, fault in [
        ({"suite": "nosuch"}, "suite: found 'nosuch'"),
        ({"task": "nosuch"}, "found 'nosuch'"),
        ({"action_noise": -0.5}, "action_noise: found -0.5"),
    ]:
        request = {"suite": "object", "task": "", "seed": 3, "action_noise": 0.0, **values}
        response = probe.call(ResetSim, "sim_robot_node/reset", **request)
        assert not response.ok
        assert fault in response.message
    outcome = probe.call(GetOutcome, "sim_robot_node/get_outcome")
    assert (outcome.steps, outcome.seed) == (1, 5)


def test_unanswered_observation_is_sent_again(start_node, probe):
    """A policy that comes after the first observation is not left waiting for ever."""
    start_node("sim_robot_node", mode="lockstep", republish_s=0.2)
    driver = Driver(probe)
    start_ns = stamp_to_ns(driver.reset().stamp)
    probe.until(
        lambda: (
            len([m for m in driver.seen["ee_pose"] if stamp_to_ns(m.header.stamp) == start_ns])
            >= 3
        )
    )
    driver.run(ACTIONS[:1], start_ns)
    assert probe.call(GetOutcome, "sim_robot_node/get_outcome").steps == 1


def test_expert_is_refused_without_listeners_and_without_the_parameter(start_node, probe):
    """The first would be lost for a recorder.

    A node that a policy drives does not start to drive itself.
    """
    process = start_node("sim_robot_node", **SIM)
    response = probe.call(Trigger, "sim_robot_node/demonstrate")
    assert not response.success and "found 'none', expected 'expert'" in response.message
    process.stop()
    start_node("sim_robot_node", mode="lockstep", demonstrator="expert")
    response = probe.call(Trigger, "sim_robot_node/demonstrate")
    assert not response.success
    assert "nobody listens to" in response.message and "camera/front/image_raw" in response.message


def test_real_time_moves_on_commands_and_holds_without(start_node, probe):
    """10 Hz observations; the arm moves while commands come and stands when they stop."""
    start_node("sim_robot_node", mode="realtime", command_timeout_s=0.3)
    driver = Driver(probe)
    probe.until(lambda: len(driver.seen["ee_pose"]) > 5)
    down = [0.0, 0.0, 0.3, 0, 0, 0, -1.0]

    def height():
        return driver.seen["ee_pose"][-1].pose.position.z

    before = height()
    for _ in range(10):
        driver.command(down, 0)
        probe.spin_for(0.1)
    probe.spin_for(0.8)
    moved = height()
    count = len(driver.seen["ee_pose"])
    probe.spin_for(2.0)
    assert moved - before > 0.03
    assert abs(height() - moved) < 0.005
    assert 10 <= len(driver.seen["ee_pose"]) - count <= 25
    stamps = [stamp_to_ns(m.header.stamp) for m in driver.seen["ee_pose"]]
    assert (np.diff(stamps) > 0).all()
    assert abs(time.time_ns() - stamps[-1]) < 2e9


def test_impossible_parameter_ends_the_node_with_its_name(start_node, probe):
    """The error says which parameter, the value and what was expected."""
    process = start_node("sim_robot_node", mode="fast")

    def ended():
        try:
            process.check()
        except NodeProcessError as error:
            return str(error)
        return ""

    text = probe.until(ended, what="the node to end")
    assert "mode: found 'fast', expected one of realtime, lockstep" in text


def test_the_wrist_camera_is_drawn_for_whoever_listens(start_node, probe):
    """Both pictures of a step have its stamp and are of two cameras, whatever the contract."""
    start_node("sim_robot_node", **SIM)
    wrist = probe.collect(Image, "camera/wrist/image_raw", lossless_qos())
    driver = Driver(probe)
    publishers = "camera/wrist/image_raw"
    probe.until(lambda: probe.node.count_publishers(publishers), what="the wrist camera")
    last_ns = stamp_to_ns(driver.reset().stamp)

    def drawn():
        """Whether the picture of the last step has come; steps until one has."""
        nonlocal last_ns
        if not wrist:
            driver.command(ACTIONS[0], last_ns)
            last_ns += STEP_NS
            driver.wait_for(last_ns)
        return any(stamp_to_ns(msg.header.stamp) == last_ns for msg in wrist)

    probe.until(drawn, what="a picture from the wrist")
    front = driver.seen["camera/front/image_raw"][-1]
    assert stamp_to_ns(front.header.stamp) == stamp_to_ns(wrist[-1].header.stamp) == last_ns
    assert front.header.frame_id == "camera_front_optical_frame"
    assert wrist[-1].header.frame_id == "camera_wrist_optical_frame"
    assert (wrist[-1].height, wrist[-1].width) == (128, 128)
    assert front.data.tobytes() != wrist[-1].data.tobytes()

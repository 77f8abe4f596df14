"""Several nodes on one `joint_states`: gate, policy, recorder and doctor take the arm's own."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from doctor_robot import Robot as DoctorRobot
from doctor_robot import running
from gate_harness import GateClient, Sender, moves
from policy_harness import Client, Robot, fake_policies, patient_contract
from recorder_harness import Robot as RecordedRobot
from recorder_harness import read_bag, start, stop
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import GateStatus
from sensor_msgs.msg import JointState

from roboalign_policy.ros.conversions import joint_state_to_msg
from roboalign_policy.ros.qos import reliable_qos
from roboalign_training.commands.doctor_cli import main as doctor

ARM = [f"panda_joint{number}" for number in range(1, 8)]
AGE_S = 2.0  # of a reading of the joints


class Crowd:
    """A gripper and a base on the arm's topic, faster than it and with clocks of their own."""

    def __init__(self, node):
        self._publisher = node.create_publisher(JointState, "joint_states", reliable_qos(50))
        node.create_timer(0.03, self._publish)

    def _publish(self):
        self._publisher.publish(joint_state_to_msg(["finger"], np.ones(1) * 0.02, 0))
        wheels = ["wheel_left", "wheel_right"]
        self._publisher.publish(joint_state_to_msg(wheels, np.zeros(2), 10**9))


class Halves:
    """The arm's joints by two publishers, each with a part of them."""

    def __init__(self, node):
        self.silent = set()
        self._publishers = [
            node.create_publisher(JointState, "joint_states", reliable_qos(5)) for _ in range(2)
        ]
        node.create_timer(0.05, self._publish)

    def _publish(self):
        for number, names in enumerate((ARM[:4], ARM[4:])):
            if number not in self.silent:
                msg = joint_state_to_msg(names, np.zeros(len(names)), time.time_ns())
                self._publishers[number].publish(msg)


@pytest.fixture
def gate(start_node, probe, tmp_path):
    """The gate of sim_panda beside its robot and a sender, neither enabled.

    The test itself publishes everything: on a busy machine it may stall.
    """
    contract = patient_contract(tmp_path, ages={"state.joints": AGE_S})
    start_node("safety_gate_node", contract=contract, candidate_timeout_s=5.0)
    client = GateClient(probe)
    client.robot = Robot(probe)
    client.state(GateStatus.STATE_DISABLED, 30.0)
    client.sender = Sender(probe)
    return client


def drives_on(gate, probe):
    """Commands go out for a while and nothing stops them."""
    gate.state(GateStatus.STATE_ACTIVE)
    count = len(gate.twists)
    probe.until(
        lambda: len(gate.twists) >= count + 20,
        what=lambda: f"commands; the gate: {gate.status[-1].detail}",
    )
    assert {s.state for s in gate.status[-20:]} == {GateStatus.STATE_ACTIVE}, gate.status[-1]
    assert moves(gate.twists[-1])


def test_the_gate_lets_pass_beside_others_and_stops_when_only_they_are_left(gate, probe):
    Crowd(probe.node)
    gate.enable()
    drives_on(gate, probe)
    gate.robot.silent.add("state.joints")
    status = gate.state(GateStatus.STATE_STOPPED)
    assert status.reason == GateStatus.REASON_OBSERVATION_STALE, status.detail
    assert "messages of other joints came: finger; wheel_left, wheel_right" in status.detail
    probe.spin_for(0.3)
    assert not moves(gate.twists[-1])


def test_the_gate_reads_joints_that_come_in_two_messages_and_misses_either(gate, probe):
    gate.robot.silent.add("state.joints")
    probe.spin_for(1.2 * AGE_S)  # a part just after a whole message is a joint that was lost
    halves = Halves(probe.node)
    gate.enable()
    drives_on(gate, probe)
    halves.silent.add(1)
    status = gate.state(GateStatus.STATE_STOPPED)
    assert status.reason == GateStatus.REASON_OBSERVATION_STALE, status.detail
    assert f"only a part of its joints came, not {', '.join(ARM[4:])}" in status.detail


@pytest.mark.parametrize("split", [False, True])
def test_the_policy_drives_beside_others(probe, ros_domain, tmp_path, split):
    # The test itself publishes everything: on a busy machine it may stall.
    policies = fake_policies(tmp_path, output="command", observation_timeout_s=20.0)
    begin = next(policies)
    client, robot = Client(probe), Robot(probe)
    Crowd(probe.node)
    if split:
        robot.silent.add("state.joints")
        Halves(probe.node)
    begin()
    result = client.run("up", max_chunks=3)
    assert result.reason == RunPolicy.Result.REASON_MAX_CHUNKS, result.message
    assert next(policies, None) is None


def test_the_policy_says_which_joints_came_in_place_of_its_own(probe, ros_domain, tmp_path):
    policies = fake_policies(tmp_path, output="command", observation_timeout_s=1.0)
    begin = next(policies)
    client, robot = Client(probe), Robot(probe)
    robot.silent.add("state.joints")
    Crowd(probe.node)
    begin()
    result = client.run("up", max_chunks=3)
    assert result.reason == RunPolicy.Result.REASON_OBSERVATION_FAULT, result.message
    assert "state.joints: never received (messages of other joints came: " in result.message
    assert next(policies, None) is None


def at_rate(probe, robot, count, skip=(), more=lambda: False):
    """Frames at the contract's 10 Hz, however long it takes to publish one.

    As many as are asked for, and while ``more``, for half a minute at most.
    """
    first_ns = time.time_ns()
    for number in range(300):
        if number >= count and not more():
            break
        stamp_ns = first_ns + number * 100_000_000
        while time.time_ns() < stamp_ns:
            probe.spin_for(0.005)
        robot.publish(stamp_ns, skip)


def test_the_recorder_counts_the_arms_messages_alone(probe, recorder, health, tmp_path):
    recorder(contract="sim_panda")
    robot = RecordedRobot(probe)
    robot.wait_for_recorder()
    Crowd(probe.node)
    started = start(probe)
    assert started.ok, started.message

    def counts():
        """By topic, as the newest health says."""
        names = [name.rsplit("/", 1)[-1] for name in health[-1].topics]
        return dict(zip(names, health[-1].counts, strict=True))

    # A busy machine sends less of the crowd in the same time, and health is not of this moment.
    at_rate(probe, robot, 20, more=lambda: counts().get("joint_states", 0) <= 100)
    index = list(counts()).index("joint_states")
    assert health[-1].counts[index] > 100 and health[-1].healthy[index], health[-1].reason
    assert health[-1].rates_hz[index] == pytest.approx(10.0, rel=0.4)
    stopped = stop(probe)
    custom, found = read_bag(stopped.bag_path)
    assert len(found["/joint_states"]) > 100  # what came is recorded all the same
    assert stopped.verdict == "fit"
    others = "messages of other joints (finger; wheel_left, wheel_right)"
    assert others in custom["roboalign.notes"]

    assert start(probe).ok
    at_rate(probe, robot, 5)
    at_rate(probe, robot, 15, skip=("joint_states",))
    assert not health[-1].healthy[index]
    assert "joint_states: silent for" in health[-1].reason
    assert "messages of other joints came: finger" in health[-1].reason
    stop(probe)


def test_the_doctor_finds_the_topic_in_order_and_names_the_others(probe, tmp_path):
    DoctorRobot(probe.node)
    Crowd(probe.node)
    report = tmp_path / "report.json"
    with running(probe):
        doctor(["sim_panda", "--seconds", "2", "--json", str(report)])
    data = json.loads(report.read_text())
    found = [f for f in data["findings"] if f["subject"] == "state.joints"]
    assert not {"fields", "publisher", "clock", "stamps"} & {f["check"] for f in found}, found
    (stream,) = [s for s in data["streams"] if s["key"] == "state.joints"]
    assert set(stream["other_joints"]) == {"finger", "wheel_left, wheel_right"}
    assert stream["count"] < 40 < sum(stream["other_joints"].values())

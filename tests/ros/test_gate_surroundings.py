"""safety_gate_node among others: listeners that come and go, controllers, other gates, buttons."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rclpy
import yaml
from gate_harness import GateClient, Sender, moves
from geometry_msgs.msg import TwistStamped
from policy_harness import TWIST, Robot, patient_contract
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from roboalign_msgs.msg import GateStatus
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from roboalign_policy.nodes.gate.operator_topic import OperatorTopic
from roboalign_policy.ros.qos import reliable_qos

LISTENER = """
import sys, rclpy
from geometry_msgs.msg import TwistStamped
rclpy.init()
node = rclpy.create_node(sys.argv[1])
node.create_subscription(TwistStamped, sys.argv[2], lambda _: print("heard", flush=True), 1)
try:
    rclpy.spin(node)
except BaseException:
    node.destroy_node()
"""


@contextlib.contextmanager
def listener(domain, name):
    """Another participant that listens on the twists under this name."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = Node(name, context=context)
    node.create_subscription(TwistStamped, TWIST, lambda _: None, reliable_qos(1))
    try:
        yield
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


@pytest.fixture
def patient(tmp_path):
    """Parameters of a gate that forgives this test's pauses: streams and sender may be late."""
    contract = patient_contract(tmp_path)
    return {"contract": contract, "cool_down_s": 0.3, "candidate_timeout_s": 5.0}


@pytest.fixture
def start_gate(start_node, probe, patient):
    """Function that starts a patient gate with a robot of topics in front of it."""

    def begin(**parameters):
        process = start_node("safety_gate_node", **{**patient, **parameters})
        client = GateClient(probe)
        client.process, client.robot = process, Robot(probe)
        client.state(GateStatus.STATE_DISABLED, 60.0)
        return client

    return begin


def drive(gate, probe):
    """Enable it and drive."""
    gate.sender = Sender(probe)
    gate.enable()
    gate.state(GateStatus.STATE_ACTIVE)
    probe.until(lambda: len(gate.twists) >= 3, what="commands")
    return gate


def goes_on(gate, probe, seconds):
    """The arm is driven all the time: at the end too, however late that is heard."""
    probe.spin_for(seconds)
    count = len(gate.twists)
    probe.until(
        lambda: len(gate.twists) > count or gate.status[-1].state != GateStatus.STATE_ACTIVE,
        what="commands",
    )
    status = gate.status[-1]
    assert (status.state, status.stops) == (GateStatus.STATE_ACTIVE, 0), status.detail
    assert moves(gate.twists[-1])


def test_who_only_listens_comes_and_goes(start_gate, probe, ros_domain, tmp_path):
    """A second recorder, a closed `topic hz`, a killed `topic echo`, a plotter: each twice."""
    with listener(ros_domain, "rosbag2_recorder"), contextlib.ExitStack() as early:
        gate = start_gate()
        early.enter_context(listener(ros_domain, "_ros2cli_99"))
        probe.spin_for(1.0)
        drive(gate, probe)
        early.close()
        goes_on(gate, probe, 0.5)
        for _ in range(2):
            with listener(ros_domain, "rosbag2_recorder"), listener(ros_domain, "plotter"):
                goes_on(gate, probe, 0.7)
            goes_on(gate, probe, 0.4)
        for name in ("_ros2cli_4711", "plotter"):
            for end in (signal.SIGKILL, signal.SIGINT):
                # A process of its own, as `ros2 topic echo` is.
                log = tmp_path / "listener.log"
                with log.open("w") as output:
                    command = [sys.executable, "-c", LISTENER, name, TWIST]
                    process = subprocess.Popen(command, stdout=output)
                probe.until(lambda log=log: "heard" in log.read_text(), 60.0, "the listener")
                goes_on(gate, probe, 0.3)
                process.send_signal(end)
                process.wait()
                goes_on(gate, probe, 0.5)


@pytest.mark.parametrize("how", ["anew", "left"])
def test_a_controller_is_missed_also_beside_those_that_listen_on(
    start_gate, probe, ros_domain, how
):
    gate = start_gate()
    with contextlib.ExitStack() as stack:
        controller = stack.enter_context(contextlib.ExitStack())
        controller.enter_context(listener(ros_domain, "arm_controller"))
        stack.enter_context(listener(ros_domain, "rosbag2_recorder"))
        probe.spin_for(1.0)
        drive(gate, probe)
        goes_on(gate, probe, 0.5)
        if how == "left":
            controller.close()
        else:  # the first one is still known: killed elsewhere, nobody signs off
            stack.enter_context(listener(ros_domain, "arm_controller"))
        status = gate.state(GateStatus.STATE_STOPPED)
        assert status.reason == GateStatus.REASON_NO_CONTROLLER
        what = "has left" if how == "left" else "was started anew"
        assert f"/arm_controller on /{TWIST} {what}" in status.detail
        probe.until(lambda: not moves(gate.twists[-1]), what="the safe action")
        probe.spin_for(0.5)
        assert gate.reset().success
        gate.enable()
        gate.state(GateStatus.STATE_ACTIVE)


def test_a_contract_names_the_controllers(start_gate, probe, ros_domain, patient):
    path = Path(patient["contract"])
    data = yaml.safe_load(path.read_text())
    data["action"]["commands"][0]["controllers"] = ["arm_controller"]
    path.write_text(yaml.safe_dump(data))
    gate = start_gate()
    probe.spin_for(1.0)
    answer = gate.call(SetBool, "enable", data=True)
    missing = f"no controller /arm_controller on /{TWIST} (there: /probe)"
    assert not answer.success and missing in answer.message
    with contextlib.ExitStack() as controller:
        controller.enter_context(listener(ros_domain, "arm_controller"))
        with listener(ros_domain, "plotter"):
            probe.spin_for(0.5)
            drive(gate, probe)
        goes_on(gate, probe, 0.5)  # it was there when the gate was enabled, and is no controller
        controller.close()
        status = gate.state(GateStatus.STATE_STOPPED)
        assert status.detail == f"/arm_controller on /{TWIST} has left"


def test_of_two_launches_the_second_refuses_to_enable_and_the_first_drives_on(
    start_gate, start_node, probe, patient
):
    gate = drive(start_gate(), probe)
    twin = start_node("safety_gate_node", enabled=True, **patient)
    told = "another safety gate, /safety_gate_node (of the same name: a second launch?), publishes"
    until_s = time.monotonic() + 30.0
    while told not in twin.tail():
        assert time.monotonic() < until_s, twin.tail()
        probe.spin_for(0.2)
    goes_on(gate, probe, 1.5)
    assert {s.state for s in gate.status[-20:]} == {GateStatus.STATE_ACTIVE}  # one gate speaks
    count = len(gate.twists)
    gate.process.stop()
    probe.spin_for(2.5)
    # The end of the first one's motion begins none of the second's, though it asked to be enabled.
    # What the first one sent before its end may still be on its way when it has ended.
    motions = [moves(twist) for twist in gate.twists[count:]]
    assert False in motions and not any(motions[motions.index(False) :])
    assert "ready" not in twin.tail()
    gate.enable()
    gate.state(GateStatus.STATE_ACTIVE)
    assert probe.until(lambda: gate.status[-1].passed, what="commands of the second")


def test_a_gate_of_another_name_refuses_too_and_one_that_is_enabled_stops(start_gate, probe):
    """The other gate is a node of the test's own: its status says what it is told to say."""
    gate = start_gate()
    node = probe.node
    other = Node("left_gate", context=node.context)
    probe.executor.add_node(other)
    status = other.create_publisher(GateStatus, "~/status", reliable_qos(10))
    twists = other.create_publisher(TwistStamped, TWIST, reliable_qos(10))
    said = GateStatus(state=GateStatus.STATE_DISABLED)
    timer = other.create_timer(0.05, lambda: status.publish(said))
    probe.spin_for(1.5)
    answer = gate.call(SetBool, "enable", data=True)
    assert not answer.success
    assert f"two senders: another safety gate, /left_gate, publishes on /{TWIST}" in answer.message
    timer.cancel()  # killed: it says nothing any more, and is still known
    drive(gate, probe)
    goes_on(gate, probe, 0.3)
    timer.reset()
    goes_on(gate, probe, 0.5)  # disabled, it does no harm
    said.state = GateStatus.STATE_READY
    stopped = gate.state(GateStatus.STATE_STOPPED)
    assert stopped.reason == GateStatus.REASON_TWO_SENDERS and "is enabled" in stopped.detail
    assert "/left_gate" in stopped.detail
    other.destroy_publisher(twists)
    other.destroy_node()


def test_who_publishes_past_the_gate_is_named(start_gate, probe):
    gate = start_gate()
    joystick = Node("joystick", context=probe.node.context)
    joystick.create_publisher(TwistStamped, TWIST, reliable_qos(10))
    drive(gate, probe)
    what = f"another node publishes: /joystick on /{TWIST}"
    probe.until(lambda: gate.status[-1].detail == what, what=lambda: gate.status[-1].detail)
    goes_on(gate, probe, 0.3)
    joystick.destroy_node()


MIXES = [
    (reliability, durability)
    for reliability in (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT)
    for durability in (DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL)
]


@pytest.mark.parametrize(("reliability", "durability"), MIXES)
def test_a_button_is_heard_once_whatever_its_qos(
    ros_domain, probe, capfd, reliability, durability
):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=ros_domain)
    node = Node("gate", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    qos = QoSProfile(depth=1, reliability=reliability, durability=durability)
    button = probe.node.create_publisher(Bool, "estop", qos)
    button.publish(Bool(data=True))  # before the gate came
    heard, commands = [], []
    estop = OperatorTopic(node, Bool, "estop", lambda m: heard.append(m.data), latched=True)
    OperatorTopic(node, Bool, "estop", lambda m: commands.append(m.data))
    node.create_timer(0.05, estop.look)

    def spin(seconds):
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            executor.spin_once(timeout_sec=0.02)

    spin(1.0)
    keeps = (reliability, durability) == MIXES[1]
    assert heard == [True] * keeps  # what a publisher keeps is heard late
    assert not commands  # an old command is none
    sent = [number % 3 == 0 for number in range(12)]
    for value in sent:
        button.publish(Bool(data=value))
        spin(0.05)
    spin(0.3)
    assert heard[keeps:] == sent and commands == sent
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    said = capfd.readouterr().err
    assert not [line for line in said.splitlines() if "incompatible" in line and "[gate]" in line]
    if reliability == ReliabilityPolicy.RELIABLE:
        assert "incompatible" not in said  # nor does the publisher complain

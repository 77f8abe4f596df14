"""safety_gate_node between real topics: what passes, what stops, what reaches the controllers."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from gate_harness import DOWN, GateClient, Sender, moves
from geometry_msgs.msg import TwistStamped
from policy_harness import GRIPPER, TWIST, Robot, patient_contract
from roboalign_msgs.msg import GateStatus
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.ros.qos import reliable_qos


@pytest.fixture
def gate(request, start_node, probe, tmp_path):
    """A gate of sim_panda with a robot of topics in front of it; not enabled.

    The test itself sends: on a busy machine it may be late. A parameter: the streams that may not.
    """
    process = start_node(
        "safety_gate_node",
        contract=patient_contract(tmp_path, getattr(request, "param", ())),
        cool_down_s=0.3,
        candidate_timeout_s=2.0,
    )
    client = GateClient(probe)
    client.process, client.robot = process, Robot(probe)
    client.state(GateStatus.STATE_DISABLED, 30.0)
    return client


@pytest.fixture
def driving(gate, probe):
    """The same, enabled and driven down."""
    gate.sender = Sender(probe)
    gate.enable()
    gate.state(GateStatus.STATE_ACTIVE)
    probe.until(lambda: len(gate.twists) >= 3, what="commands")
    return gate


def stopped(gate, probe, reason, state=GateStatus.STATE_STOPPED):
    """Latched for this reason; a twist of zeros was the last thing that reached the controller."""
    status = gate.state(state)
    assert status.reason == reason, status.detail
    probe.spin_for(0.3)  # the repeats of the safe action
    count = len(gate.twists)
    assert not moves(gate.twists[-1]) and moves(gate.twists[0])
    probe.spin_for(0.5)
    assert len(gate.twists) == count
    return status


def test_nothing_reaches_the_controllers_before_enable(gate, probe):
    Sender(probe)
    probe.spin_for(1.0)
    assert not gate.twists and not gate.grippers
    assert gate.status[-1].reason == GateStatus.REASON_NOT_ENABLED


def test_enabled_it_passes_candidates_as_the_contract_writes_them(driving, probe):
    twist = driving.twists[-1]
    assert twist.twist.linear.z == pytest.approx(DOWN[2] / 2.0)
    assert twist.header.frame_id == "base_link"
    assert driving.grippers[-1].points[0].positions[0] == pytest.approx(-1.0)
    probe.until(lambda: driving.status[-1].passed >= 3, what="the count of commands")
    assert driving.status[-1].source == driving.sender.source
    report = probe.until(
        lambda: next((r for r in driving.reports if "camera_to_command" in r.stages), None),
        what="a latency report",
    )
    camera = dict(zip(report.stages, report.p50_s, strict=True))
    assert 0.004 < camera["camera_to_command"] < 2.0
    parts = [camera[s] for s in ("camera_to_receipt", "receipt_to_request", "request_to_answer")]
    np.testing.assert_allclose(parts, 0.001, atol=1e-6)
    assert "age:image.front" in report.stages
    entries = {"safety_gate_node: gate", "safety_gate_node: latency"}
    probe.until(
        lambda: entries <= {s.name for m in driving.diagnostics for s in m.status},
        what="the gate's entries in /diagnostics",
    )


def test_the_stop_service_reaches_the_controller_and_latches(driving, probe):
    assert driving.press().success
    stopped(driving, probe, GateStatus.REASON_ESTOP, GateStatus.STATE_ESTOP)
    probe.spin_for(0.3)
    assert driving.reset().success
    driving.state(GateStatus.STATE_DISABLED)
    count = len(driving.twists)
    probe.spin_for(0.5)
    assert len(driving.twists) == count  # a reset moves nothing
    driving.enable()
    driving.state(GateStatus.STATE_ACTIVE)
    probe.until(lambda: moves(driving.twists[-1]), what="motion after reset and enable")


def test_the_stop_topic_latches_and_cannot_be_reset_while_pressed(driving, probe):
    button = probe.node.create_publisher(Bool, "estop", reliable_qos(1, latched=True))
    button.publish(Bool(data=True))
    status = stopped(driving, probe, GateStatus.REASON_ESTOP, GateStatus.STATE_ESTOP)
    assert status.estop_pressed
    answer = driving.reset()
    assert not answer.success and "pressed" in answer.message
    button.publish(Bool(data=False))
    probe.until(lambda: driving.reset().success, what="the reset after the release")


STREAMS = ["image.front", "state.joints", "state.ee", "state.gripper"]


@pytest.mark.parametrize(
    ("gate", "stream"),
    [((stream,), stream) for stream in STREAMS],
    indirect=["gate"],
)
def test_a_silent_stream_stops(driving, probe, stream):
    driving.robot.silent.add(stream)
    status = stopped(driving, probe, GateStatus.REASON_OBSERVATION_STALE)
    assert stream in status.detail
    driving.robot.silent.clear()
    count = len(driving.twists)
    probe.spin_for(0.8)
    assert len(driving.twists) == count  # the return of the stream is no reset


@pytest.mark.parametrize("gate", [("image.front",)], indirect=True)
def test_a_frozen_camera_with_fresh_stamps_stops(driving, probe):
    driving.robot.frozen = True
    stopped(driving, probe, GateStatus.REASON_OBSERVATION_FROZEN)


def test_an_image_of_another_size_stops(driving, probe):
    driving.robot.height = 96
    status = stopped(driving, probe, GateStatus.REASON_OBSERVATION_UNREADABLE)
    assert "96 x 128, expected 128 x 128" in status.detail


def test_a_sender_that_dies_stops(driving, probe):
    driving.sender.running = False
    stopped(driving, probe, GateStatus.REASON_CANDIDATE_SILENT)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((0.0, np.nan, 0.0, 0.0, 0.0, 0.0, -1.0), GateStatus.REASON_NON_FINITE),
        ((0.0, 1.5, 0.0, 0.0, 0.0, 0.0, -1.0), GateStatus.REASON_OUT_OF_LIMITS),
    ],
)
def test_bad_values_stop(driving, probe, values, reason):
    driving.sender.send(CandidateKind.MOTION, values)
    stopped(driving, probe, reason)


def test_a_fault_of_the_sender_stops(driving, probe):
    driving.sender.send(CandidateKind.FAULT, reason="chunk refused: undecodable")
    status = stopped(driving, probe, GateStatus.REASON_SENDER_FAULT)
    assert "undecodable" in status.detail


def test_ctrl_c_sends_the_safe_action_last_and_writes_the_report(start_node, probe, tmp_path):
    report = tmp_path / "latency.json"
    process = start_node(
        "safety_gate_node",
        contract=patient_contract(tmp_path),
        report_file=str(report),
        candidate_timeout_s=2.0,
    )
    gate = GateClient(probe)
    gate.robot, gate.sender = Robot(probe), Sender(probe)
    gate.enable()
    probe.until(lambda: len(gate.twists) >= 3, what="commands")
    assert process.stop() == 0, process.tail()
    probe.spin_for(0.2)
    assert not moves(gate.twists[-1])
    record = json.loads(report.read_text())
    assert record["stages"]["camera_to_command"]["count"] >= 3
    assert "Traceback" not in process.tail()


def test_without_a_controller_it_cannot_be_enabled(start_node, probe):
    start_node("safety_gate_node", contract="sim_panda")
    status = probe.collect(GateStatus, "safety_gate_node/status", reliable_qos(10))
    Robot(probe)
    probe.until(lambda: status, what="a status")
    probe.spin_for(1.0)
    answer = probe.call(SetBool, "safety_gate_node/enable", data=True)
    assert not answer.success and "no subscriber" in answer.message and TWIST in answer.message


def test_dry_run_shows_what_would_be_sent_and_sends_nothing(start_node, probe, tmp_path):
    start_node(
        "safety_gate_node",
        contract=patient_contract(tmp_path),
        dry_run=True,
        enabled=True,
        candidate_timeout_s=2.0,
    )
    live = probe.collect(TwistStamped, TWIST, reliable_qos(50))
    gate = GateClient(probe, "dry_run/")
    Robot(probe), Sender(probe)
    assert gate.state(GateStatus.STATE_ACTIVE, 30.0).dry_run
    probe.until(lambda: len(gate.twists) >= 3 and gate.grippers, what="dry commands")
    assert moves(gate.twists[-1]) and not live


def test_a_person_takes_over_and_hands_back(driving, probe):
    node = probe.node
    twists = node.create_publisher(TwistStamped, f"teleop/{TWIST}", reliable_qos(1))
    grippers = node.create_publisher(JointTrajectory, f"teleop/{GRIPPER}", reliable_qos(1))
    msg = TwistStamped()
    msg.twist.linear.x = 0.1
    squeeze = JointTrajectory(joint_names=["gripper"])
    squeeze.points = [JointTrajectoryPoint(positions=[-1.0])]

    def drive():
        grippers.publish(squeeze), twists.publish(msg)
        probe.spin_for(0.05)

    until_s = time.monotonic() + 30.0
    while driving.status[-1].source != "teleoperation" and time.monotonic() < until_s:
        drive()
    driven = 0

    def velocities():
        return [msg.twist.linear for msg in driving.twists]

    while driven < 20:  # anew where test or gate stood still: that had to be taken for silence
        began_s = time.monotonic()
        assert began_s < until_s, f"no second of the person's commands, last {velocities()}"
        if not driven:
            driving.twists.clear()
        drive()
        person = all((v.x, v.z) == (pytest.approx(0.1), 0.0) for v in velocities())
        driven = driven + 1 if person and time.monotonic() - began_s < 0.15 else 0
    assert len(velocities()) >= 5
    assert driving.status[-1].stops == 0
    probe.until(
        lambda: driving.status[-1].source == driving.sender.source, what="the policy to go on"
    )
    assert driving.status[-1].stops == 0


def test_a_controller_that_is_killed_stops_the_arm_at_once(gate, probe, tmp_path):
    """The middleware would go on for many seconds as if it were there."""
    script = tmp_path / "controller.py"
    script.write_text(
        "import rclpy\nfrom geometry_msgs.msg import TwistStamped\nrclpy.init()\n"
        "node = rclpy.create_node('arm_controller')\n"
        "def heard(_):\n    print('heard', flush=True)\n"
        f"node.create_subscription(TwistStamped, '{TWIST}', heard, 1)\nrclpy.spin(node)\n"
    )
    log = tmp_path / "controller.log"

    def begin():
        with log.open("w") as output:
            process = subprocess.Popen([sys.executable, str(script)], stdout=output)
        probe.until(lambda: "arm_controller" in probe.node.get_node_names(), what="the controller")
        probe.spin_for(0.5)
        return process

    process = begin()
    try:
        gate.sender = Sender(probe)
        gate.enable()
        gate.state(GateStatus.STATE_ACTIVE)
        # The gate knows the controller: what it sends arrives there.
        probe.until(lambda: "heard" in log.read_text(), what="a command at the controller")
        probe.spin_for(0.3)
        assert gate.status[-1].state == GateStatus.STATE_ACTIVE, gate.status[-1]
        process.kill()
        process.wait()
        killed_s = time.monotonic()
        status = gate.state(GateStatus.STATE_STOPPED)
        assert time.monotonic() - killed_s < 1.0
        assert status.reason == GateStatus.REASON_NO_CONTROLLER
        assert f"/arm_controller on /{TWIST} has ended" in status.detail
        process = begin()  # the ended one is still in the graph: that must not keep the gate shut
        probe.until(lambda: gate.reset().success, what="the reset")
        gate.enable()
        gate.state(GateStatus.STATE_ACTIVE)
    finally:
        process.kill()
        process.wait()

"""policy_node in front of a safety gate: what it sends of each kind, and that it obeys."""

from __future__ import annotations

import numpy as np
import pytest
from policy_harness import Client, Gate, Robot, fake_policies, patient_contract
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import Candidate, GateStatus, PolicyStatus
from std_msgs.msg import String
from std_srvs.srv import SetBool

from roboalign_policy.nodes.node_process import NodeProcess, NodeProcessError
from roboalign_policy.nodes.start import module_of
from roboalign_policy.ros.qos import reliable_qos
from roboalign_policy.ros.stamps import stamp_to_ns

Result = RunPolicy.Result
ALIVE, MOTION, HOLD = Candidate.KIND_ALIVE, Candidate.KIND_MOTION, Candidate.KIND_HOLD
END, FAULT = Candidate.KIND_END, Candidate.KIND_FAULT
HASH = "f" * 64


@pytest.fixture
def start_policy(ros_domain, tmp_path):
    """Function that starts the node."""
    yield from fake_policies(tmp_path)


@pytest.fixture
def client(probe):
    return Client(probe)


def driving(gate, client, instruction="up"):
    """Send a goal and wait until the arm would move; the goal's handle."""
    handle = client.send(instruction)
    client.probe.until(lambda: gate.kinds().count(MOTION) >= 3, what="motion")
    return handle


def enabled(probe, start_policy, instruction="up"):
    """Start the node so that it drives by itself; the publisher of its task."""
    task = probe.node.create_publisher(String, "task", reliable_qos(1, latched=True))
    start_policy(enabled=True)
    task.publish(String(data=instruction))
    return task


@pytest.mark.parametrize("mode", ["sync", "auto"])  # auto: sync for end-effector steps
def test_a_run_sends_every_kind_in_order_and_no_command(start_policy, client, probe, mode):
    Robot(probe)
    gate = Gate(probe)
    start_policy(mode=mode)
    handle = client.send("slow and steady")  # the model thinks for 1.5 s
    probe.until(lambda: HOLD in gate.kinds(), what="a hold after the first chunk")
    probe.until(lambda: "holding: no chunk" in client.status[-1].reason, what="the reason")
    assert client.status[-1].state == PolicyStatus.STATE_RUNNING
    handle.cancel_goal_async()
    assert client.result(handle).reason == Result.REASON_CANCELLED
    probe.until(lambda: END in gate.kinds(), what="the end")
    probe.spin_for(0.3)

    kinds = gate.kinds()
    assert kinds.count(END) == 1
    assert kinds[-1] == END
    first, hold = kinds.index(MOTION), kinds.index(HOLD)
    assert set(kinds[:first]) == {ALIVE}
    assert kinds[first:hold].count(MOTION) == 8
    sequences = [msg.sequence_id for msg in gate.candidates]
    assert sequences == list(range(1, len(sequences) + 1))
    assert {msg.source for msg in gate.candidates} == {HASH}
    assert {msg.header.frame_id for msg in gate.candidates} == {"base_link"}

    motion = gate.candidates[first]
    assert motion.dimension_names == ["dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper"]
    assert (motion.steps, motion.step_s, motion.chunk_id) == (1, pytest.approx(0.1), 1)
    np.testing.assert_allclose(motion.data, [0, 0, 0.2, 0, 0, 0, -1], atol=1e-6)
    stages = [motion.observation_stamp, motion.received_stamp, motion.requested_stamp]
    stages = [stamp_to_ns(s) for s in (*stages, motion.answered_stamp, motion.header.stamp)]
    assert stages == sorted(stages)
    assert stages[3] - stages[2] >= 1.5e9  # the model's own time
    assert stages[2] - stages[0] < 1.5e9
    np.testing.assert_allclose(gate.candidates[hold].data, [0, 0, 0, 0, 0, 0, -1], atol=1e-6)
    assert len(gate.candidates[0].data) == 0
    # Not even the topics are there: only the gate writes commands.
    assert (client.twists, client.grippers) == ([], [])
    topics = [
        name for name, _ in probe.node.get_publisher_names_and_types_by_node("policy_node", "/")
    ]
    assert "/candidate" in topics
    assert not [name for name in topics if "servo_node" in name or "gripper_controller" in name]


def test_a_closed_gate_gets_nothing_and_a_goal_waits_only_so_long(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe, GateStatus.STATE_DISABLED)
    gate.say(GateStatus.STATE_DISABLED, GateStatus.REASON_NOT_ENABLED, "call ~/enable")
    start_policy(observation_timeout_s=1.0)
    handle = client.send("up")
    client.state(PolicyStatus.STATE_GATE_HOLD)
    result = client.result(handle)
    assert (result.reason, result.steps) == (Result.REASON_GATE_STOP, 0)
    assert result.message.endswith("s: gate: not enabled: call ~/enable")
    assert (gate.candidates, client.chunks) == ([], [])

    gate.silent = True
    probe.spin_for(3.2)
    result = client.run("up")
    assert result.reason == Result.REASON_GATE_STOP
    assert "gate: silent for" in result.message
    assert gate.candidates == []


def test_without_any_gate_nothing_happens(start_policy, client, probe):
    Robot(probe)
    start_policy(observation_timeout_s=0.5)
    result = client.run("up")
    assert result.reason == Result.REASON_GATE_STOP
    assert "no status heard, is safety_gate_node running?" in result.message


def test_a_gate_that_dies_ends_the_run(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    handle = driving(gate, client)
    gate.silent = True
    result = client.result(handle)
    assert result.reason == Result.REASON_GATE_STOP
    assert "gate: silent for 3.0 s" in result.message
    assert result.steps > 0
    probe.spin_for(0.5)  # what was sent before the result, on another topic, may be heard after it
    count = len(gate.candidates)
    probe.spin_for(0.5)
    assert len(gate.candidates) == count
    assert FAULT not in gate.kinds()


def test_a_latched_gate_ends_the_run_which_begins_again_after_reset_and_enable(
    start_policy, client, probe
):
    Robot(probe)
    gate = Gate(probe)
    enabled(probe, start_policy)
    probe.until(lambda: gate.kinds().count(MOTION) >= 3, what="motion")
    gate.say(GateStatus.STATE_STOPPED, GateStatus.REASON_JOINT_LIMIT, "joint1 at 3 rad")
    client.state(PolicyStatus.STATE_GATE_HOLD)
    assert client.status[-1].reason == "gate: stopped: joint limit: joint1 at 3 rad"
    probe.spin_for(0.3)
    gate.candidates.clear()
    probe.spin_for(1.0)
    assert gate.candidates == []
    gate.say(GateStatus.STATE_DISABLED, GateStatus.REASON_NOT_ENABLED)
    probe.spin_for(0.5)
    assert gate.candidates == []
    gate.say(GateStatus.STATE_READY)
    probe.until(lambda: MOTION in gate.kinds(), what="motion again")


def test_a_person_takes_over_and_lets_go(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    handle = driving(gate, client)
    gate.say(GateStatus.STATE_ACTIVE, source="teleoperation")
    status = client.state(PolicyStatus.STATE_GATE_HOLD)
    assert status.reason == "gate: teleoperation drives"
    probe.spin_for(0.3)
    gate.candidates.clear()
    probe.spin_for(1.0)
    assert set(gate.kinds()) == {ALIVE}
    chunks = len(client.chunks)
    let_go_ns = probe.node.get_clock().now().nanoseconds
    gate.say(GateStatus.STATE_READY)
    probe.until(lambda: MOTION in gate.kinds() and client.chunks[chunks:], what="motion again")
    assert stamp_to_ns(client.chunks[chunks].observation_stamp) >= let_go_ns
    handle.cancel_goal_async()
    assert client.result(handle).reason == Result.REASON_CANCELLED


def test_the_policy_gets_what_the_running_chunk_still_holds(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    start_policy(replan_after_steps=3, mode="async_blend")
    driving(gate, client, "rest")

    def left():
        return [int(msg.data.split()[0]) for msg in client.reasonings]

    # Of 8, 3 are executed, of which some may be skipped ones. On a busy machine an image may be
    # from before the last of them, and more are left: not every time.
    probe.until(lambda: {3, 4, 5} & set(left()), what="an answer that was told of 3 to 5 steps")
    assert left()[0] == 0


def test_lost_camera_is_a_fault_and_the_gate_stops(start_policy, client, probe, tmp_path):
    robot = Robot(probe)
    gate = Gate(probe)
    start_policy(contract=patient_contract(tmp_path, late=("image.front",)))
    handle = driving(gate, client)
    robot.silent.add("image.front")
    result = client.result(handle)
    assert result.reason == Result.REASON_GATE_STOP
    assert "image.front: stale" in result.message
    # Sent before the result, on another topic: it may be heard after it.
    probe.until(lambda: FAULT in gate.kinds(), what="a fault")
    last = gate.candidates[-1]
    assert last.kind == FAULT
    assert "image.front: stale" in last.reason
    assert "state." not in last.reason
    probe.spin_for(0.5)
    assert gate.candidates[-1] is last


def test_refused_chunk_while_driving_is_a_fault(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    task = enabled(probe, start_policy)
    probe.until(lambda: gate.kinds().count(MOTION) >= 3, what="motion")
    task.publish(String(data="big"))
    probe.until(lambda: FAULT in gate.kinds(), what="a fault")
    assert "out_of_limits: dy at step 3 is 1.5" in gate.candidates[-1].reason
    client.state(PolicyStatus.STATE_GATE_HOLD)
    assert gate.candidates[-1].kind == FAULT


def test_hung_model_is_a_fault(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    start_policy(inference_timeout_s=0.5)
    result = client.run("slow")
    assert result.reason == Result.REASON_INFERENCE_FAULT
    assert "the model has not answered for 0." in result.message
    assert client.state(PolicyStatus.STATE_FAULT).reason == result.message
    probe.spin_for(1.5)  # its answer comes now, and moves nothing
    assert set(gate.kinds()[:-1]) == {ALIVE}
    assert (gate.candidates[-1].kind, gate.candidates[-1].reason) == (FAULT, result.message)


def test_disabling_ends_in_order_and_withdrawn_instructions_too(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    task = enabled(probe, start_policy)
    probe.until(lambda: gate.kinds().count(MOTION) >= 3, what="motion")
    task.publish(String(data=""))
    probe.until(lambda: gate.kinds()[-1] == END, what="the end")
    task.publish(String(data="down"))
    probe.until(lambda: gate.kinds()[-1] == MOTION, what="motion again")
    probe.call(SetBool, "policy_node/enable", data=False)
    probe.until(lambda: gate.kinds()[-1] == END, what="the second end")
    probe.spin_for(0.3)
    assert gate.kinds().count(END) == 2


def test_candidates_in_lock_step_are_refused(ros_domain, tmp_path, probe):
    parameters = {"autostart": True, "execution": "lockstep", "policy": "unused"}
    process = NodeProcess(module_of("policy_node"), parameters, tmp_path / "log")
    words = []

    def ended():
        try:
            process.check()
        except NodeProcessError as error:
            words.append(str(error))
        return words

    probe.until(ended, what="the node to end")
    assert "output: found candidate, expected command with execution: lockstep" in words[0]

"""`roboalign run` against live nodes: what it shows, how it ends, why it cannot begin."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from policy_harness import Client, Gate, Robot, fake_policies
from rclpy.action import ActionServer
from rclpy.node import Node
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import Candidate, GateStatus, PolicyStatus
from std_msgs.msg import String

from roboalign_policy.ros.qos import reliable_qos

run_cli = pytest.importorskip("roboalign_training.commands.run_cli", reason="needs both packages")

TASK = "up to the lamp"


@pytest.fixture
def start_policy(ros_domain, tmp_path):
    """Function that starts the node."""
    yield from fake_policies(tmp_path)


@pytest.fixture
def run(probe, tmp_path):
    """Function that starts the command; its output goes to a file that `said` reads."""
    started = []

    class Run:
        def __init__(self, *options, wait="60", stdout=None):
            self.log = tmp_path / f"run-{len(started)}.log"
            self.process = subprocess.Popen(
                [sys.executable, "-m", "roboalign_training.cli", "run", "--wait", wait, *options],
                stdout=stdout or self.log.open("w"), stderr=subprocess.STDOUT,
            )  # fmt: skip
            started.append(self.process)

        @property
        def said(self):
            return " ".join(self.log.read_text().split())

        def status(self, timeout_s=120.0):
            probe.until(lambda: self.process.poll() is not None, timeout_s, lambda: self.said)
            return self.process.returncode

        def until_said(self, words):
            probe.until(lambda: words in self.said, 120.0, lambda: f"{words!r} in {self.said!r}")

    yield Run
    for process in started:
        process.kill()
        process.wait()


def moves_after(gate, mark):
    """Candidates behind the `mark`-th that would move the arm."""
    return [c for c in gate.candidates[mark:] if c.kind == Candidate.KIND_MOTION]


def test_thoughts_and_the_time_limit(start_policy, probe, run):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    command = run(TASK, "--timeout", "3")
    assert command.status() == 0, command.said
    assert f"task “{TASK}”; ctrl-C cancels it" in command.said
    assert re.search(rf"\d\.\d s thinking of {TASK}", command.said)
    end = re.search(r"time limit after ([\d.]+) s, (\d+) chunks, (\d+) steps; the arm is held",
                    command.said)  # fmt: skip
    assert 3.0 <= float(end[1]) < 5.0
    assert int(end[2]) >= 1
    assert int(end[3]) > 8
    assert gate.kinds()[-1] == Candidate.KIND_END


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_cancels_and_the_arm_is_held(start_policy, probe, run, number):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    command = run(TASK, "--timeout", "0")
    command.until_said("thinking of")
    probe.until(lambda: gate.kinds().count(Candidate.KIND_MOTION) >= 3, what="motion")
    command.process.send_signal(number)
    assert command.status() == 130, command.said
    assert "cancelling: the arm is held" in command.said
    assert re.search(r"cancelled after [\d.]+ s, \d+ chunks, \d+ steps; the arm is held$",
                     command.said)  # fmt: skip
    mark = len(gate.candidates)
    probe.spin_for(0.5)
    assert Candidate.KIND_END in gate.kinds()
    assert moves_after(gate, mark) == []


def test_a_reader_that_goes_away_cancels_too(start_policy, probe, run):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    reading, writing = os.pipe()
    command = run(TASK, "--timeout", "0", stdout=writing)
    os.close(writing)
    probe.until(lambda: gate.kinds().count(Candidate.KIND_MOTION) >= 3, 60.0, "motion")
    os.close(reading)
    assert command.status() != 0
    probe.until(lambda: gate.kinds()[-1] == Candidate.KIND_END, what="the end of the run")


def test_what_a_simulator_calls_done_ends_the_task(start_policy, probe, run):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    scene = probe.node.create_publisher(String, "scene", reliable_qos(10))
    facts = {"success": False, "instruction": TASK}
    probe.node.create_timer(0.1, lambda: scene.publish(String(data=json.dumps(facts))))
    limit = run(TASK, "--timeout", "2")
    assert limit.status() == 1, limit.said
    assert "not done: time limit after" in limit.said
    command = run(TASK)
    command.until_said("thinking of")
    facts["success"] = True
    assert command.status() == 0, command.said
    assert re.search(r"success after [\d.]+ s, \d+ chunks, \d+ steps", command.said)
    assert gate.kinds()[-1] == Candidate.KIND_END
    for _ in range(5):  # on a busy machine the simulator may not be found in time
        mark = len(gate.candidates)
        again = run(TASK)
        assert again.status() == 0, again.said
        if "no task was sent" in again.said:
            break
    assert "done already" in again.said and "no task was sent" in again.said
    assert moves_after(gate, mark) == []
    other = run("down to the floor", "--timeout", "2")  # the simulator judges another task
    assert other.status() == 0, other.said
    assert "success" not in other.said


def test_a_new_scene_of_the_simulated_arm(start_policy, start_node, probe, run):
    gate = Gate(probe)
    start_policy(observation_timeout_s=20.0)
    task = "put the blue cube on the plate"
    lost = run(task, "--scene", "3")
    assert lost.status() == 1 and "--scene: found no sim_robot_node" in lost.said
    start_node("sim_robot_node", mode="realtime")
    scenes = probe.collect(String, "scene", reliable_qos(10))
    probe.until(lambda: scenes, what="the simulator")
    moved = run(task, "--scene", "3", "--timeout", "1.5")
    assert moved.status() == 1 and "not done: time limit" in moved.said, moved.said
    scene = json.loads(scenes[-1].data)
    assert (scene["seed"], scene["instruction"], scene["success"]) == (3, task, False)
    assert gate.kinds()[-1] == Candidate.KIND_END
    bad = run(task, "--scene", "-1")
    assert bad.status() == 2 and "--scene: found '-1', expected a whole number" in bad.said


def test_a_result_that_is_lost_on_the_way_is_asked_for_again(probe, run):
    """policy_node is here a node of the test's own, which does not hear the first question."""
    node = Node("policy_node", context=probe.node.context)
    probe.executor.add_node(node)

    def end(handle):
        handle.succeed()
        return RunPolicy.Result(reason=RunPolicy.Result.REASON_TIMEOUT, steps=4, chunks=1)

    server, asked = ActionServer(node, RunPolicy, "~/run_policy", end), []
    answer = server._execute_get_result_request

    async def deaf_at_first(question):
        asked.append(question)
        if len(asked) > 1:
            await answer(question)

    server._execute_get_result_request = deaf_at_first
    status = node.create_publisher(PolicyStatus, "~/status", reliable_qos(10))
    idle = PolicyStatus(state=PolicyStatus.STATE_IDLE)
    node.create_timer(0.1, lambda: status.publish(idle))
    command = run(TASK)
    assert command.status() == 0, command.said
    assert re.search(r"time limit after [\d.]+ s, 1 chunks, 4 steps", command.said)
    assert len(asked) == 2
    server.destroy()
    node.destroy_node()


def test_a_gate_that_is_closed_names_the_command(start_policy, probe, run):
    Robot(probe)
    gate = Gate(probe, GateStatus.STATE_DISABLED)
    start_policy()
    command = run(TASK)
    assert command.status() == 1
    assert "the safety gate is not enabled: `roboalign gate enable`" in command.said
    gate.say(GateStatus.STATE_STOPPED, GateStatus.REASON_WORKSPACE, "z 0.01 m below 0.02 m")
    command = run(TASK)
    assert command.status() == 1
    assert "has stopped (z 0.01 m below 0.02 m): `roboalign gate reset`, then" in command.said
    assert Candidate.KIND_MOTION not in gate.kinds()


def test_a_gate_that_stops_is_said_with_the_way_out(start_policy, probe, run):
    Robot(probe)
    gate = Gate(probe)
    start_policy()
    command = run(TASK)
    command.until_said("thinking of")
    probe.until(lambda: gate.status.state == GateStatus.STATE_ACTIVE, what="driving")
    gate.say(GateStatus.STATE_ESTOP, GateStatus.REASON_ESTOP, "pressed")
    assert command.status() == 1, command.said
    assert "stopped after" in command.said
    assert "holds an emergency stop (pressed): `roboalign gate reset`" in command.said


def test_refused_chunks_are_shown(start_policy, probe, run):
    Robot(probe)
    Gate(probe)
    start_policy()
    command = run("garble it")
    assert command.status() == 1, command.said
    assert "chunk refused: no chunk" in command.said
    assert "stopped after" in command.said


def test_a_node_that_is_not_active(start_policy, probe, run):
    start_policy(autostart=False)
    command = run(TASK)
    assert command.status() == 1
    assert (
        "policy_node is not active (not configured): `ros2 lifecycle set /policy_node activate`"
        in (command.said)
    )


def test_without_a_node_it_says_what_to_start(start_policy, probe, run):
    command = run(TASK, wait="1")
    assert command.status() == 1
    assert "no policy_node answers within 1 s: start one with `roboalign up" in command.said
    start_policy(enabled=False)
    client = Client(probe)
    probe.until(lambda: client.status, 60.0, "the node")
    command = run(TASK, "--namespace", "left", wait="3")
    assert command.status() == 1
    assert "no policy_node in namespace /left, but elsewhere: add --namespace /" in command.said


def test_a_node_that_dies_is_said(start_policy, probe, run, tmp_path):
    Robot(probe)
    Gate(probe)
    killed = start_policy()
    command = run(TASK)
    command.until_said("thinking of")
    os.kill(killed.pid, signal.SIGSTOP)  # gone as far as anybody can see; it ends with the test
    try:
        assert command.status() == 1, command.said
        assert "policy_node is gone: nothing from it for 5 s" in command.said
    finally:
        os.kill(killed.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("options", "words"),
    [([""], "found an empty text, expected what the robot shall do"),
     ([TASK, "--timeout", "-1"], "found '-1', expected seconds, 0 or more"),
     ([TASK, "--timeout", "soon"], "found 'soon', expected seconds, 0 or more")],
)  # fmt: skip
def test_options_that_cannot_be(options, words, capsys):
    with pytest.raises(SystemExit) as ended:
        run_cli.main(options)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err

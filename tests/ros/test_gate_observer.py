"""The gate's eyes are a process of their own: what the gate shares with it, and each one's end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from gate_harness import GateClient, Sender, moves
from policy_harness import Robot
from roboalign_msgs.msg import GateStatus

from roboalign_policy.core.shared_memory import files_of


def children(pid):
    """Processes that ``pid`` has started and that live; Source: proc(5), stat."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.fixture
def driving(start_node, probe):
    """A gate of sim_panda that is enabled and driven; with its observer's process id."""
    process = start_node("safety_gate_node", contract="sim_panda", candidate_timeout_s=0.5)
    gate = GateClient(probe)
    gate.process, gate.robot, gate.sender = process, Robot(probe), Sender(probe)
    gate.state(GateStatus.STATE_DISABLED, 30.0)
    gate.enable()
    probe.until(lambda: len(gate.twists) >= 3, what="commands")
    (gate.observer,) = children(process.pid)
    return gate


def test_the_gate_itself_has_no_shared_memory(driving):
    assert files_of(driving.observer)
    assert files_of(driving.process.pid) == set()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_gate_without_eyes_stops(driving, probe, number):
    os.kill(driving.observer, number)
    status = driving.state(GateStatus.STATE_STOPPED)
    blind = GateStatus.REASON_OBSERVATION_STALE, GateStatus.REASON_INTERNAL
    assert status.reason == blind[number == signal.SIGKILL], status.detail
    probe.spin_for(0.3)
    assert not moves(driving.twists[-1]) and moves(driving.twists[0])
    os.kill(driving.process.pid, signal.SIGINT)
    ended = lambda: not Path(f"/proc/{driving.observer}").exists()  # noqa: E731
    probe.until(ended, what="its end")


def test_the_observer_ends_with_a_gate_that_is_killed(driving, probe):
    driving.process.kill()
    probe.until(lambda: not Path(f"/proc/{driving.observer}").exists(), what="its end")


def test_name_and_remappings_of_a_launch_file_do_not_meet(start_node, probe, driving):
    names = probe.until(
        lambda: len(probe.node.get_node_names()) >= 3 and probe.node.get_node_names(),
        what="three nodes",
    )
    assert {"safety_gate_node", "safety_gate_observer"} <= set(names)

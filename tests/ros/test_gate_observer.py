"""The gate's eyes are a process of their own: what the gate shares with it, and each one's end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgpack
import pytest
from gate_harness import GateClient, Sender, moves
from policy_harness import Robot, patient_contract
from roboalign_msgs.msg import GateStatus

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.gate.stage_latency import StageLatency
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.host.shared_memory import files_of
from roboalign_policy.nodes.gate import observation_feed

CAMERA = load_contract("sim_panda").images[0].topic


def children(pid):
    """Process ids directly below ``pid``, from the kernel."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")  # each thread has its own
    return [int(child) for path in lists for child in path.read_text().split()]


@pytest.fixture
def driving(start_node, probe, tmp_path):
    """A gate of sim_panda that is enabled and driven; with its observer's process id."""
    contract = patient_contract(tmp_path, ages={"state.ee": 1.0})
    process = start_node("safety_gate_node", contract=contract, candidate_timeout_s=3.0)
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
    probe.until(lambda: not Path(f"/proc/{driving.observer}").exists(), what="its end")


@pytest.mark.parametrize("report", [b"\xc1", msgpack.packb(["state.ee", 1])])
def test_a_report_that_cannot_be_read_is_told_and_keeps_no_stop_from_going_out(
    monkeypatch, report
):
    ends = []

    def popen(command, pass_fds, **_):
        ends.append(socket.socket(fileno=os.dup(pass_fds[0])))
        return SimpleNamespace()

    monkeypatch.setattr(observation_feed.subprocess, "Popen", popen)
    contract = load_contract("sim_panda")
    streams = StreamWatch(contract, max_skew_s=0.05)
    feed = observation_feed.ObservationFeed(contract, streams, StageLatency(0.1))
    here = [0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 1.0]
    ends[0].send(msgpack.packb(["state.ee", 10**9, 10**9, 1.0, None, here, "", ""]))
    ends[0].send(report)
    feed.drain()  # what a stop calls for the place to hold
    assert streams.value("state.ee").tolist() == here
    assert feed.failed.startswith("a report of the observer: ")


def test_the_observer_ends_with_a_gate_that_is_killed(driving, probe):
    driving.process.kill()
    probe.until(lambda: not Path(f"/proc/{driving.observer}").exists(), what="its end")


def test_name_and_remappings_of_a_launch_file_reach_both(ros_domain, probe):
    words = ["-r", "__node:=lab_gate", "-r", "__ns:=/left", "-r", f"{CAMERA}:=seen"]
    module = "roboalign_policy.nodes.gate.safety_gate_node"
    command = [sys.executable, "-m", module, "--ros-args", *words, "-p", "contract:=sim_panda"]
    with subprocess.Popen(command) as gate:
        try:
            wanted = {("lab_gate", "/left"), ("safety_gate_observer", "/left")}
            node = probe.node
            probe.until(
                lambda: wanted <= set(node.get_node_names_and_namespaces()), what="both nodes"
            )

            def heard():
                return node.get_subscriptions_info_by_topic("/left/seen")

            (info,) = probe.until(heard, what="the observer's subscription")
            assert info.node_name == "safety_gate_observer"
        finally:
            gate.send_signal(signal.SIGINT)


def test_a_clock_set_for_the_gates_name_alone_is_the_observers_too(ros_domain, probe, tmp_path):
    """Stamps and receipt must be on one clock, or every stream looks too old or too new."""
    parameters = tmp_path / "gate.yaml"
    parameters.write_text(
        "safety_gate_node:\n  ros__parameters: {contract: sim_panda, use_sim_time: true}\n"
    )
    module = "roboalign_policy.nodes.gate.safety_gate_node"
    command = [sys.executable, "-m", module, "--ros-args", "--params-file", str(parameters)]
    with subprocess.Popen(command) as gate:
        try:

            def clock_listeners():
                infos = probe.node.get_subscriptions_info_by_topic("/clock")
                return {"safety_gate_node", "safety_gate_observer"} <= {i.node_name for i in infos}

            probe.until(clock_listeners, what="both on simulated time")
        finally:
            gate.send_signal(signal.SIGINT)

"""policy_node that keeps thoughts: a second thread makes them, and chunks tell their age."""

from __future__ import annotations

import math

import pytest
from geometry_msgs.msg import PoseStamped
from policy_harness import Client, Gate, Robot, fake_policies
from roboalign_msgs.action import RunPolicy
from roboalign_msgs.msg import Candidate

from roboalign_policy.ros.qos import reliable_qos

Result = RunPolicy.Result


@pytest.fixture
def start_policy(ros_domain, tmp_path):
    yield from fake_policies(tmp_path)


@pytest.fixture
def client(probe):
    return Client(probe)


def test_in_real_time_one_thought_serves_several_chunks(start_policy, client, probe):
    Robot(probe), Gate(probe)
    start_policy(reasoning="every_n", reasoning_chunks=2, max_thought_age_s=60.0)
    result = client.run("up and away", max_chunks=6)
    assert result.reason == Result.REASON_MAX_CHUNKS
    probe.until(lambda: len(client.chunks) >= 6, what="chunks")
    said = [chunk.reasoning for chunk in client.chunks[:6]]
    assert said[:2] == ["thought 1 of up and away"] * 2
    numbers = [int(text.split()[1]) for text in said]
    assert numbers == sorted(numbers) and 3 <= numbers[-1] <= 4
    ages = [chunk.thought_age_s for chunk in client.chunks[:6]]
    assert 0.0 <= ages[0] < ages[1]
    assert all(math.isfinite(age) for age in ages)
    for (a, b), (age_a, age_b) in zip(
        zip(numbers, numbers[1:], strict=False), zip(ages, ages[1:], strict=False), strict=True
    ):
        assert a != b or age_b > age_a


def test_a_slow_thinker_does_not_hold_up_the_chunks(start_policy, client, probe):
    """A thought takes 1.5 s; the chunks, one in 0.8 s, go on with the one that is there."""
    Robot(probe), Gate(probe)
    start_policy(reasoning="every_n", reasoning_chunks=1, max_thought_age_s=60.0, mode="sync")
    result = client.run("ponder and go", max_chunks=8)
    assert (result.reason, result.chunks) == (Result.REASON_MAX_CHUNKS, 8)
    numbers = [int(chunk.reasoning.split()[1]) for chunk in client.chunks[:8]]
    assert len(set(numbers)) < 8  # some thought served twice
    assert numbers[-1] > 1


def test_a_thought_that_is_too_old_never_moves_the_arm(start_policy, client, probe):
    Robot(probe)
    gate = Gate(probe)
    start_policy(reasoning="every_n", max_thought_age_s=0.5, max_invalid_chunks=2)
    result = client.run("ponder and go")
    assert result.reason == Result.REASON_CHUNK_FAULT
    assert "too_old: thought: its observation is" in result.message
    assert "max_thought_age_s 0.500 s" in result.message
    kinds = {candidate.kind for candidate in gate.candidates}
    assert Candidate.KIND_MOTION not in kinds
    assert client.chunks == []


def test_in_lock_step_the_policy_thinks_before_every_nth_chunk(
    start_node, start_policy, client, probe
):
    poses = probe.collect(PoseStamped, "ee_pose", reliable_qos(200))
    start_policy(execution="lockstep", output="command", reasoning="every_n", reasoning_chunks=3)
    start_node("sim_robot_node", mode="lockstep")
    probe.until(lambda: poses, what="the simulator")
    client.run("up", max_chunks=1)  # joins all topics; the goal that counts follows
    probe.spin_for(0.5)  # its chunk is still on its way
    client.chunks.clear()
    result = client.run("up and away", max_chunks=5)
    assert result.reason == Result.REASON_MAX_CHUNKS
    probe.until(lambda: len(client.chunks) >= 5, what="chunks")
    ages = [round(chunk.thought_age_s, 3) for chunk in client.chunks[:5]]
    assert ages == [0.0, 0.8, 1.6, 0.0, 0.8]
    assert {chunk.reasoning for chunk in client.chunks} == {"thinking of up and away"}


def test_thoughts_that_come_before_every_chunk_are_as_old_as_the_chunk(
    start_policy, client, probe
):
    Robot(probe), Gate(probe)
    start_policy()
    client.run("up and away", max_chunks=1)
    probe.until(lambda: client.chunks, what="a chunk")
    assert client.chunks[0].thought_age_s == 0.0

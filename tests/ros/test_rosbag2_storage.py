"""Recording by `ros2 bag record`, which is played here (played_rosbag2.py).

What is played is the seam to a program that is not installed with the test suite; everything on
this side of it is the real recorder.
"""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest
from mcap.reader import make_reader
from played_rosbag2 import KILLED_AT
from recorder_harness import CONTRACT, Robot, complete, read_bag, start, stop, wait_for_messages
from std_msgs.msg import String
from std_srvs.srv import SetBool

from roboalign_policy.nodes.node_process import NodeProcessError
from roboalign_policy.ros.qos import reliable_qos
from roboalign_training.bags.rescue.recover_cli import main

PLAYED = Path(__file__).with_name("played_rosbag2.py")


@pytest.fixture
def ros2(tmp_path, monkeypatch):
    """A folder with a ros2 command first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "ros2"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PLAYED}" "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


FRAME = 6  # messages of one frame of the robot


@pytest.fixture
def robot(probe):
    """A robot; ``frames(n)`` publishes n of them to the recorder and to `ros2 bag record`."""
    made = Robot(probe)

    def frames(count):
        probe.until(
            lambda: all(p.get_subscription_count() == 2 for p in made.publishers.values()),
            what="recorder and ros2 bag record, known to every publisher",
        )
        for _ in range(count):
            made.publish(time.time_ns())
            probe.spin_for(0.05)

    made.frames = frames
    return made


def begin(probe):
    """Start an episode."""
    begun = start(probe)
    assert begun.ok, begun.message


def record(probe, robot, health, count=4):
    """One episode of some frames; its end."""
    robot.wait_for_recorder()
    begun = start(probe)
    if not begun.ok:
        return begun
    robot.frames(count)
    wait_for_messages(probe, health, FRAME * count)
    return stop(probe)


def test_an_episode_of_ros2_bag_record_has_the_same_bookkeeping(
    ros2, recorder, probe, robot, health, tmp_path
):
    recorder(storage="rosbag2")
    ended = record(probe, robot, health)
    assert ended.ok and complete(ended.verdict), (ended.verdict, ended.message)
    assert [p.name for p in (tmp_path / "bags").iterdir()] == [ended.episode_id]
    folder = tmp_path / "bags" / ended.episode_id
    assert sorted(p.name for p in folder.iterdir()) == [
        f"{ended.episode_id}_0.mcap",
        "metadata.yaml",
    ]
    custom, topics = read_bag(folder)  # by `rosbags`, which needs chunks and an index
    assert (
        custom["roboalign.outcome"] == "success" and custom["roboalign.verdict"] == ended.verdict
    )
    assert custom["roboalign.instruction"] == "put it there"
    assert CONTRACT.name in custom["roboalign.contract"]
    assert len(topics["/joint_states"]) == 4
    assert [m.event for _, m in topics["/episode"]] == [0, 1]


def test_what_a_robot_sends_while_the_process_starts_is_not_missed_in_the_bag(
    ros2, recorder, probe, robot, health
):
    """Robots do not wait: what came before the bag was open belongs to no episode."""
    recorder(storage="rosbag2")
    robot.wait_for_recorder()
    timer = probe.node.create_timer(0.02, lambda: robot.publish(time.time_ns()))
    begin(probe)
    wait_for_messages(probe, health, FRAME * 50)
    ended = stop(probe)
    probe.node.destroy_timer(timer)
    assert ended.ok and complete(ended.verdict), (ended.verdict, ended.message)


def test_a_pause_and_what_it_brings_again_are_not_missed_in_the_bag(
    ros2, recorder, probe, robot, health, tmp_path
):
    """The process knows no pause, and a latched message comes to it once."""
    recorder(storage="rosbag2")
    task = probe.node.create_publisher(String, "task", reliable_qos(1, latched=True))
    task.publish(String(data="put it there"))
    robot.wait_for_recorder()
    probe.until(lambda: task.get_subscription_count() == 1, what="the recorder on the task")
    begin(probe)
    robot.frames(4)
    assert probe.call(SetBool, "recorder_node/pause", data=True).success
    task.publish(String(data="put it back"))  # comes in the pause, and again after it
    robot.frames(3)
    assert probe.call(SetBool, "recorder_node/pause", data=False).success
    robot.frames(4)
    wait_for_messages(probe, health, 8 * FRAME + 2)
    ended = stop(probe)
    assert ended.ok and complete(ended.verdict), (ended.verdict, ended.message)
    _, topics = read_bag(tmp_path / "bags" / ended.episode_id)
    assert [m.event for _, m in topics["/episode"]] == [0, 2, 3, 1]
    assert len(topics["/joint_states"]) == 11 and len(topics["/task"]) == 2


def test_a_pause_hides_no_loss(ros2, recorder, probe, robot, health, monkeypatch):
    """What came meanwhile is counted, too: the bag has it and could make up for what is lost."""
    monkeypatch.setenv("PLAYED_MODE", "loses")
    recorder(storage="rosbag2")
    robot.wait_for_recorder()
    begin(probe)
    robot.frames(2)
    assert probe.call(SetBool, "recorder_node/pause", data=True).success
    robot.frames(3)
    assert probe.call(SetBool, "recorder_node/pause", data=False).success
    robot.frames(1)
    wait_for_messages(probe, health, 3 * FRAME)
    ended = stop(probe)
    assert ended.verdict == "unfit: /joint_states: the bag holds 0 of 6 messages"


def test_a_process_that_dies_ends_the_episode_at_once(
    ros2, recorder, probe, robot, health, monkeypatch
):
    monkeypatch.setenv("PLAYED_MODE", "dies")
    recorder(storage="rosbag2")
    robot.wait_for_recorder()
    begin(probe)
    probe.until(lambda: health[-1].recording, what="the episode in the health")
    robot.frames(1)
    probe.until(lambda: "ended by itself" in health[-1].reason, 5, "the fault in the health")
    assert "the disk is gone" in health[-1].reason and not health[-1].recording
    assert stop(probe).message == "no episode is being recorded"


def test_what_a_killed_ros2_bag_record_left_is_recovered_with_what_was_known(
    ros2, recorder, probe, robot, health, tmp_path, monkeypatch
):
    """The file lies in a folder within the hidden one, and says nothing of the episode."""
    monkeypatch.setenv("PLAYED_MODE", "killed")
    recorder(storage="rosbag2")
    robot.wait_for_recorder()
    begun = start(probe, episode_id="r2")
    assert begun.ok, begun.message
    robot.frames(6)
    probe.until(lambda: "ended by itself" in health[-1].reason, 5, "the fault in the health")
    partial = tmp_path / "bags/.r2.partial"
    assert (partial / "r2/r2_0.mcap").is_file()
    assert main([str(partial), "--out", str(tmp_path / "rescued")]) == 0
    custom, topics = read_bag(tmp_path / "rescued")
    assert custom["roboalign.episode_id"] == "r2"
    assert custom["roboalign.instruction"] == "put it there"
    assert CONTRACT.name in custom["roboalign.contract"]
    assert custom["roboalign.verdict"].startswith("unfit: recovered")
    assert 10 < sum(len(messages) for messages in topics.values()) <= KILLED_AT


@pytest.mark.parametrize("compression", ["auto", "zstd"])
def test_no_profile_of_rosbag2_without_an_index_is_used(
    ros2, recorder, probe, robot, health, tmp_path, compression
):
    recorder(storage="rosbag2", compression=compression)
    ended = record(probe, robot, health)
    file = next((tmp_path / "bags" / ended.episode_id).glob("*.mcap"))
    with file.open("rb") as stream:
        summary = make_reader(stream).get_summary()
    assert summary.chunk_indexes and all(i.message_index_offsets for i in summary.chunk_indexes)
    found = {index.compression for index in summary.chunk_indexes}
    assert found == ({"zstd"} if compression == "zstd" else {""})


def test_a_bag_that_holds_less_than_was_counted_is_unfit(
    ros2, recorder, probe, robot, health, tmp_path, monkeypatch
):
    monkeypatch.setenv("PLAYED_MODE", "loses")
    recorder(storage="rosbag2")
    ended = record(probe, robot, health)
    custom, _ = read_bag(tmp_path / "bags" / ended.episode_id)
    assert custom["roboalign.verdict"] == "unfit: /joint_states: the bag holds 0 of 4 messages"
    assert ended.verdict == custom["roboalign.verdict"]


def test_a_process_that_does_not_start_is_the_answer(
    ros2, recorder, probe, robot, health, tmp_path, monkeypatch
):
    monkeypatch.setenv("PLAYED_MODE", "fails")
    recorder(storage="rosbag2")
    answer = record(probe, robot, health)
    assert not answer.ok and "did not subscribe" in answer.message and "no disk" in answer.message
    assert list((tmp_path / "bags").iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"log_time": "header"}, "storage: found rosbag2 with log_time header"),
        ({"ring_s": 5.0}, "expected log_time receive and ring_s 0"),
        ({}, "there is no ros2 command: sudo apt install ros-"),
    ],
)
def test_what_it_cannot_do_is_refused(recorder, probe, monkeypatch, tmp_path, parameters, words):
    if not parameters:
        monkeypatch.setenv("PATH", str(tmp_path))
    process = recorder(storage="rosbag2", **parameters)
    said = []

    def ended():
        try:
            process.check()
        except NodeProcessError as error:
            said.append(str(error))
        return said

    probe.until(ended, what="the recorder to end")
    assert words in said[0]

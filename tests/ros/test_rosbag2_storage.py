"""Recording by `ros2 bag record`, which is played here: its command line, its words, its bag.

What is played is the seam to a program that is not installed with the test suite; everything on
this side of it is the real recorder.
"""

from __future__ import annotations

import os
import stat
import sys
import time

import pytest
from recorder_harness import CONTRACT, Robot, read_bag, start, stop, wait_for_messages

from roboalign_policy.nodes.node_process import NodeProcessError

PLAYED = '''#!{python}
"""Plays `ros2 bag record`."""
import os, signal, sys, time
from pathlib import Path
import rclpy
from rclpy.node import Node
from roboalign_policy.ros.bag_writer import BagWriter
from roboalign_policy.ros.definitions import message_class, message_definition, type_hash
from roboalign_policy.ros.bag_writer import BagTopic

words = sys.argv[1:]
assert words[:4] == ["bag", "record", "--storage", "mcap"], words
out = Path(words[words.index("--output") + 1])
topics = words[words.index("--topics") + 1 :]
mode = os.environ.get("PLAYED_MODE", "")
if mode == "fails":
    print("[ERROR] no disk", flush=True)
    sys.exit(1)
rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
ended = []
signal.signal(signal.SIGINT, lambda *_: ended.append(1))
node = Node("rosbag2_recorder")
kinds = {{}}
until = time.monotonic() + 10
while len(kinds) < len(topics) - 1 and time.monotonic() < until:
    kinds = {{n: t[0] for n, t in node.get_topic_names_and_types() if n in topics}}
    rclpy.spin_once(node, timeout_sec=0.05)
names = sorted(kinds)
made = [
    BagTopic(name, kind, message_definition(kind), type_hash(kind), ())
    for name, kind in sorted(kinds.items())
]
bag = BagWriter(out.parent, out.name, made)
for index, name in enumerate(names):
    def take(data, index=index):
        if mode == "loses" and names[index].endswith("joint_states"):
            return
        bag.write(index, time.time_ns(), time.time_ns(), data)
    node.create_subscription(message_class(kinds[name]), name, take, 100, raw=True)
    print(f"[INFO] [rosbag2_recorder]: Subscribed to topic '{{name}}'", flush=True)
while not ended:
    rclpy.spin_once(node, timeout_sec=0.05)
until = time.monotonic() + 0.5
while time.monotonic() < until:
    rclpy.spin_once(node, timeout_sec=0.05)
bag.finish({{}})
'''


@pytest.fixture
def ros2(tmp_path, monkeypatch):
    """A folder with a ros2 command first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "ros2"
    command.write_text(PLAYED.format(python=sys.executable))
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def record(probe, health, count=4):
    """One episode of some frames; its end."""
    robot = Robot(probe)
    robot.wait_for_recorder()
    begun = start(probe)
    if not begun.ok:
        return begun
    for _ in range(count):
        robot.publish(time.time_ns())
        probe.spin_for(0.05)
    wait_for_messages(probe, health, 6 * count)
    return stop(probe)


def test_an_episode_of_ros2_bag_record_has_the_same_bookkeeping(
    ros2, recorder, probe, health, tmp_path
):
    recorder(storage="rosbag2")
    ended = record(probe, health)
    assert (ended.ok, ended.verdict) == (True, "fit"), ended.message
    assert [p.name for p in (tmp_path / "bags").iterdir()] == [ended.episode_id]
    custom, topics = read_bag(tmp_path / "bags" / ended.episode_id)
    assert custom["roboalign.outcome"] == "success" and custom["roboalign.verdict"] == "fit"
    assert custom["roboalign.instruction"] == "put it there"
    assert CONTRACT.name in custom["roboalign.contract"]
    assert len(topics["/joint_states"]) == 4
    assert [m.event for _, m in topics["/episode"]] == [0, 1]


def test_a_bag_that_holds_less_than_was_counted_is_unfit(
    ros2, recorder, probe, health, tmp_path, monkeypatch
):
    monkeypatch.setenv("PLAYED_MODE", "loses")
    recorder(storage="rosbag2")
    ended = record(probe, health)
    custom, _ = read_bag(tmp_path / "bags" / ended.episode_id)
    assert custom["roboalign.verdict"] == "unfit: /joint_states: the bag holds 0 of 4 messages"
    assert ended.verdict == custom["roboalign.verdict"]


def test_a_process_that_does_not_start_is_the_answer(
    ros2, recorder, probe, health, tmp_path, monkeypatch
):
    monkeypatch.setenv("PLAYED_MODE", "fails")
    recorder(storage="rosbag2")
    answer = record(probe, health)
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

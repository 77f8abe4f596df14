"""The recorder's verdict is that of a conversion: what it calls fit becomes frames."""

import re
import subprocess
import sys
import time

import pytest
from recorder_harness import CONTRACT, Robot, read_bag, start, stop, wait_for_messages

pytest.importorskip("roboalign_training", reason="needs both packages")

from roboalign_training.bags.bags import read_bag as open_bag  # noqa: E402
from roboalign_training.conversion.build import append_bag  # noqa: E402
from roboalign_training.look.inspect import inspect_bag  # noqa: E402

STEP_NS = 100_000_000
FRAMES = 8
OBSERVED = [stream.topic for stream in CONTRACT.observations]
CAMERA = CONTRACT.images[0]
COMMANDS = [command.topic for command in CONTRACT.action.commands]
PER_FRAME = len(OBSERVED) + len(COMMANDS)


def drive(probe, robot, health, late_ns=0, skip=(), camera_late_ns=0):
    """An episode of some frames on the grid.

    Commands are stamped `late_ns` before them, images of the camera `camera_late_ns`.
    """
    begun = start(probe)
    assert begun.ok, begun.message
    first_ns = time.time_ns() + STEP_NS
    for frame in range(FRAMES):
        stamp_ns = first_ns + frame * STEP_NS
        while time.time_ns() < stamp_ns:
            probe.spin_for(0.005)
        robot.publish(stamp_ns, skip=[*COMMANDS, CAMERA.topic, *skip])
        others = [topic for topic in OBSERVED if topic != CAMERA.topic]
        robot.publish(stamp_ns - camera_late_ns, skip=[*COMMANDS, *others, *skip])
        robot.publish(stamp_ns - late_ns, skip=OBSERVED)
    wait_for_messages(probe, health, FRAMES * (PER_FRAME - len(skip)))
    ended = stop(probe)
    assert ended.ok, ended.message
    return ended


def judged(bag, tmp_path):
    """What `inspect` and `convert` say of a bag: fault or None, reason or None."""
    bag = open_bag(bag)
    (report,) = inspect_bag(bag, CONTRACT).episodes
    done = append_bag(bag.path, tmp_path / "set", CONTRACT)
    assert not done.error
    return report.fault, next((entry["reason"] for entry in done.skipped), None)


def test_what_is_fit_is_converted(recorder, probe, health, tmp_path):
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    ended = drive(probe, robot, health)
    assert ended.verdict == "fit"
    assert judged(ended.bag_path, tmp_path) == (None, None)


def test_teleoperation_that_is_not_synchronised_is_not_fit(recorder, probe, health, tmp_path):
    """All messages are there; none of the commands answers an observation."""
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    ended = drive(probe, robot, health, late_ns=30_000_000)
    prefix = "unfit: by its times: "
    assert ended.verdict.startswith(f"{prefix}no frame has every stream and a command: ")
    assert "servo_node/delta_twist_cmds: no command (8)" in ended.verdict
    assert judged(ended.bag_path, tmp_path) == (ended.verdict.removeprefix(prefix),) * 2


def test_a_camera_whose_clock_is_behind_is_not_fit(recorder, probe, health, tmp_path):
    """By more than its max_age_s: the safety gate would refuse every frame."""
    recorder()
    robot = Robot(probe)
    robot.wait_for_recorder()
    ended = drive(probe, robot, health, camera_late_ns=600_000_000)
    prefix = "unfit: by its times: "
    late_ms = re.match(rf"{prefix}late: {re.escape(CAMERA.key)} is (\d+) ms old", ended.verdict)
    assert int(late_ms[1]) >= 600, ended.verdict
    assert "(median of 8 messages), expected at most max_age_s 0.3 s: live" in ended.verdict
    assert judged(ended.bag_path, tmp_path) == (ended.verdict.removeprefix(prefix),) * 2


def test_remapped_topics_are_found_again(ros_domain, probe, health, tmp_path):
    """They stand in the bag under the names that were recorded, and which these are."""
    given = {"bag_dir": tmp_path / "bags", "health_period_s": 0.1, "min_free_mb": 0}
    command = [sys.executable, "-m", "roboalign_policy.nodes.recorder.recorder_node", "--ros-args"]
    command += ["-r", "joint_states:=arm/measured", "-r", "task:=/what/to_do"]
    for name, value in given.items():
        command += ["-p", f"{name}:={value}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            robot = Robot(probe)
            made = robot.publishers.pop("joint_states")
            robot.publishers["arm/measured"] = probe.node.create_publisher(
                made.msg_type, "arm/measured", made.qos_profile
            )
            robot.wait_for_recorder()
            robot.publishers["joint_states"] = robot.publishers.pop("arm/measured")
            ended = drive(probe, robot, health)
        finally:
            process.terminate()
            process.wait(30)
    custom, topics = read_bag(ended.bag_path)
    assert "/arm/measured" in topics and "/joint_states" not in topics
    assert custom["roboalign.topics"] == '{"joint_states": "/arm/measured", "task": "/what/to_do"}'
    assert ended.verdict == "fit"
    assert judged(ended.bag_path, tmp_path) == (None, None)

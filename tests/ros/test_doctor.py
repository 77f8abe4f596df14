"""`roboalign doctor` over DDS: robots made of topics, each with one fault that it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from doctor_robot import CAMERA, JOINTS, Robot, running
from geometry_msgs.msg import PoseStamped, TwistStamped
from policy_harness import GRIPPER, TWIST
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String
from std_srvs.srv import Trigger

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.clients.stream_listener import best_effort_qos
from roboalign_policy.ros.qos import reliable_qos
from roboalign_training.commands.doctor_cli import main


@pytest.fixture
def contract_file(tmp_path):
    """Function that writes sim_panda, changed by `edit(data)`, and returns the file.

    Its streams may be old: a busy machine is no fault of the robot's.
    """

    def write(edit=None):
        data = load_contract("sim_panda").to_dict()
        for stream in data["observations"]:
            stream["max_age_s"] = 30.0
            stream.pop("max_frozen_s", None)
        if edit is not None:
            edit(data)
        path = tmp_path / "robot.yaml"
        path.write_text(yaml.safe_dump(data))
        return str(path)

    return write


@pytest.fixture
def diagnose(probe, contract_file, tmp_path):
    """Function that runs the command beside the robot: exit status, report, findings."""

    def run(contract=None, *options, seconds=1.0):
        report = tmp_path / "report.json"
        with running(probe):
            arguments = ["--seconds", str(seconds), "--json", str(report), "--overwrite", *options]
            status = main([contract or contract_file(), *arguments])
        data = json.loads(report.read_text())
        assert status == int(data["counts"]["error"] > 0)
        return data

    return run


def finding(report, check, subject):
    """The finding of a check about a subject that is not `ok`."""
    found = [f for f in report["findings"] if (f["check"], f["subject"]) == (check, subject)]
    found = [f for f in found if f["severity"] != "ok"]
    assert len(found) == 1, json.dumps(report["findings"], indent=1)
    return found[0]


def test_a_healthy_robot_has_no_error_by_the_command_itself(probe, contract_file, tmp_path):
    Robot(probe.node)
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "roboalign_training.cli", "doctor"]
    command += [contract_file(), "--audit"]
    with running(probe):
        done = subprocess.run(
            [*command, "--seconds", "2", "--json", str(report)],
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    data = json.loads(report.read_text())
    assert data["schema"] == "roboalign-doctor/1"
    assert data["counts"]["error"] == 0
    assert "0 errors" in done.stdout
    keys = [stream["key"] for stream in data["streams"]]
    assert keys == ["image.front", "state.joints", "state.ee", "state.gripper"]
    for stream in data["streams"]:
        assert stream["count"] > 0
        assert 0 <= stream["late"]["p50"] <= stream["late"]["max"]
        # Sent after it was stamped, received after it was sent: the middleware's times are used.
        assert 0 <= stream["before_sending_s"] <= stream["late"]["max"]
        assert stream["words"] in done.stdout


def test_a_missing_topic_with_its_like(probe, diagnose):
    Robot(probe.node, camera="camera/front/image_rect")
    found = finding(diagnose(), "topic", "image.front")
    assert found["severity"] == "error"
    assert found["found"] == f"nobody publishes /{CAMERA}"
    assert "Edit observations[0].topic to camera/front/image_rect" in found["fix"]


def test_a_wrong_type(probe, diagnose):
    Robot(probe.node, gripper_type=String)
    found = finding(diagnose(), "type", "state.gripper")
    assert "/gripper_state is std_msgs/msg/String (of /probe)" in found["found"]
    assert found["expected"] == "sensor_msgs/msg/JointState"
    assert "edit observations[3].type to std_msgs/msg/String" in found["fix"]


def test_a_best_effort_camera_and_a_reliable_contract(probe, diagnose, contract_file):
    def edit(data):
        data["observations"][0]["qos"]["reliability"] = "reliable"

    Robot(probe.node, camera_qos=best_effort_qos(5))
    report = diagnose(contract_file(edit))
    found = finding(report, "qos", "image.front")
    assert found["severity"] == "error"
    assert "edit observations[0].qos to {reliability: best_effort}" in found["fix"]
    assert report["streams"][0]["count"] > 0  # heard all the same, so the rest is known too


def test_a_task_that_is_not_latched(probe, diagnose):
    Robot(probe.node)
    probe.node.create_publisher(String, "task", reliable_qos(1))
    found = finding(diagnose(), "qos", "task")
    assert "--qos-durability transient_local" in found["fix"]


def test_a_low_rate(probe, diagnose, contract_file):
    def edit(data):
        data["observations"][0]["max_age_s"] = 0.3

    Robot(probe.node, rate_hz=2.0)
    found = finding(diagnose(contract_file(edit), seconds=2.0), "rate", "image.front")
    assert found["severity"] == "error"
    assert "max_age_s 0.3 s" in found["expected"]
    assert "set the rate of /probe to" in found["fix"]


def test_stamps_of_another_clock(probe, diagnose):
    Robot(probe.node, ahead_s=5.0)
    found = finding(diagnose(), "clock", "state.ee")
    assert found["severity"] == "error"
    assert "in the future" in found["found"]
    assert "edit observations[2].align to {clock: receive}" in found["fix"]


def test_an_image_of_another_size(probe, diagnose):
    Robot(probe.node, size=(48, 64))
    found = finding(diagnose(), "image", "image.front")
    assert "64 x 48 px" in found["found"]
    assert "edit observations[0].shape to [48, 64, 3]" in found["fix"]


def test_a_missing_joint(probe, diagnose):
    Robot(probe.node, joints=[*JOINTS[:6], "panda_wrist"])
    found = finding(diagnose(), "fields", "state.joints")
    assert "no joint panda_joint7" in found["found"]
    assert "observations[1].fields[6].path" in found["fix"]


def test_the_safety_gate_is_seen_and_lives_on(probe, diagnose, start_node):
    Robot(probe.node, estop=False)
    gate = start_node("safety_gate_node", contract="sim_panda")
    names = probe.node.get_service_names_and_types
    probe.until(lambda: "/safety_gate_node/estop" in dict(names()), what="the gate")
    report = diagnose(seconds=2.0)
    (seen,) = (f for f in report["findings"] if f["check"] == "gate")
    assert seen["severity"] == "ok"
    sent = [f["found"] for f in report["findings"] if f["subject"] == TWIST]
    assert sent == ["heard by /probe; sent by /safety_gate_node"]
    gate.check()  # being asked for a parameter does not end it


def test_a_latched_gate_is_no_gate_in_order(probe, diagnose, start_node):
    Robot(probe.node, estop=False)
    start_node("safety_gate_node", contract="sim_panda")
    assert probe.call(Trigger, "safety_gate_node/estop").success
    found = finding(diagnose(seconds=2.0), "gate", "safety_gate_node")
    assert "latched a stop (estop) and lets nothing pass: pressed: service" in found["found"]
    assert "roboalign gate reset, then roboalign gate enable" in found["fix"]


def test_somebody_else_drives(probe, diagnose):
    Robot(probe.node)
    nodes = [Node(name, context=probe.node.context) for name in ("safety_gate_node", "joystick")]
    for node in nodes:
        node.create_publisher(TwistStamped, TWIST, reliable_qos(10))
    found = finding(diagnose(), "commander", TWIST)
    assert found["severity"] == "error"
    assert "stop /joystick" in found["fix"]


def test_the_doctor_itself_is_never_taken_for_a_controller(probe, diagnose):
    Robot(probe.node, controllers=(GRIPPER,))
    publisher, most = probe.node.create_publisher(TwistStamped, TWIST, reliable_qos(10)), [0]

    def look():
        most.append(publisher.get_subscription_count())

    probe.node.create_timer(0.02, look)
    found = finding(diagnose(), "subscriber", TWIST)
    assert "the controller is not running" in found["found"]
    assert len(most) > 10
    assert max(most) == 0


def test_a_driver_that_waits_for_a_clock_nobody_publishes(probe, diagnose):
    Robot(probe.node)
    parameters = [Parameter("use_sim_time", value=True)]
    driver = Node("driver", context=probe.node.context, parameter_overrides=parameters)
    driver.create_publisher(PoseStamped, "ee_pose", reliable_qos(5))
    probe.executor.add_node(driver)
    report = diagnose()
    found = finding(report, "sim_time", "/driver")
    assert "ros2 param set /driver use_sim_time false" in found["fix"]
    assert "/probe, /driver" in finding(report, "publisher", "state.ee")["found"] or (
        "/driver, /probe" in finding(report, "publisher", "state.ee")["found"]
    )


def test_a_robot_in_a_namespace(probe, diagnose):
    node = Node("driver", context=probe.node.context, namespace="arm1")
    probe.executor.add_node(node)
    Robot(node)
    lost = diagnose()
    assert "--namespace /arm1" in finding(lost, "topic", "state.joints")["fix"]


def test_bad_arguments_and_a_bad_contract_are_said_in_a_line(ros_domain, tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema: roboalign-contract/1\nrate_hz: -3\n")
    assert main([str(bad)]) == 2
    assert "rate_hz" in capsys.readouterr().err
    assert main(["sim_panda", "--json", str(bad / "report.json")]) == 1
    assert "--json: " in capsys.readouterr().err
    assert main(["sim_panda", "--namespace", "no spaces", "--seconds", "0.5"]) == 2
    assert "namespace: found 'no spaces'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        main(["sim_panda", "--seconds", "nan"])
    assert exit_.value.code == 2
    assert "expected 0.5 to 3600 seconds" in capsys.readouterr().err


def test_without_ros_the_command_says_what_to_source(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "roboalign_policy.nodes.clients.graph_probe", None)
    assert main(["sim_panda"]) == 1
    assert "source scripts/env.sh" in capsys.readouterr().err


def test_what_killed_nodes_left_is_removed_when_asked(probe, diagnose, start_node):
    Robot(probe.node)
    gate = start_node("safety_gate_node", contract="sim_panda")
    left = Path(f"/dev/shm/fastrtps_test_{os.getpid()}")
    left.write_bytes(b"x" * 100)
    try:
        diagnose()
        assert left.exists()
        diagnose(None, "--clean-shared-memory")
        assert not left.exists()
        gate.check()
    finally:
        left.unlink(missing_ok=True)


def test_an_empty_domain_is_one_error(ros_domain, tmp_path):
    report = tmp_path / "report.json"
    assert main(["sim_panda", "--seconds", "0.5", "--json", str(report)]) == 1
    data = json.loads(report.read_text())
    errors = [f for f in data["findings"] if f["severity"] == "error"]
    assert [f["check"] for f in errors] == ["domain"]
    assert f"ROS_DOMAIN_ID {ros_domain}" in errors[0]["found"]

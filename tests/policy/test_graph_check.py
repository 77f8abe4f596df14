"""The contract against a graph: which topics there are, their types, their QoS."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from graph_world import (
    HOST,
    LATCHED,
    WEAK,
    faults,
    graph,
    only,
    panda,
    with_publishers,
    with_subscribers,
)

from roboalign_policy.core.doctor.graph_check import check_graph
from roboalign_policy.core.graph.endpoints import Endpoint, EndpointQos, qos_conflicts

IMAGE, JOINTS = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState"
CAMERA = "/camera/front/image_raw"


def test_a_healthy_robot_has_no_fault_and_says_what_was_looked_at():
    findings = check_graph(panda(), graph(panda()), HOST)
    assert {f.severity for f in findings} == {"ok"}
    assert {f.subject for f in findings} >= {
        "image.front",
        "task",
        "CPU",
        "servo_node/delta_twist_cmds",
    }


# --- topics and types --------------------------------------------------------------------------


def test_a_missing_topic_suggests_the_live_one_that_comes_near():
    renamed = Endpoint("/cam", IMAGE, EndpointQos())
    snapshot = with_publishers(graph(panda()), CAMERA)
    snapshot = with_publishers(snapshot, "/camera/color/image_raw", renamed)
    finding = only(panda(), snapshot)
    assert (finding.severity, finding.check) == ("error", "topic")
    assert f"nobody publishes {CAMERA}" in finding.found
    assert "did you mean /camera/color/image_raw?" in finding.fix
    assert "Edit observations[0].topic to camera/color/image_raw" in finding.fix
    assert f"--ros-args -r /camera/color/image_raw:={CAMERA}" in finding.fix


def test_a_topic_of_another_type_or_one_only_listened_to_is_not_suggested():
    snapshot = with_publishers(graph(panda()), CAMERA)
    snapshot = with_publishers(
        snapshot, "/camera/front/image_rew", Endpoint("/x", JOINTS, EndpointQos())
    )
    snapshot = with_subscribers(
        snapshot, "/camera/front/image_raw2", Endpoint("/viewer", IMAGE, EndpointQos())
    )
    assert only(panda(), snapshot).fix.startswith("start the driver that publishes")


def test_a_topic_that_the_contract_has_for_another_stream_is_not_suggested():
    finding = only(panda(), with_publishers(graph(panda()), "/gripper_state"))
    assert "joint_states" not in finding.fix
    wrong = Endpoint("/hand", "std_msgs/msg/Float64", EndpointQos())
    finding = only(panda(), with_publishers(graph(panda()), "/gripper_state", wrong))
    assert finding.fix.startswith("edit observations[3].type to std_msgs/msg/Float64")


def test_who_else_waits_for_a_missing_topic_is_named():
    snapshot = with_publishers(graph(panda()), CAMERA)
    snapshot = with_subscribers(snapshot, CAMERA, Endpoint("/policy_node", IMAGE, EndpointQos()))
    assert "/policy_node waits for it too" in only(panda(), snapshot).found


def test_a_robot_in_another_namespace_is_recognised():
    snapshot = graph(panda())
    moved = {f"/arm1{name}": ends for name, ends in snapshot.publishers.items()}
    found = faults(panda(), replace(snapshot, publishers=moved))
    topics = [f for f in found if f.check == "topic"]
    assert len(topics) == 5  # four observations and the extra topic
    assert all("give --namespace /arm1" in f.fix for f in topics)
    inside = replace(snapshot, publishers=moved, namespace="/arm1")
    missing = [f for f in faults(panda(), inside) if f.check == "topic"]
    assert not missing


def test_an_empty_graph_is_one_error_that_names_domains_in_use():
    host = replace(HOST, domains=(7, 42))
    finding = only(panda(), graph(panda(), nodes=(), publishers={}, subscribers={}), host)
    assert finding.check == "domain"
    assert "ROS_DOMAIN_ID 7" in finding.found
    assert "export ROS_DOMAIN_ID=42" in finding.fix


def test_nodes_without_a_name_yet_are_no_empty_graph():
    assert not faults(panda(), graph(panda(), nodes=()))


def test_a_wrong_type_names_who_publishes_it_and_the_edit():
    wrong = Endpoint("/arm_driver", "geometry_msgs/msg/Pose", EndpointQos())
    finding = only(panda(), with_publishers(graph(panda()), "/ee_pose", wrong))
    assert (finding.check, finding.subject) == ("type", "state.ee")
    assert "/ee_pose is geometry_msgs/msg/Pose (of /arm_driver)" in finding.found
    assert finding.expected == "geometry_msgs/msg/PoseStamped"
    assert "edit observations[2].type to geometry_msgs/msg/Pose" in finding.fix


def test_a_compressed_image_is_a_change_of_type_alone():
    wrong = Endpoint("/cam", "sensor_msgs/msg/CompressedImage", EndpointQos())
    finding = only(panda(), with_publishers(graph(panda()), CAMERA, wrong))
    assert finding.fix == "edit observations[0].type to sensor_msgs/msg/CompressedImage"


def test_a_type_that_is_not_installed_says_what_to_source():
    snapshot = graph(panda(), uninstalled={IMAGE: "message type: not installed"})
    finding = only(panda(), snapshot)
    assert "source the workspace that holds sensor_msgs" in finding.fix


def test_two_publishers_of_one_observation_are_a_warning():
    two = [Endpoint(f"/cam{n}", IMAGE, EndpointQos()) for n in (1, 2)]
    finding = only(panda(), with_publishers(graph(panda()), CAMERA, *two))
    assert (finding.severity, finding.check) == ("warning", "publisher")
    assert "/cam1, /cam2" in finding.found


# --- quality of service ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "asked", "conflicts"),
    [
        (EndpointQos(), WEAK, 0),
        (WEAK, WEAK, 0),
        (LATCHED, LATCHED, 0),
        (LATCHED, EndpointQos(), 0),
        (WEAK, EndpointQos(), 1),
        (EndpointQos(), LATCHED, 1),
        (WEAK, LATCHED, 2),
        (EndpointQos(), EndpointQos(deadline_s=0.1), 1),
        (EndpointQos(deadline_s=0.1), EndpointQos(deadline_s=0.1), 0),
        (EndpointQos(deadline_s=0.1), EndpointQos(deadline_s=math.inf), 0),
        (EndpointQos(), EndpointQos(liveliness="manual_by_topic"), 1),
    ],
)
def test_what_keeps_a_publisher_and_a_subscription_apart(offered, asked, conflicts):
    assert len(qos_conflicts(offered, asked)) == conflicts


def test_a_best_effort_camera_is_not_heard_by_a_reliable_observation():
    contract = panda(lambda d: d["observations"][0]["qos"].update(reliability="reliable"))
    snapshot = with_publishers(graph(contract), CAMERA, Endpoint("/cam", IMAGE, WEAK))
    finding = only(contract, snapshot)
    assert (finding.severity, finding.check, finding.subject) == ("error", "qos", "image.front")
    assert "publisher best_effort, subscription reliable (/cam)" in finding.found
    assert "edit observations[0].qos to {reliability: best_effort}" in finding.fix
    praised = [f for f in check_graph(contract, snapshot, HOST) if f.subject == "image.front"]
    assert praised == [finding]  # what is heard weakly is not called in order


def test_one_of_two_publishers_with_other_qos_is_a_warning():
    contract = panda(lambda d: d["observations"][1]["qos"].update(reliability="reliable"))
    ends = Endpoint("/arm", JOINTS, EndpointQos()), Endpoint("/hand", JOINTS, WEAK)
    found = faults(contract, with_publishers(graph(contract), "/joint_states", *ends))
    (qos,) = (f for f in found if f.check == "qos")
    assert qos.severity == "warning"
    assert "(/hand)" in qos.found


def test_a_task_that_is_not_latched_never_arrives():
    talker = Endpoint("/_ros2cli_1", "std_msgs/msg/String", EndpointQos())
    finding = only(panda(), with_publishers(graph(panda()), "/task", talker))
    assert (finding.severity, finding.check, finding.subject) == ("error", "qos", "task")
    assert "--qos-durability transient_local" in finding.fix


def test_no_task_yet_is_in_order_with_the_command_that_gives_one():
    findings = check_graph(panda(), with_publishers(graph(panda()), "/task"), HOST)
    (task,) = (f for f in findings if f.subject == "task")
    assert task.severity == "ok"
    assert "--qos-durability transient_local /task std_msgs/msg/String" in task.fix


def test_an_extra_topic_is_a_warning_since_only_the_recorder_wants_it():
    assert only(panda(), with_publishers(graph(panda()), "/scene")).severity == "warning"

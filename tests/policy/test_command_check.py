"""The command topics of a graph: controllers, other senders, the gate; and whose time it is."""

from __future__ import annotations

import pytest
from graph_world import (
    HOST,
    LATCHED,
    clock_record,
    faults,
    graph,
    only,
    panda,
    with_publishers,
    with_record,
    with_subscribers,
)

from roboalign_policy.core.contract.channels import command_channels
from roboalign_policy.core.doctor.graph_check import check_graph
from roboalign_policy.core.doctor.graph_snapshot import HeardGate
from roboalign_policy.core.graph.endpoints import UNNAMED, Endpoint, EndpointQos

TWIST = "geometry_msgs/msg/TwistStamped"
TWIST_TOPIC = "/servo_node/delta_twist_cmds"


def test_a_command_that_nobody_hears_means_the_controller_is_not_running():
    finding = only(panda(), with_subscribers(graph(panda()), TWIST_TOPIC))
    assert (finding.severity, finding.check) == ("error", "subscriber")
    assert f"nobody listens on {TWIST_TOPIC}" in finding.found
    assert "ros2 control list_controllers" in finding.fix


def test_a_controller_that_listens_elsewhere_is_suggested():
    snapshot = with_subscribers(graph(panda()), TWIST_TOPIC)
    snapshot = with_subscribers(
        snapshot, "/servo/delta_twist_cmds", Endpoint("/servo", TWIST, EndpointQos())
    )
    fix = only(panda(), snapshot).fix
    assert "Edit action.commands[0].topic to servo/delta_twist_cmds" in fix
    bag = Endpoint("/rosbag2_recorder", TWIST, EndpointQos())
    fix = only(panda(), with_subscribers(snapshot, "/servo/delta_twist_cmds", bag)).fix
    assert fix.startswith("start the controller")


@pytest.mark.parametrize("name", ["/recorder_node", "/rosbag2_recorder", "/_ros2cli_77"])
def test_a_recorder_is_not_a_controller(name):
    listener = Endpoint(name, TWIST, EndpointQos())
    finding = only(panda(), with_subscribers(graph(panda()), TWIST_TOPIC, listener))
    assert finding.check == "subscriber"


def test_a_controller_of_another_type():
    listener = Endpoint("/servo", "geometry_msgs/msg/Twist", EndpointQos())
    finding = only(panda(), with_subscribers(graph(panda()), TWIST_TOPIC, listener))
    assert (finding.severity, finding.check) == ("error", "type")
    assert "edit action.commands[0].type to geometry_msgs/msg/Twist" in finding.fix


def test_a_controller_with_stronger_qos_than_the_contract_offers():
    contract = panda(lambda d: d["action"]["commands"][0]["qos"].update(reliability="best_effort"))
    finding = only(contract, graph(contract))
    assert (finding.severity, finding.check) == ("error", "qos")
    assert "edit action.commands[0].qos to {reliability: reliable}" in finding.fix
    deadline = Endpoint("/servo", TWIST, EndpointQos(deadline_s=0.1))
    finding = only(panda(), with_subscribers(graph(panda()), TWIST_TOPIC, deadline))
    assert "deadline" in finding.found
    assert "set the controller's subscription" in finding.fix


def test_two_senders_are_an_error_that_names_the_stranger():
    ends = [Endpoint(n, TWIST, EndpointQos()) for n in ("/safety_gate_node", "/joystick")]
    finding = only(panda(), with_publishers(graph(panda()), TWIST_TOPIC, *ends))
    assert (finding.severity, finding.check) == ("error", "commander")
    assert "2 publishers" in finding.found
    assert "stop /joystick," in finding.fix
    assert f"-r {TWIST_TOPIC}:=/teleop{TWIST_TOPIC}" in finding.fix


def test_gate_and_policy_at_once_are_mended_by_a_parameter():
    ends = [Endpoint(n, TWIST, EndpointQos()) for n in ("/safety_gate_node", "/policy_node")]
    finding = only(panda(), with_publishers(graph(panda()), TWIST_TOPIC, *ends))
    assert "output: candidate" in finding.fix


def test_one_sender_beside_the_gate_is_a_warning_and_the_gate_alone_is_right():
    joystick = Endpoint("/joystick", TWIST, EndpointQos())
    finding = only(panda(), with_publishers(graph(panda()), TWIST_TOPIC, joystick))
    assert (finding.severity, finding.check) == ("warning", "commander")
    gate = Endpoint("/safety_gate_node", TWIST, EndpointQos())
    assert not faults(panda(), with_publishers(graph(panda()), TWIST_TOPIC, gate))
    unnamed = Endpoint(UNNAMED, TWIST, EndpointQos())  # it may be the gate
    assert not faults(panda(), with_publishers(graph(panda()), TWIST_TOPIC, unnamed))


@pytest.mark.parametrize("state", ["stopped", "estop"])
def test_a_latched_gate_is_a_warning_that_says_why_and_how_to_go_on(state):
    gate = HeardGate(state, "joint velocity: state.joints: joint4 at 125 rad/s > 3")
    finding = only(panda(), graph(panda(), gate=gate))
    assert (finding.severity, finding.check) == ("warning", "gate")
    assert f"latched a stop ({state}) and lets nothing pass: joint velocity" in finding.found
    assert "roboalign gate reset, then roboalign gate enable" in finding.fix
    pressed = HeardGate(state, "pressed: topic estop", estop_pressed=True)
    fix = only(panda(), graph(panda(), gate=pressed)).fix
    assert "release the emergency stop; roboalign gate reset" in fix


def test_a_gate_that_says_nothing_is_a_warning():
    finding = only(panda(), graph(panda(), gate=None))
    assert "says nothing of its state" in finding.found


def test_a_gate_that_is_not_enabled_or_runs_dry_is_in_order_and_said():
    gate = HeardGate("disabled", "", dry_run=True)
    found = check_graph(panda(), graph(panda(), gate=gate), HOST)
    (finding,) = [f for f in found if f.check == "gate"]
    assert finding.severity == "ok"
    assert finding.found == "disabled, dry run: commands go to dry_run/..., not to the arm"
    assert "roboalign gate enable" in finding.fix


def test_without_the_gate_there_is_a_warning():
    finding = only(panda(), graph(panda(), services=frozenset()))
    assert (finding.severity, finding.subject) == ("warning", "safety_gate_node")
    assert "/safety_gate_node/estop" in finding.found


def test_outputs_take_the_place_of_commands_and_an_action_needs_its_server():
    def edit(data):
        data["action"]["outputs"] = [{"kind": "gripper_action", "topic": "hand/gripper_cmd"}]

    contract = panda(edit)
    assert [c.topic for c in command_channels(contract.action)] == [
        "servo_node/delta_twist_cmds",
        "hand/gripper_cmd",
    ]
    finding = only(contract, graph(contract))
    assert "no action server /hand/gripper_cmd" in finding.found
    services = frozenset({"/safety_gate_node/estop", "/hand/gripper_cmd/_action/send_goal"})
    assert not faults(contract, graph(contract, services=services))


def test_a_controller_that_the_contract_names_must_be_there():
    def edit(data, names):
        data["action"]["commands"][0]["controllers"] = names

    there = panda(lambda data: edit(data, ["controller"]))
    assert not faults(there, graph(there))
    contract = panda(lambda data: edit(data, ["controller", "arm/servo"]))
    finding = only(contract, graph(contract))
    assert (finding.severity, finding.check) == ("error", "subscriber")
    assert f"no controller /arm/servo on {TWIST_TOPIC}; there: /controller" in finding.found
    assert finding.fix == "start /arm/servo, or edit action.commands[0].controllers"
    unnamed = Endpoint(UNNAMED, TWIST, EndpointQos())  # it may be the one
    assert not faults(contract, with_subscribers(graph(contract), TWIST_TOPIC, unnamed))


def test_an_action_server_of_another_node_than_the_contract_names():
    output = {"kind": "gripper_action", "topic": "hand/gripper_cmd", "controllers": ["hand"]}
    contract = panda(lambda data: data["action"].update(outputs=[output]))
    services = frozenset({"/safety_gate_node/estop", "/hand/gripper_cmd/_action/send_goal"})
    status = "/hand/gripper_cmd/_action/status"
    for node, count in (("/hand", 0), ("/other", 1)):
        server = Endpoint(node, "action_msgs/msg/GoalStatusArray", LATCHED)
        snapshot = with_publishers(graph(contract, services=services), status, server)
        found = faults(contract, snapshot)
        assert len(found) == count
    assert "no controller /hand on /hand/gripper_cmd; there: /other" in found[0].found
    assert "action.outputs[0].controllers" in found[0].fix


# --- simulated time ---


def simulated(**changes):
    """A robot whose time is a /clock that began long ago."""
    snapshot = graph(panda(), clock=clock_record(-1e9), **changes)
    for stream in panda().observations:
        snapshot = with_record(snapshot, panda(), stream.key, offset_s=-1e9, clock_offset_s=-1e9)
    return snapshot


def test_a_simulated_robot_is_in_order_by_its_own_clock():
    assert not faults(panda(), simulated(use_sim_time={"/policy_node": True}))


def test_a_node_of_the_suite_without_the_simulators_time_is_an_error():
    finding = only(panda(), simulated(use_sim_time={"/policy_node": False, "/driver": False}))
    assert (finding.severity, finding.subject) == ("error", "/policy_node")
    assert "ros2 param set /policy_node use_sim_time true" in finding.fix


def test_a_driver_with_the_systems_time_beside_a_simulator():
    snapshot = with_record(simulated(), panda(), "image.front", clock_offset_s=-1e9)
    finding = only(panda(), snapshot)
    assert (finding.check, finding.subject) == ("clock", "image.front")
    assert "ros2 param set /driver use_sim_time true" in finding.fix


def test_use_sim_time_without_a_clock_and_with_one_that_tells_the_systems_time():
    finding = only(panda(), graph(panda(), use_sim_time={"/driver": True}))
    assert finding.severity == "error"
    assert "nobody publishes /clock" in finding.found
    told = {"use_sim_time": {"/policy_node": True}, "clock": clock_record(0.0)}
    finding = only(panda(), graph(panda(), **told))
    assert finding.severity == "warning"

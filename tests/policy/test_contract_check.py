"""Every fault of a contract is found, named with its line, and all of them at once."""

from __future__ import annotations

import copy

import pytest
import yaml

from roboalign_policy.core.contract.contract import ContractError, contract_from_dict
from roboalign_policy.core.contract.files import packaged_contract_path

DELETE = object()
SIM = yaml.safe_load(packaged_contract_path("sim_panda").read_text(encoding="utf-8"))
UR = yaml.safe_load(packaged_contract_path("ur5e").read_text(encoding="utf-8"))


def changed(base, *changes):
    """A copy of a contract with values at paths replaced or deleted."""
    data = copy.deepcopy(base)
    for path, value in changes:
        here = data
        for step in path[:-1]:
            here = here[step]
        if value is DELETE:
            del here[path[-1]]
        else:
            here[path[-1]] = value
    return data


def faults_of(data, severity="error"):
    """Key -> text of the faults of a contract given as data."""
    try:
        contract_from_dict(data, "robot.yaml")
    except ContractError as error:
        return {f.key: str(f) for f in error.faults if f.severity == severity}
    return {}


OBS, DIMS, COMMANDS = "observations", ("action", "dims"), ("action", "commands")

# (what is changed, key of the fault, words its text must have)
FAULTS = [
    ((("schema",), "roboalign-contract/2"), "schema", "roboalign-contract/1"),
    ((("schema",), DELETE), "schema", "found nothing"),
    ((("name",), "My Robot"), "name", "lower case"),
    ((("base_frame",), DELETE), "base_frame", "found nothing"),
    ((("base_frame",), None), "base_frame", "no value after the key"),
    ((("rate_hz",), 0), "rate_hz", "> 0, <= 1000"),
    ((("rate_hz",), -10.0), "rate_hz", "> 0"),
    ((("rate_hz",), float("nan")), "rate_hz", "> 0"),
    ((("rate_hz",), True), "rate_hz", "a number"),
    ((("rate_hz",), "1e1"), "rate_hz", "1.0e+3"),
    ((("rate_hz",), 10**400), "rate_hz", "a number"),
    ((("rate",), 10), "rate", "did you mean 'rate_hz'?"),
    (((OBS,), []), "observations", "at least 1"),
    ((("prompt", "images"), []), "prompt.images", "at least 1"),
    ((("prompt", "images"), "image.front"), "prompt.images", "a list"),
    ((("prompt", "images"), ["image.front"] * 2), "prompt.images", "once"),
    ((("prompt", "images"), ["image.frond"]), "prompt.images[0]", "did you mean 'image.front'?"),
    ((("prompt", "images"), ["state.ee"]), "prompt.images[0]", "image streams only"),
    (((OBS,), "all"), "observations", "a list"),
    (((OBS, 0), "image"), "observations[0]", "a mapping with key, topic"),
    (((OBS, 0, "key"), "front"), "observations[0].key", "image.<name> or state.<name>"),
    (((OBS, 1, "key"), "state.ee"), "observations[2].key", "observations[1].key has it"),
    (((OBS, 0, "topic"), "ee_pose"), "observations[2].topic", "observations[0].topic has it"),
    (((OBS, 0, "topic"), "task"), "task.topic", "observations[0].topic has it"),
    (((OBS, 0, "topic"), "scene"), "extra_topics[0].topic", "used once"),
    (((OBS, 0, "topic"), "camera//raw"), "observations[0].topic", "single slashes"),
    (((OBS, 0, "topic"), "~/image"), "observations[0].topic", "no ~"),
    (((OBS, 0, "topic"), "2nd"), "observations[0].topic", "a ROS name"),
    (((OBS, 0, "type"), "sensor_msgs/Image"), "observations[0].type", "'sensor_msgs/msg/Image'?"),
    (((OBS, 0, "type"), "sensor_msgs/msg/JointState"), "observations[0].type", "for an image"),
    (((OBS, 0, "shape"), DELETE), "observations[0].shape", "[height, width, 3]"),
    (((OBS, 0, "shape"), [128, 128]), "observations[0].shape", "[height, width, 3]"),
    (((OBS, 0, "shape"), [128, 128, 4]), "observations[0].shape", "three channels"),
    (((OBS, 0, "shape"), [128, 0, 3]), "observations[0].shape", "1 to 16384"),
    (((OBS, 0, "shape"), [128.0, 128, 3]), "observations[0].shape", "[height, width, 3]"),
    (((OBS, 0, "fields"), SIM[OBS][3]["fields"]), "observations[0].fields", "no fields"),
    (((OBS, 0, "max_age_s"), 0), "observations[0].max_age_s", "> 0, <= 60"),
    (((OBS, 0, "max_age_s"), DELETE), "observations[0].max_age_s", "found nothing"),
    (((OBS, 0, "max_age"), 0.3), "observations[0].max_age", "did you mean 'max_age_s'?"),
    (
        ((OBS, 0, "qos", "reliability"), "best_efort"),
        "observations[0].qos.reliability",
        "did you mean 'best_effort'?",
    ),
    (((OBS, 0, "qos", "depth"), 0), "observations[0].qos.depth", ">= 1"),
    (((OBS, 0, "qos", "depth"), 1.5), "observations[0].qos.depth", "a whole number"),
    (((OBS, 0, "qos", "durability"), True), "observations[0].qos.durability", "put quotes"),
    (((OBS, 0, "align", "method"), "nearest"), "observations[0].align.method", "hold, asof, drop"),
    (((OBS, 0, "align", "clock"), "wall"), "observations[0].align.clock", "header, receive"),
    (((OBS, 0, "align", "tolerance_s"), -1), "observations[0].align.tolerance_s", ">= 0"),
    (((OBS, 1, "shape"), [1, 1, 3]), "observations[1].shape", "no shape"),
    (((OBS, 1, "fields"), DELETE), "observations[1].fields", "found nothing"),
    (((OBS, 1, "type"), "sensor_msgs/msg/Image"), "observations[1].type", "image.<name>"),
    (
        ((OBS, 1, "type"), "std_msgs/msg/Float64MultiArray"),
        "observations[1].align.clock",
        "has no header",
    ),
    (((OBS, 1, "fields", 1, "name"), "joint1"), "observations[1].fields[1].name", "used once"),
    (((OBS, 1, "fields", 0, "name"), "Joint 1"), "observations[1].fields[0].name", "lower case"),
    (
        ((OBS, 1, "fields", 0, "path"), "position.joint1"),
        "observations[1].fields[0].path",
        "position[joint_name]",
    ),
    (
        ((OBS, 2, "fields", 0, "path"), "pose.positoin.x"),
        "observations[2].fields[0].path",
        "pose.position.x",
    ),
    (
        ((OBS, 2, "fields", 0, "path"), "pose.position.x()"),
        "observations[2].fields[0].path",
        "field names joined by dots",
    ),
    (
        ((OBS, 2, "fields", 0, "path"), "pose.__class__.x"),
        "observations[2].fields[0].path",
        "field names joined by dots",
    ),
    (((OBS, 1, "fields", 0, "unit"), "deg"), "observations[1].fields[0].unit", "gain: 0.0174533"),
    (((OBS, 1, "fields", 0, "unit"), 1), "observations[1].fields[0].unit", "quotes"),
    (((OBS, 2, "fields", 0, "unit"), "rad"), "observations[2].fields[0].unit", "expected m"),
    (((OBS, 2, "fields", 0, "unit"), "0.01 m"), "observations[2].fields[0].unit", "one of m, rad"),
    (((OBS, 2, "fields", 0, "gain"), 0), "observations[2].fields[0].gain", "not 0"),
    (((OBS, 2, "fields", 0, "gain"), float("inf")), "observations[2].fields[0].gain", "finite"),
    (((OBS, 1, "fields", 0, "limits"), [2, 1]), "observations[1].fields[0].limits", "low < high"),
    ((("action",), DELETE), "action", "found nothing"),
    ((("action", "control_mode"), "ee"), "action.control_mode", "ee_delta, joint_position"),
    ((("action", "horizon"), 0), "action.horizon", ">= 1, <= 256"),
    ((("action", "horizon"), 257), "action.horizon", "<= 256"),
    ((("action", "horizon"), 8.0), "action.horizon", "a whole number"),
    ((("action", "safe"), "zero"), "action.safe", "hold, stop"),
    (((*DIMS, 0, "limits"), DELETE), "action.dims[0].limits", "found nothing"),
    (((*DIMS, 0, "limits"), [1.0]), "action.dims[0].limits", "[low, high]"),
    (((*DIMS, 0, "limits"), [0.0, float("inf")]), "action.dims[0].limits", "finite"),
    (((*DIMS, 0, "limits"), [0.1, 1.0]), "action.dims[0].limits", "0 inside"),
    (((*DIMS, 0, "max_rate"), 1.0), "action.dims[0].max_rate", "no max_rate"),
    (((*DIMS, 0, "unit"), "5 cm"), "action.dims[0].unit", "gain: 0.01"),
    (((*DIMS, 0, "unit"), "0.05 rad"), "action.dims[0].unit", "the unit of dx"),
    (((*DIMS, 0, "name"), "x"), "action.dims[0].name", "dx, dy, dz"),
    (((*DIMS, 1, "name"), "dx"), "action.dims[1].name", "used once"),
    (
        ((*COMMANDS, 0, "fields", "dw"), {"path": "twist.linear.x"}),
        "action.commands[0].fields.dw",
        "the unknown dimension 'dw'",
    ),
    (
        ((*COMMANDS, 0, "fields", "dx"), DELETE),
        "action.commands",
        "no field for the dimension 'dx'",
    ),
    (
        ((*COMMANDS, 0, "fields", "gripper"), {"path": "twist.linear.x"}),
        "action.commands[1].fields.gripper",
        "again",
    ),
    (((*COMMANDS, 0, "fields", "dx", "gain"), 0.0), "action.commands[0].fields.dx.gain", "not 0"),
    (
        ((*COMMANDS, 0, "fields", "dx", "path"), "twist.linear.w"),
        "action.commands[0].fields.dx.path",
        "twist.linear.x",
    ),
    (((*COMMANDS, 0, "fields"), {}), "action.commands[0].fields", "a mapping"),
    (
        ((*COMMANDS, 0, "type"), "geometry_msgs/msg/Twist"),
        "action.commands[0].align.clock",
        "receive",
    ),
    (((*COMMANDS, 0, "joint_names"), ["a"]), "action.commands[0].joint_names", "names no joints"),
    (((*COMMANDS, 0, "time_from_start_s"), 0.1), "action.commands[0].time_from_start_s", "only"),
    (((*COMMANDS, 1, "joint_names"), DELETE), "action.commands[1].joint_names", "by name"),
    (((*COMMANDS, 1, "joint_names"), ["a", "a"]), "action.commands[1].joint_names", "once"),
    (
        ((*COMMANDS, 1, "fields", "gripper", "path"), "points[0].positions[1]"),
        "action.commands[1].fields.gripper.path",
        "joint_names, gripper",
    ),
    (
        ((*COMMANDS, 1, "fields", "gripper", "path"), "points[0].positions[hand]"),
        "action.commands[1].fields.gripper.path",
        "joint_names, gripper",
    ),
    ((("prompt", "state", 0, "stream"), "state.eef"), "prompt.state[0].stream", "'state.ee'?"),
    ((("prompt", "state", 0, "stream"), "image.front"), "prompt.state[0].stream", "state.joints"),
    ((("prompt", "state", 0, "field"), "w"), "prompt.state[0].field", "x, y, z"),
    ((("prompt", "state", 1, "label"), "x"), "prompt.state[1].label", "used once"),
    ((("prompt", "state", 0, "scale"), 0), "prompt.state[0].scale", "not 0"),
    ((("prompt", "state", 3, "scale"), 1.0), "prompt.state[3].scale", "either scale or words"),
    ((("prompt", "state", 3, "words"), [[0.07, "closed"]]), "prompt.state[3].words", ".inf"),
    (
        (("prompt", "state", 3, "words"), [[0.07, "a"], [0.01, "b"]]),
        "prompt.state[3].words",
        "rising",
    ),
    (
        (("prompt", "state", 3, "words"), [[0.07, "a b"], [float("inf"), "c"]]),
        "prompt.state[3].words",
        "without blanks",
    ),
    ((("task",), "task"), "task", "a mapping with topic, qos"),
    ((("extra_topics", 0, "type"), DELETE), "extra_topics[0].type", "package/msg/Name"),
]


@pytest.mark.parametrize(
    ("change", "key", "words"), FAULTS, ids=[f"{f[1]}:{f[2]}" for f in FAULTS]
)
def test_fault_is_found_and_explained(change, key, words):
    faults = faults_of(changed(SIM, change))
    assert key in faults, faults
    assert faults[key].startswith(f"robot.yaml: {key}: found ")
    assert "expected" in faults[key] and words in faults[key]


UR_FAULTS = [
    (((*DIMS, 0, "name"), "pan"), "action.dims[0].name", "hold keeps the present position"),
    (((*DIMS, 0, "unit"), "m/s"), "action.dims[0].unit", "for a position"),
    (((*DIMS, 0, "max_rate"), 0), "action.dims[0].max_rate", "> 0"),
]


@pytest.mark.parametrize(("change", "key", "words"), UR_FAULTS, ids=[f[1] for f in UR_FAULTS])
def test_fault_of_a_joint_contract(change, key, words):
    faults = faults_of(changed(UR, change))
    assert key in faults and words in faults[key]


def test_the_unchanged_contracts_have_no_fault():
    assert faults_of(SIM) == {} and faults_of(UR) == {}


def test_every_fault_is_listed_at_once():
    data = changed(
        SIM,
        (("rate_hz",), 0),
        ((OBS, 0, "topic"), "ee_pose"),
        ((*COMMANDS, 0, "fields", "dx"), DELETE),
        (("prompt", "state", 0, "field"), "w"),
        (("colour",), "red"),
    )
    assert set(faults_of(data)) == {
        "rate_hz",
        "observations[2].topic",
        "action.commands",
        "prompt.state[0].field",
        "colour",
    }


@pytest.mark.parametrize("data", [None, [], "text", 3, {}, {"schema": []}])
def test_data_that_is_no_contract(data):
    assert faults_of(data)


def test_random_damage_never_raises_anything_else():
    """Every value of the contract in turn becomes something of another kind."""

    def paths(here, at=()):
        items = here.items() if isinstance(here, dict) else enumerate(here)
        for key, value in items:
            yield (*at, key)
            if isinstance(value, (dict, list)):
                yield from paths(value, (*at, key))

    count = 0
    for path in paths(SIM):
        for value in (None, -1, [[]], {"a": {}}, ""):
            faults_of(changed(SIM, (path, value)))
            count += 1
    assert count > 500


def test_a_joint_position_never_saturates():
    document = copy.deepcopy(UR)
    document["action"]["dims"][0]["saturate"] = 0.1
    with pytest.raises(ContractError, match="no saturate for joint_position"):
        contract_from_dict(document, source="ur5e")

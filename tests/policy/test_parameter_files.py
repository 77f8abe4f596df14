"""Parameter files: whatever was meant for a node and would not be taken is an error."""

from __future__ import annotations

import re

import pytest

from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.core.parameters.files import (
    Entry,
    check_taken,
    entries_from_arguments,
    find_parameter_file,
    given_value,
)

KEYS = ("contract", "enabled", "cool_down_s", "candidate_timeout_s")
OTHERS = {"policy_node": ("contract", "max_chunk_age_s"), "recorder_node": ("bag_dir",)}
GATE = "/safety_gate_node"


def check(tmp_path, text, node=GATE, more=()):
    """What is left alone of a file given to the gate."""
    path = tmp_path / "p.yaml"
    path.write_text(text)
    entries = entries_from_arguments(["node", "--ros-args", "--params-file", str(path), *more])
    return check_taken(entries, node, KEYS, OTHERS)


@pytest.mark.parametrize(
    "text",
    [
        "/**:\n  ros__parameters: {cool_down_s: 2.0}",
        "safety_gate_node:\n  ros__parameters: {cool_down_s: 2.0, use_sim_time: true}",
        "/safety_gate_node:\n  ros__parameters: {enabled: true}",
        "/*:\n  ros__parameters: {enabled: true}",
        "/**/safety_gate_node:\n  ros__parameters: {enabled: true}",
        "safety_gate_node:\n  ros__parameters: {enabled: true}\n"
        "policy_node:\n  ros__parameters: {max_chunk_age_s: 1.0}\n"
        "camera_driver:\n  ros__parameters: {fps: 30}",
        "/right/safety_gate_node:\n  ros__parameters: {enabled: true}\n"
        "/safety_gate_node:\n  ros__parameters: {enabled: false}\n"
        "/**:\n  ros__parameters: {cool_down_s: 2.0}",
        "/**:\n  ros__parameters: {cool_down_s: 2.0}\n"
        "camera_driver:\n  ros__parameters: {enabled: true, fps: 30}\n"
        "robot_state_publisher:\n  ros__parameters: {robot_description: x}\n"
        "lab_recorder:\n  ros__parameters: {contract: x, bag_dir: bags}\n"
        "/left/policy_node:\n  ros__parameters: {contract: x}",
        "safety_gate_node:\n  ros__parameters: {enabled: true}\n"
        "safety_gate_node_left:\n  ros__parameters: {enabled: true}",
    ],
)
def test_what_is_right_is_taken(tmp_path, text):
    assert check(tmp_path, text) == []


def test_keys_of_other_nodes_are_left_alone_and_told_where_all_are_meant(tmp_path):
    (told,) = check(tmp_path, "/**:\n  ros__parameters: {enabled: true, max_chunk_age_s: 1.0}")
    assert told.endswith("p.yaml: /**: max_chunk_age_s is for policy_node, not for " + GATE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "/**:\n  ros__parameters: {cool_down: 2.0}",
            "p.yaml: /**: cool_down: /safety_gate_node has no such parameter: did you mean "
            "cool_down_s?",
        ),
        (
            "safety_gate_node:\n  ros__parameters: {max_chunk_age_s: 1.0}",
            "p.yaml: /safety_gate_node: max_chunk_age_s: /safety_gate_node has no such parameter",
        ),
        (
            "/**:\n  ros__parameters: {gain: 2.0}",
            "/**: gain: /safety_gate_node has no such parameter, expected one of contract, "
            "enabled, cool_down_s, candidate_timeout_s; keys of other nodes belong under",
        ),
        (
            "safty_gate_node:\n  ros__parameters: {cool_down_s: 2.0}",
            "p.yaml: /safty_gate_node: found no such node: did you mean /safety_gate_node?, "
            "expected /safety_gate_node or /**; cool_down_s: 2.0 would not be taken",
        ),
        (
            "/**:\n  ros__parameters: {use_sim_time: true}\n"
            "safety_gate:\n  ros__parameters: {cool_down_s: 2.0}",
            "p.yaml: /safety_gate: found no such node",
        ),
        (
            "policy_node:\n  ros__parameters: {max_chunk_age_s: 1.0}",
            "p.yaml: /policy_node: found no such node",
        ),
        ("a:\n  b:\n    ros__parameters: {cool_down_s: 1.0}", "/a/b: found no such node"),
        ("/**:\n  ros_parameters: {a: 1}", "/**/ros_parameters/a: found 1, expected 'NODE: ros__"),
        ("cool_down_s: 2.0", "cool_down_s: found 2.0, expected 'NODE: ros__parameters"),
        (
            "ros__parameters: {cool_down_s: 2.0}",
            "ros__parameters: found {'cool_down_s': 2.0}, expected 'NODE",
        ),
        ("/**:\n  ros__parameters:", "/**: ros__parameters: found nothing, expected 'NODE"),
        ("", "p.yaml: found nothing, expected 'NODE: ros__parameters"),
        ("- 1", "p.yaml: found [1], expected 'NODE"),
        ("/**: [", "p.yaml: not to be read: "),
        (
            "/**:\n  ros__parameters:\n    cool_down_s: 1.0\n    cool_down_s: 5.0",
            "/**: ros__parameters: cool_down_s: found in lines 3 and 4, expected once",
        ),
        # One key under two spellings of a node.
        (
            "safety_gate_node:\n  ros__parameters: {cool_down_s: 2.0}\n"
            "/safety_gate_node:\n  ros__parameters: {cool_down_s: 30.0}",
            "p.yaml: safety_gate_node and /safety_gate_node are one node: cool_down_s: "
            "found 2.0 and 30.0, expected once",
        ),
        (
            "/left/safety_gate_node:\n  ros__parameters: {cool_down_s: 2.0}\n"
            "left:\n  safety_gate_node:\n    ros__parameters: {cool_down_s: 2.0}",
            "p.yaml: /left/safety_gate_node and left: safety_gate_node are one node: cool_down_s: "
            "found 2.0 and 2.0, expected once",
        ),
        (
            "/**:\n  ros__parameters: {a.b: 1, a: {b: 2}}",
            "p.yaml: /**: a.b: found 1 and 2, expected once",
        ),
    ],
)
def test_what_would_not_be_taken_is_named(tmp_path, text, said):
    with pytest.raises(ParameterError, match=re.escape(said)):
        check(tmp_path, text)


def test_a_name_without_namespace_is_not_that_of_a_node_in_one(tmp_path):
    text = "safety_gate_node:\n  ros__parameters: {cool_down_s: 2.0}\n/**:\n"
    text += "  ros__parameters: {enabled: true}"
    with pytest.raises(ParameterError, match="expected /left/safety_gate_node or"):
        check(tmp_path, text, "/left/safety_gate_node")
    assert check(tmp_path, text) == []


SHARED = "/**:\n  ros__parameters: {contract: sim_panda}\n"


@pytest.mark.parametrize(
    "name",
    ["/gate_node", "/safetygate", "/robot1/safety_gate_node", "/*/safety_gate_node", "/left/**"]
    + ["/safety_gate_node2", "/safety_gate_node_left", "/arm_stop", "/a/gate1"],
)
def test_a_name_that_is_not_the_nodes_is_no_place_for_its_keys(tmp_path, name):
    said = f"p.yaml: {name}: found no such node"
    with pytest.raises(ParameterError, match=re.escape(said)) as caught:
        check(tmp_path, f'{SHARED}"{name}":\n  ros__parameters: {{cool_down_s: 30.0}}')
    text = str(caught.value)
    assert text.endswith(f"expected {GATE} or /**; cool_down_s: 30.0 would not be taken")
    assert "*" in name or f"did you mean {GATE}?" in text


def test_a_key_that_others_have_too_tells_by_the_name(tmp_path):
    with pytest.raises(ParameterError, match="/gate: found no such node: did you mean /safety_ga"):
        check(tmp_path, f"{SHARED}gate:\n  ros__parameters: {{enabled: false}}")
    assert check(tmp_path, f"{SHARED}lamp:\n  ros__parameters: {{enabled: false}}") == []


def test_a_file_for_several_robots_has_an_entry_of_each_ones_own(tmp_path):
    left = "/left/safety_gate_node:\n  ros__parameters: {cool_down_s: 2.0}\n"
    right = "/right/safety_gate_node:\n  ros__parameters: {cool_down_s: 3.0}\n"
    spaces = "/left/**:\n  ros__parameters: {enabled: true}\n"
    spaces += "/right/**:\n  ros__parameters: {enabled: false}\n"
    for node in ("/left/safety_gate_node", "/right/safety_gate_node"):
        assert check(tmp_path, SHARED + left + right, node) == []
        assert check(tmp_path, SHARED + spaces, node) == []
    with pytest.raises(ParameterError, match="/left/safety_gate_node: found .*\n.*/right/safety"):
        check(tmp_path, SHARED + left + right)
    # Under names of their own instead.
    entries = [
        Entry("p.yaml", "/left_gate", {"cool_down_s": 2.0}),
        Entry("p.yaml", "/right_gate", {"cool_down_s": 3.0}),
    ]
    assert check_taken(entries, "/left_gate", KEYS, OTHERS, "safety_gate_node") == []
    shared = Entry("p.yaml", "/**", {"enabled": True})
    with pytest.raises(ParameterError, match="/right_gate: found no such node"):
        check_taken([shared, entries[1]], "/left_gate", KEYS, OTHERS, "safety_gate_node")


def test_two_spellings_of_a_node_may_share_its_keys(tmp_path):
    text = "safety_gate_node:\n  ros__parameters: {cool_down_s: 2.0}\n"
    text += "/safety_gate_node:\n  ros__parameters: {enabled: true}"
    assert check(tmp_path, text) == []


def test_quality_of_service_is_no_parameter(tmp_path):
    text = "/**:\n  ros__parameters: {qos_overrides: {/tf: {publisher: {depth: 1}}}}"
    said = f"p.yaml: /**: qos_overrides./tf.publisher.depth: {GATE} has no such parameter, expec"
    with pytest.raises(ParameterError, match=re.escape(said)):
        check(tmp_path, text)


def test_arguments_are_held_to_the_same(tmp_path):
    def given(*arguments):
        entries = entries_from_arguments(["node", "-p", "x:=1", "--ros-args", *arguments])
        return check_taken(entries, GATE, KEYS, OTHERS)

    assert given("-p", "enabled:=true", "-r", "__ns:=/", "--", "-p", "nonsense:=1") == []
    assert given("--param", "safety_gate_node:enabled:=true") == []
    with pytest.raises(ParameterError, match="command line: /\\*\\*: enabld: .*mean enabled"):
        given("-p", "enabld:=true")
    with pytest.raises(ParameterError, match="/safty_gate_node: found no such node"):
        given("-p", "enabled:=true", "-p", "safty_gate_node:cool_down_s:=1.0")
    with pytest.raises(ParameterError, match="line: /gate_node: .*cool_down_s: 30.0 would not be"):
        given("-p", "contract:=sim_panda", "-p", "gate_node:cool_down_s:=30.0")


def test_the_last_source_of_a_key_is_known(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("/**:\n  ros__parameters: {cool_down_s: 2.0, enabled: true}")
    entries = entries_from_arguments(
        ["--ros-args", "--params-file", str(path), "-p", "enabled:=false"]
    )
    assert given_value(entries, GATE, "cool_down_s") == (f"{path}: /**", 2.0)
    assert given_value(entries, GATE, "enabled") == ("command line: /**", False)
    assert given_value(entries, GATE, "contract") == ("", "")


def test_a_file_is_found_below_home_or_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.yaml").touch()
    assert find_parameter_file("~/p.yaml", "params") == tmp_path / "p.yaml"
    for text, what in (("~/q.yaml", "no such file"), (str(tmp_path), "a folder")):
        with pytest.raises(ParameterError, match=f"gate_params: found '{text}' .{what}."):
            find_parameter_file(text, "gate_params")

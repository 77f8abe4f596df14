"""What launch files refuse, and which policy is taken where none is named."""

from __future__ import annotations

import json

import pytest

from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.core.parameters.launch_check import (
    LaunchArgumentError,
    arguments_given_to,
    check_arguments,
)
from roboalign_policy.core.policy.default_place import (
    DEMO_POLICY,
    POLICY_VARIABLE,
    BestPolicyError,
    find_policy,
)

DECLARED = ("policy", "params", "gate_params", "use_sim")


def test_unknown_arguments_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.yaml").touch()
    values = {"gate_params": "~/p.yaml"}
    check_arguments(values, ["gate_params"], DECLARED, ["use_sim:=true", "launch-prefix:=nice"])
    assert values["gate_params"] == str(tmp_path / "p.yaml")
    with pytest.raises(LaunchArgumentError, match="gate_parms:=x: .* did you mean gate_params?"):
        check_arguments(values, [], DECLARED, ["gate_parms:=x"])
    with pytest.raises(LaunchArgumentError, match="zzz; expected one of policy, params"):
        check_arguments(values, [], DECLARED, ["zzz:=1"])
    for text in ("~/q.yaml", "", str(tmp_path)):
        with pytest.raises(ParameterError, match="gate_params: found "):
            check_arguments({"gate_params": text}, ["gate_params"], DECLARED, [])


def test_arguments_of_another_launch_file_are_not_judged(tmp_path):
    ours, theirs = tmp_path / "a" / "real.launch.py", tmp_path / "b" / "real.launch.py"
    for path in (ours, theirs):
        path.parent.mkdir()
        path.touch()
    given = ["x:=1"]

    def of(*command):
        return arguments_given_to(str(ours), "pack", ["ros2", "launch", *command, *given], given)

    assert of("pack", "real.launch.py") == of(str(ours)) == given
    assert of("other", "real.launch.py") == of(str(theirs)) == []


def test_the_demos_policy_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(POLICY_VARIABLE, raising=False)
    here = tmp_path / DEMO_POLICY
    here.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find_policy() == here
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    package = tmp_path / "roboalign_policy" / "roboalign_policy"
    checkout = package / "core" / "policy" / "default_place.py"
    monkeypatch.setattr("roboalign_policy.core.policy.default_place.__file__", str(checkout))
    assert find_policy() == here
    monkeypatch.setenv(POLICY_VARIABLE, str(other))
    assert find_policy() == other
    monkeypatch.setenv(POLICY_VARIABLE, "/no/such")
    with pytest.raises(FileNotFoundError, match=r"\$ROBOALIGN_POLICY: found no folder '/no/such'"):
        find_policy()
    with pytest.raises(FileNotFoundError, match="^found no folder 'x', expected a checkpoint"):
        find_policy("x")
    monkeypatch.delenv(POLICY_VARIABLE)
    here.rmdir()
    with pytest.raises(FileNotFoundError, match="found no checkpoint in .* nor in .*demo"):
        find_policy()


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """Folder of a demo that chose an arm, where the search begins and where it ends."""
    monkeypatch.delenv(POLICY_VARIABLE, raising=False)
    package = tmp_path / "checkout" / "roboalign_policy" / "roboalign_policy"
    place = package / "core" / "policy" / "default_place.py"
    monkeypatch.setattr("roboalign_policy.core.policy.default_place.__file__", str(place))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    folder = tmp_path / "checkout" / "out" / "demo"
    for name in ("grpo", "head"):
        (folder / name / "policy").mkdir(parents=True)
    return folder


def test_the_policy_that_the_demo_chose_is_taken(demo, tmp_path):
    assert find_policy() == demo / "grpo" / "policy", "of an earlier version, that chose none"
    chosen = {"arm": "head", "policy": "head/policy", "why": "it wins", "hash": "0"}
    (demo / "best.json").write_text(json.dumps(chosen))
    assert find_policy() == demo / "head" / "policy"
    nearer = tmp_path / "here" / "out" / "demo" / "grpo" / "policy"
    nearer.mkdir(parents=True)
    assert find_policy() == nearer, "a demo of the present folder comes first"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "expected JSON"),
        ("[]", r"found \[\], expected keys with values"),
        ('{"arm": "head"}', "policy: found None, expected a folder beside this file"),
        ('{"policy": 3}', "policy: found 3, expected a folder"),
        ('{"policy": ""}', "policy: found '', expected a folder"),
        ('{"policy": "/etc"}', "policy: found '/etc', expected a folder beside this file"),
        ('{"policy": "../x"}', r"policy: found '\.\./x', expected a folder beside this file"),
        ('{"policy": "sft/policy"}', "policy: found 'sft/policy', and there is no folder"),
    ],
)
def test_a_choice_that_names_no_policy_is_an_error_that_names_the_file(demo, text, said):
    """The policy of an earlier version is there, and is not taken in its place."""
    (demo / "best.json").write_text(text)
    with pytest.raises(BestPolicyError, match=f"^{demo / 'best.json'}: {said}.*--redo choose"):
        find_policy()
    (demo / "best.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BestPolicyError, match="expected JSON"):
        find_policy()

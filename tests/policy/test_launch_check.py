"""What launch files refuse, and which policy is taken where none is named."""

from __future__ import annotations

import pytest

from roboalign_policy.core.parameters.declared import ParameterError
from roboalign_policy.core.parameters.launch_check import (
    LaunchArgumentError,
    arguments_given_to,
    check_arguments,
)
from roboalign_policy.core.policy.default_place import DEMO_POLICY, POLICY_VARIABLE, find_policy

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

"""Two contracts that do not fit are told apart by keys, in a few words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.contract.difference import differences

pytest.importorskip("torch", reason="torch is not installed: run `make setup`")

from roboalign_policy.models.checkpoint import check_same_robot  # noqa: E402
from roboalign_policy.models.loading import ModelError  # noqa: E402


@pytest.mark.parametrize("name", ["ur5e", "so101", "franka_fr3", "bimanual_so101"])
def test_another_robots_contract_is_told_by_its_keys(name):
    own, other = load_contract("sim_panda"), load_contract(name)
    with pytest.raises(ModelError) as raised:
        check_same_robot(Path("run/policy"), own, other)
    text = str(raised.value)
    assert text.startswith("run/policy: the policy was trained for sim_panda, and contract ")
    assert f" {name} is another robot: " in text
    assert "action.dims" in text and "found " in text and "expected " in text
    assert len(text) < 700 and "(name=" not in text and "Dim(" not in text
    if name == "ur5e":
        assert "rate_hz: found 20.0, expected 10.0; " in text
        assert "action.control_mode: found joint_position, expected ee_delta" in text


def test_one_value_is_named_to_the_dimension():
    contract = load_contract("sim_panda")
    dims = list(contract.action.dims)
    changed = [*dims[:2], dataclasses.replace(dims[2], limits=(-0.5, 0.5)), *dims[3:]]
    assert differences(tuple(changed), tuple(dims), "dims") == [
        "dims[dz].limits: found (-0.5, 0.5), expected (-1.0, 1.0)"
    ]
    assert differences(contract, contract, "contract") == []


def test_topics_and_qos_may_differ():
    contract = load_contract("sim_panda")
    first, *rest = contract.observations
    moved = dataclasses.replace(first, topic="elsewhere")
    check_same_robot(
        Path("p"), contract, dataclasses.replace(contract, observations=(moved, *rest))
    )

"""Parameters of policy_node that are right alone and wrong together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.contract.files import check_policy_folder
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.nodes.policy.policy_setup import check_together, load_policy, overtake_steps


def test_a_server_must_be_given_up_before_its_model_counts_as_hung():
    late = PolicyParameters(inference="remote", remote_timeout_s=3.0, inference_timeout_s=3.0)
    with pytest.raises(ValueError, match="remote_timeout_s: found 3 s, .*inference_timeout_s"):
        check_together(late)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"inference": "remote"},
        {"inference": "remote", "remote_timeout_s": 2.9, "inference_timeout_s": 3.0},
        {
            "inference": "remote",
            "execution": "lockstep",
            "output": "command",
            "remote_timeout_s": 9.0,
            "inference_timeout_s": 3.0,
        },
        {"inference": "local", "remote_timeout_s": 9.0, "inference_timeout_s": 3.0},
    ],
)
def test_what_fits_is_taken(given):
    check_together(PolicyParameters(**given))


def test_a_missing_policy_is_named_before_a_missing_contract(tmp_path):
    """The gate and the policy node take the contract out of the policy's folder."""
    none, file = tmp_path / "none", tmp_path / "policy.bin"
    file.write_text("")
    with pytest.raises(ValueError, match=f"^policy: {none}: found no such folder, expected the f"):
        load_policy(PolicyParameters(policy=str(none), contract="no_such_robot"))
    with pytest.raises(ValueError, match=f"^policy: {file}: found a file, expected the folder"):
        load_policy(PolicyParameters(policy=str(file)))
    with pytest.raises(ValueError, match="^policy: found an empty text"):
        check_policy_folder("")
    assert check_policy_folder(tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("contract", "given", "steps"),
    [("sim_panda", 0, 1), ("sim_panda", 3, 3), ("so101", 0, 30), ("so101", 2, 2)],
)
def test_steps_may_be_overtaken_by_one_and_positions_by_all(contract, given, steps):
    robot = load_contract(contract)
    policy = SimpleNamespace(contract=robot, horizon=robot.action.horizon)
    assert overtake_steps(policy, PolicyParameters(overtake_steps=given)) == steps

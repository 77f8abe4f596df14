"""Parameters of policy_node that are right alone and wrong together."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.contract.files import check_policy_folder
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.nodes.policy.policy_setup import (
    blend_steps,
    check_together,
    drive_from_policy,
    drive_mode,
    load_policy,
    overtake_steps,
    thought_settings,
)


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


@pytest.mark.parametrize(
    ("contract", "given", "steps"),
    [("sim_panda", -1, 0), ("sim_panda", 2, 2), ("so101", -1, 2), ("so101", 0, 0)],
)
def test_steps_go_straight_onto_the_new_path_and_positions_are_faded(contract, given, steps):
    policy = SimpleNamespace(contract=load_contract(contract))
    assert blend_steps(policy, PolicyParameters(blend_steps=given)) == steps


@pytest.mark.parametrize(("contract", "horizon"), [("sim_panda", 8), ("so101", 30)])
def test_a_chunk_that_continues_the_old_one_goes_on_while_the_model_computes(contract, horizon):
    policy = SimpleNamespace(contract=load_contract(contract), horizon=horizon)
    parameters = PolicyParameters(chunking="guided")
    assert drive_mode(policy, parameters) == "async_blend"
    assert overtake_steps(policy, parameters) == horizon
    with pytest.raises(ValueError, match="chunking: found guided, expected fresh with mode: sync"):
        check_together(PolicyParameters(chunking="guided", mode="sync"))


def policy_that(thinks=True, contract="sim_panda", chunking="fresh"):
    robot = load_contract(contract)
    return SimpleNamespace(
        contract=robot,
        horizon=robot.action.horizon,
        dims=len(robot.action.dims),
        thinks=thinks,
        chunking=chunking,
        replan_after_steps=4,
    )


@pytest.mark.parametrize(("given", "steps"), [({}, 4), ({"replan_after_steps": 8}, 8)])
def test_the_checkpoint_says_how_much_of_a_chunk_is_driven_unless_somebody_does(given, steps):
    drive = drive_from_policy(policy_that(), PolicyParameters(**given))
    assert drive.settings.replan_after_steps == steps


@pytest.mark.parametrize(("given", "age_s"), [({}, 3.2), ({"reasoning_chunks": 5}, 5.6)])
def test_the_greatest_age_of_a_thought_comes_from_the_contracts_rate(given, age_s):
    parameters = PolicyParameters(reasoning="every_n", **given)
    assert thought_settings(policy_that(), parameters).max_age_s == pytest.approx(age_s)
    named = PolicyParameters(reasoning="every_n", max_thought_age_s=1.5)
    assert thought_settings(policy_that(), named).max_age_s == 1.5


@pytest.mark.parametrize("mode", ["every_n", "when_fulfilled"])
def test_a_policy_without_thoughts_has_none_to_keep(mode):
    parameters = PolicyParameters(reasoning=mode)
    with pytest.raises(ValueError, match=f"reasoning: found {mode}, expected always or never"):
        thought_settings(policy_that(thinks=False), parameters)


def test_a_server_that_thinks_is_not_told_to_stop_it():
    with pytest.raises(ValueError, match=r"reasoning: found never, .*start it with --no-think"):
        thought_settings(policy_that(), PolicyParameters(reasoning="never"))
    thought_settings(policy_that(thinks=False), PolicyParameters(reasoning="never"))


def test_without_a_gripper_nothing_tells_when_a_thought_is_fulfilled():
    policy = policy_that()
    names = SimpleNamespace(names=("dx", "dy"))
    policy.contract = SimpleNamespace(name="two_axes", rate_hz=10.0, action=names)
    with pytest.raises(ValueError, match="when_fulfilled, but no gripper .* two_axes .dx, dy"):
        thought_settings(policy, PolicyParameters(reasoning="when_fulfilled"))


def test_a_server_makes_chunks_as_the_node_expects_them():
    with pytest.raises(ValueError, match="chunking: found fresh, but the server makes chunks gui"):
        drive_from_policy(policy_that(chunking="guided"), PolicyParameters())

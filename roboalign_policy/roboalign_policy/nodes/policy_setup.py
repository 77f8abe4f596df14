"""What policy_node loads when configured: the policy, and the drive with the contract's limits."""

from __future__ import annotations

from typing import Any

from roboalign_policy.core.contract import load_contract
from roboalign_policy.core.drive import Drive
from roboalign_policy.core.drive_types import DriveSettings
from roboalign_policy.core.executor import ActionSpace
from roboalign_policy.core.policy_parameters import PolicyParameters


def load_policy(parameters: PolicyParameters) -> Any:
    """Load the checkpoint that the parameters name; takes seconds, runs in the inference thread.

    Raises:
        ValueError: no checkpoint is named.
        Exception: what the loader finds wrong with contract or checkpoint.
    """
    if not parameters.policy:
        raise ValueError("policy: found an empty text, expected the folder of a checkpoint")
    # Here, so that the node starts (and is tested) without torch.
    from roboalign_policy.models.policy import MLLMPolicy

    contract = load_contract(parameters.contract) if parameters.contract else None
    return MLLMPolicy.load(
        parameters.policy,
        contract=contract,
        grammar=parameters.grammar,
        think=parameters.think,
        max_think_tokens=parameters.max_think_tokens,
        attempts=parameters.attempts,
        device=parameters.device,
        num_threads=parameters.num_threads,
    )


def drive_from_policy(policy: Any, parameters: PolicyParameters) -> Drive:
    """Make the drive for a policy.

    Raises:
        ValueError: policy and contract disagree on the action, or lock step is asked of streams
            without stamps.
    """
    contract = policy.contract
    action = contract.action
    if policy.dims != len(action.dims):
        raise ValueError(
            f"policy: found actions of {policy.dims} dims, "
            f"contract {contract.name} has {len(action.dims)}"
        )
    lockstep = parameters.execution == "lockstep"
    unstamped = [s.key for s in contract.observations if s.align.clock != "header"]
    if lockstep and unstamped:
        raise ValueError(
            f"execution: found lockstep, but {', '.join(unstamped)} of contract {contract.name} "
            "align on receive time; expected header"
        )
    space = ActionSpace(action.names, action.low, action.high, policy.horizon)
    settings = DriveSettings(
        lockstep=lockstep,
        step_s=1.0 / contract.rate_hz,
        replan_after_steps=parameters.replan_after_steps,
        max_chunk_age_s=parameters.max_chunk_age_s,
        max_invalid_chunks=parameters.max_invalid_chunks,
        observation_timeout_s=parameters.observation_timeout_s,
    )
    return Drive(space, settings)

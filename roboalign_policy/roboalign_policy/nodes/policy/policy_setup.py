"""What policy_node loads when configured: the policy, and the drive with the contract's limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rclpy.logging import get_logger

from roboalign_policy.core import keys
from roboalign_policy.core.contract.contract import Contract, load_contract
from roboalign_policy.core.contract.files import check_policy_folder
from roboalign_policy.core.drive.cadence import load_note, too_slow, wait_passively
from roboalign_policy.core.drive.chunk_buffer import ActionSpace
from roboalign_policy.core.drive.cross_fade import make_fade
from roboalign_policy.core.drive.drive import Drive
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.drive.thoughts import NEVER, WHEN_FULFILLED, ThoughtSettings
from roboalign_policy.core.drive.types import ASYNC_BLEND, AUTO, SYNC, DriveSettings
from roboalign_policy.core.policy.options import FRESH, PolicyOptions
from roboalign_policy.core.policy.protocol import Policy
from roboalign_policy.remote.access import load_token
from roboalign_policy.remote.client import RemotePolicy

if TYPE_CHECKING:
    from roboalign_policy.models.policy import MLLMPolicy

#: Steps of a fade between joint positions.
POSITION_BLEND_STEPS = 2


def load_policy(parameters: PolicyParameters) -> Policy:
    """Load the checkpoint that the parameters name; takes seconds, runs in the inference thread.

    Raises:
        ValueError: no checkpoint is named, or a server serves another contract.
        Exception: what the loader finds wrong with contract or checkpoint.
    """
    remote = parameters.inference == "remote"
    folder = None if remote else check_policy_folder(parameters.policy)
    contract = load_contract(parameters.contract) if parameters.contract else None
    if remote:
        return _connect(parameters, contract)
    wait_passively()
    # Here, so that the node starts (and is tested) without torch.
    from roboalign_policy.models.open_policy import open_policy

    options = PolicyOptions(
        grammar=parameters.grammar,
        think=parameters.reasoning != NEVER,
        max_think_tokens=parameters.max_think_tokens,
        attempts=parameters.attempts,
        device=parameters.device,
        num_threads=parameters.num_threads,
        decoder=parameters.decoder,
        chunking=parameters.chunking,
    )
    policy = open_policy(folder, contract, options)
    get_logger("policy_node").info(f"{folder}: {policy.describe()}")
    _settle_threads(policy, parameters)
    return policy


def _settle_threads(policy: MLLMPolicy, parameters: PolicyParameters) -> None:
    """Choose the threads where none are given, and say whether the model keeps the cadence."""
    if parameters.num_threads or not policy.on_cpu:
        return
    from roboalign_policy.models.threads import measure_threads

    log, contract = get_logger("policy_node"), policy.contract
    threads, measured = measure_threads(policy)
    times = ", ".join(f"{count}: {seconds:.3f} s" for count, seconds in sorted(measured.items()))
    log.info(f"num_threads: {threads}, chosen by the time of an answer ({times}; {load_note()})")
    waits = drive_mode(policy, parameters) == SYNC or parameters.execution == "lockstep"
    ahead = 0 if waits else overtake_steps(policy, parameters)
    if slow := too_slow(measured[threads], policy.horizon, ahead, 1.0 / contract.rate_hz):
        log.warning(slow)


def drive_mode(policy: Policy, parameters: PolicyParameters) -> str:
    """Whether the arm rests while the model thinks (`sync`) or goes on (`async_blend`).

    A chunk of end-effector steps is a path from where it was seen to begin: docs/decisions/0013.
    """
    if parameters.mode != AUTO:
        return parameters.mode
    if parameters.chunking != FRESH:
        return ASYNC_BLEND
    steps = policy.contract.action.control_mode == keys.EE_DELTA
    return SYNC if steps else ASYNC_BLEND


def overtake_steps(policy: Policy, parameters: PolicyParameters) -> int:
    """How many steps may follow the observation of the next chunk.

    Steps of an end effector add up, and an old plan leads them astray; positions are absolute,
    and a chunk that continues the old one has its steps.
    """
    if parameters.overtake_steps:
        return parameters.overtake_steps
    if parameters.chunking != FRESH:
        return policy.horizon
    return 1 if policy.contract.action.control_mode == keys.EE_DELTA else policy.horizon


def blend_steps(policy: Policy, parameters: PolicyParameters) -> int:
    """Over how many steps the old chunk is faded into the new one.

    A path of steps that is reached later is a way beside both: docs/decisions/0013.
    """
    if parameters.blend_steps >= 0:
        return parameters.blend_steps
    return 0 if policy.contract.action.control_mode == keys.EE_DELTA else POSITION_BLEND_STEPS


def _connect(parameters: PolicyParameters, contract: Contract | None) -> RemotePolicy:
    """Policy of a server.

    Raises:
        RemoteError: it cannot be reached, refuses, or serves another policy.
        ValueError: it serves another contract than the node is to use.
    """
    policy = RemotePolicy(
        parameters.remote_url,
        token=load_token(parameters.remote_token_file),
        policy_hash=parameters.remote_policy_hash,
        timeout_s=parameters.remote_timeout_s,
        ca_file=parameters.remote_ca_file,
    )
    if contract is not None and contract.hash != policy.contract.hash:
        policy.close()
        raise ValueError(
            f"contract: found {contract.name} ({contract.hash[:12]}), but {parameters.remote_url} "
            f"serves {policy.contract.name} ({policy.contract.hash[:12]}); expected the same: "
            "start the server with --contract"
        )
    return policy


def check_together(parameters: PolicyParameters) -> None:
    """Refuse parameters that are right alone and wrong together.

    Raises:
        ValueError: naming both parameters.
    """
    remote_s, limit_s = parameters.remote_timeout_s, parameters.inference_timeout_s
    driven_by_server = parameters.inference == "remote" and parameters.execution == "realtime"
    if driven_by_server and remote_s >= limit_s:
        raise ValueError(
            f"remote_timeout_s: found {remote_s:g} s, expected less than inference_timeout_s "
            f"({limit_s:g} s): a server that is late would count as a model that hangs, and only "
            "cleanup and configure end that"
        )
    if parameters.execution == "lockstep" and parameters.output == "candidate":
        raise ValueError(
            "output: found candidate, expected command with execution: lockstep; the safety gate "
            "works on the steady clock, which means nothing while the world stands still"
        )
    if parameters.mode == SYNC and parameters.chunking != FRESH:
        raise ValueError(
            f"chunking: found {parameters.chunking}, expected fresh with mode: sync; the arm "
            "rests while the model computes, so there is nothing to continue"
        )


def thought_settings(policy: Policy, parameters: PolicyParameters) -> ThoughtSettings:
    """How long a thought of the policy is kept.

    Raises:
        ValueError: the policy has no thoughts, or has them always; or no gripper tells when one
            is fulfilled.
    """
    contract, mode = policy.contract, parameters.reasoning
    chunks = parameters.reasoning_chunks
    age_s = parameters.max_thought_age_s or (chunks + 2) * policy.horizon / contract.rate_hz
    settings = ThoughtSettings(mode, chunks, age_s)
    if settings.kept and not policy.thinks:
        raise ValueError(f"reasoning: found {mode}, expected always or never: {_THOUGHTLESS}")
    if mode == NEVER and policy.thinks:
        raise ValueError(
            "reasoning: found never, expected another with this server, whose policy thinks: "
            "start it with --no-think"
        )
    if mode == WHEN_FULFILLED and not any(map(keys.is_gripper, contract.action.names)):
        raise ValueError(
            f"reasoning: found when_fulfilled, but no gripper in the actions of contract "
            f"{contract.name} ({', '.join(contract.action.names)}) tells when a thought is; "
            "expected always, every_n or never"
        )
    return settings


_THOUGHTLESS = "this policy acts without a thought, so there is none to keep"


def drive_from_policy(policy: Policy, parameters: PolicyParameters) -> Drive:
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
    if policy.chunking != parameters.chunking:
        raise ValueError(
            f"chunking: found {parameters.chunking}, but the server makes chunks "
            f"{policy.chunking}; expected the same: `roboalign serve --chunking`"
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
        mode=drive_mode(policy, parameters),
        replan_after_steps=parameters.replan_after_steps or policy.replan_after_steps,
        overtake_steps=overtake_steps(policy, parameters),
        max_chunk_age_s=parameters.max_chunk_age_s,
        max_invalid_chunks=parameters.max_invalid_chunks,
        observation_timeout_s=parameters.observation_timeout_s,
        inference_timeout_s=parameters.inference_timeout_s,
        reasoning=thought_settings(policy, parameters),
    )
    blend = blend_steps(policy, parameters)
    fade = make_fade(action.names, action.control_mode, blend, action.low, action.high)
    return Drive(space, settings, None if settings.sync else fade)

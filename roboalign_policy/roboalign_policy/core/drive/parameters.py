"""Parameters of policy_node: name, default, unit, range and description of each, once."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core.drive.thoughts import ALWAYS, REASONING
from roboalign_policy.core.drive.types import AUTO, MODES
from roboalign_policy.core.parameters.declared import param
from roboalign_policy.core.policy.options import CHUNKING, FRESH


@dataclass(frozen=True)
class PolicyParameters:
    """What policy_node can be told; `config/policy.yaml` repeats the defaults."""

    policy: str = param("", "folder of the checkpoint that drives")
    contract: str = param(
        "", "robot contract (path or packaged name); empty: the one stored in the checkpoint"
    )
    inference: str = param(
        "local",
        "local: the checkpoint on this machine; remote: `roboalign serve` at remote_url",
        choices=("local", "remote"),
    )
    remote_url: str = param(
        "ws://127.0.0.1:8765", "remote: address of the server; wss:// for TLS (docs/remote.md)"
    )
    remote_policy_hash: str = param(
        "", "remote: hash of the policy that may drive; empty: any, but always the same"
    )
    remote_token_file: str = param("", "remote: file with the token; empty: $ROBOALIGN_TOKEN")
    remote_ca_file: str = param(
        "", "remote: PEM file of the certificates that are believed; empty: the system's"
    )
    remote_timeout_s: float = param(
        2.0, "remote: longest time from question to answer", unit="s", low=0.05, high=60.0
    )
    execution: str = param(
        "realtime",
        "realtime: a timer on the steady clock; lockstep: one step per observation",
        choices=("realtime", "lockstep"),
    )
    autostart: bool = param(
        False, "configure and activate at start-up, without a lifecycle manager"
    )
    enabled: bool = param(
        False, "drive whenever active and an instruction is there; false: only for RunPolicy goals"
    )
    output: str = param(
        "candidate",
        "candidate: what the policy wants goes to safety_gate_node; command: straight to the "
        "contract's command topics, for lock step with a simulator",
        choices=("candidate", "command"),
    )
    mode: str = param(
        AUTO,
        "sync: the arm holds while the model thinks; async_blend: the next chunk is asked for "
        "early and faded in; auto: sync for end-effector steps, async_blend for joint positions "
        "and with chunking; lock step is always sync",
        choices=(AUTO, *MODES),
    )
    overtake_steps: int = param(
        0,
        "async_blend: steps of the old chunk that may follow the observation of the next one; "
        "then the arm holds until that is there; 0: one for end-effector steps, all for joint "
        "positions and with chunking",
        low=0,
        high=1000,
    )
    blend_steps: int = param(
        -1,
        "async_blend: steps over which the old chunk is faded into the new one; -1: two for joint "
        "positions, none for end-effector steps, which then go straight onto the new path",
        low=-1,
        high=100,
    )
    control_rate_hz: float = param(
        0.0,
        "rate of the set-points; 0: 100 Hz for joint positions, the contract's rate for "
        "end-effector steps",
        unit="Hz",
        low=0.0,
        high=1000.0,
    )
    replan_after_steps: int = param(
        0,
        "steps executed of a chunk before the next one is wanted; 0: as many as the checkpoint "
        "says (an action head: half of them), else the whole chunk",
        low=0,
    )
    max_chunk_age_s: float = param(
        3.0,
        "greatest age of a chunk's observation while it is executed",
        unit="s",
        low=0.05,
        high=60.0,
    )
    max_invalid_chunks: int = param(3, "invalid chunks in a row that end a run", low=1, high=1000)
    observation_timeout_s: float = param(
        2.0,
        "a RunPolicy goal ends after this time without a usable frame, or with a closed gate",
        unit="s",
        low=0.1,
        high=600.0,
    )
    inference_timeout_s: float = param(
        5.0,
        "in real time a model that has not answered after this time counts as hung",
        unit="s",
        low=0.1,
        high=600.0,
    )
    gate_timeout_s: float = param(
        0.5,
        "a safety gate that says nothing for this time counts as gone",
        unit="s",
        low=0.05,
        high=10.0,
    )
    status_period_s: float = param(1.0, "period of ~/status", unit="s", low=0.1, high=60.0)
    device: str = param("auto", "torch device of the model: auto, cpu, cuda, cuda:1 ...")
    num_threads: int = param(
        0,
        "torch threads of the inference; 0: as many as help, measured at the start",
        low=0,
        high=1024,
    )
    decoder: str = param(
        "auto",
        "how actions come out of the model where a checkpoint has both: fast (tokens) or flow "
        "(action head); auto: as the checkpoint says",
        choices=("auto", "fast", "flow"),
    )
    grammar: bool = param(True, "let the grammar of the tokenizer keep every chunk decodable")
    reasoning: str = param(
        ALWAYS,
        "when the policy thinks: always: before every chunk; every_n: once for reasoning_chunks "
        "chunks; when_fulfilled: when the gripper has switched, or half of max_thought_age_s is "
        "over; never: it acts without a thought. In real time the next thought of every_n and "
        "when_fulfilled is made beside the actions",
        choices=REASONING,
    )
    reasoning_chunks: int = param(2, "every_n: chunks that one thought serves", low=1, high=1000)
    max_thought_age_s: float = param(
        0.0,
        "greatest age of the observation that a thought answers, when it is acted on; older than "
        "that the arm stops; 0: the time of reasoning_chunks + 2 chunks at the contract's rate",
        unit="s",
        low=0.0,
        high=600.0,
    )
    chunking: str = param(
        FRESH,
        "how a chunk continues the one that is executed: fresh: not; guided: real-time chunking, "
        "through the head's Jacobian; constant: the same with a constant velocity; prefix: by a "
        "head that was trained with given_prefix; all but fresh are for an action head, and the "
        "arm then goes on while the model computes (mode)",
        choices=CHUNKING,
    )
    max_think_tokens: int = param(
        48, "greatest length of the reasoning in tokens", low=1, high=100000
    )
    attempts: int = param(
        3,
        "answers asked for until one decodes within the limits: greedy first, then sampled",
        low=1,
        high=100,
    )

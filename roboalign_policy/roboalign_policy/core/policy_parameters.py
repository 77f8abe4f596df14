"""Parameters of policy_node: name, default, unit, range and description of each, once."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core.parameters import param


@dataclass(frozen=True)
class PolicyParameters:
    """What policy_node can be told; `config/policy.yaml` repeats the defaults."""

    policy: str = param("", "folder of the checkpoint that drives")
    contract: str = param(
        "", "robot contract (path or packaged name); empty: the one stored in the checkpoint"
    )
    execution: str = param(
        "realtime",
        "realtime: a steady timer at the contract's rate; lockstep: one step per observation",
        choices=("realtime", "lockstep"),
    )
    autostart: bool = param(
        False, "configure and activate at start-up, without a lifecycle manager"
    )
    enabled: bool = param(
        False, "drive whenever active and an instruction is there; false: only for RunPolicy goals"
    )
    replan_after_steps: int = param(
        0, "steps executed of a chunk before the next one is wanted; 0: the whole chunk", low=0
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
        "a RunPolicy goal ends after this time without a usable frame",
        unit="s",
        low=0.1,
        high=600.0,
    )
    status_period_s: float = param(1.0, "period of ~/status", unit="s", low=0.1, high=60.0)
    device: str = param("auto", "torch device of the model: auto, cpu, cuda, cuda:1 ...")
    num_threads: int = param(
        0, "torch threads of the inference; 0: torch's own choice", low=0, high=1024
    )
    grammar: bool = param(True, "let the grammar of the tokenizer keep every chunk decodable")
    think: bool = param(True, "ask for the reasoning before the action")
    max_think_tokens: int = param(
        48, "greatest length of the reasoning in tokens", low=1, high=100000
    )
    attempts: int = param(
        3,
        "answers asked for until one decodes within the limits: greedy first, then sampled",
        low=1,
        high=100,
    )

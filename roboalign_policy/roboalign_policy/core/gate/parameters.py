"""Parameters of safety_gate_node: name, default, unit, range and description of each, once."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core.parameters.declared import param


@dataclass(frozen=True)
class GateParameters:
    """What safety_gate_node can be told; `config/safety_gate.yaml` repeats the defaults."""

    contract: str = param(
        "", "robot contract (path or packaged name); empty: the one stored in the checkpoint"
    )
    policy: str = param("", "folder of the checkpoint, for its contract; unused with `contract`")
    enabled: bool = param(
        False, "let candidates pass as soon as all is well after the start, without ~/enable"
    )
    dry_run: bool = param(
        False, "send what passes to dry_run/<topic> instead of the topics of the controllers"
    )
    robot_description: bool = param(
        False, "await topic robot_description and hold the joints to its limits too"
    )
    candidate_timeout_s: float = param(
        0.15,
        "greatest silence of a sender that drives, and greatest age of what it sends",
        unit="s",
        low=0.02,
        high=5.0,
    )
    max_observation_age_s: float = param(
        3.5,
        "greatest age of the observation that a candidate answers; above policy_node's "
        "max_chunk_age_s",
        unit="s",
        low=0.05,
        high=60.0,
    )
    cool_down_s: float = param(
        1.0, "time from a stop to the first possible ~/reset", unit="s", low=0.0, high=60.0
    )
    max_skew_s: float = param(
        0.05, "how far a stamp may lie in the future", unit="s", low=0.0, high=1.0
    )
    teleop_release_s: float = param(
        0.5,
        "silence on the teleop/... topics after which a person has let go",
        unit="s",
        low=0.05,
        high=10.0,
    )
    deadman_timeout_s: float = param(
        0.0,
        "topic deadman must say true at least so often while the arm moves; 0: there is none",
        unit="s",
        low=0.0,
        high=5.0,
    )
    estop_timeout_s: float = param(
        0.0,
        "topic estop must say false at least so often while the arm moves; 0: only true counts",
        unit="s",
        low=0.0,
        high=5.0,
    )
    report_file: str = param(
        "", "JSON file of the latency and cadence report, written at the end; empty: none"
    )

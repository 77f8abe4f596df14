"""Which policies of an experiment are the same one: by their hash, and by how they act."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

from roboalign_training.demo.experiment import ArmPolicy
from roboalign_training.evaluate.closed_loop import DrivingOptions, describe_run


def policy_hash(policy: ArmPolicy, out: Path) -> str:
    """Hash of weights, decoder and contract of a policy that was made.

    Args:
        policy: which.
        out: folder of the experiment.

    Raises:
        ModelError: the policy cannot be used.
    """
    return describe_run(policy.folder(out), DrivingOptions())["policy_hash"]


def twins(
    policies: Mapping[str, ArmPolicy], out: Path, acts: Callable[[ArmPolicy], Hashable]
) -> dict[str, str]:
    """Of each policy the first one that is equal to it and acts alike; mostly itself.

    Args:
        policies: by name, all of them made.
        out: folder of the experiment.
        acts: what tells apart how equal policies act.
    """
    first: dict[tuple[str, Hashable], str] = {}
    return {
        name: first.setdefault((policy_hash(policy, out), acts(policy)), name)
        for name, policy in policies.items()
    }

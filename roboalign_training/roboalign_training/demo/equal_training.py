"""A training that would be another arm's once more: its result is taken, and it says so.

That is so where two arms start from different arms, do the same, and what they start from turned
out to be one policy: as two action heads where GRPO has kept its base.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from roboalign_training.data.index import write_whole
from roboalign_training.demo.equal_policies import policy_hash
from roboalign_training.demo.experiment import ArmPolicy, Experiment
from roboalign_training.shared.linking import link_weights
from roboalign_training.shared.outputs import read_record
from roboalign_training.shared.run_layout import POLICY, RESULT, RUN, SAME_AS


def same_training(
    policy: ArmPolicy,
    experiment: Experiment,
    out: Path,
    keys: Callable[[ArmPolicy], Mapping[str, Any]],
) -> str | None:
    """The finished policy whose training this one's would be; None where there is none.

    Two arms of one start are two trainings: who writes them wants to see both.

    Args:
        policy: to be trained.
        experiment: of both.
        out: its folder.
        keys: of a policy what its training is told, but for its data, its base and its folder.
    """
    if policy.start is None or (out / policy.name / RUN).is_file():  # begun: it is gone on with
        return None
    policies = experiment.policies()
    for name, other in policies.items():
        if name == policy.name:
            return None  # those behind are not made yet
        if (
            other.arm.stage == policy.arm.stage
            and other.start not in (None, policy.start)
            and keys(other) == keys(policy)
            and SAME_AS not in (read_record(out / name / RESULT) or {SAME_AS: name})
            and policy_hash(policies[policy.start], out) == policy_hash(policies[other.start], out)
        ):
            return name
    return None


def take_training(name: str, source: Path, target: Path) -> dict[str, Any]:
    """Make a policy the result of another's training; returns what `result.json` says.

    Weights are linked where the file system can. The policy's own records go on to name what it
    was trained from.

    Args:
        name: of the other policy.
        source: folder of its run.
        target: folder of the run that is not done.
    """
    theirs = json.loads((source / RESULT).read_text())
    fresh = target / f"{POLICY}.new"
    for left in (target / POLICY, fresh):
        shutil.rmtree(left, ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source / POLICY, fresh, copy_function=link_weights)
    fresh.rename(target / POLICY)
    # What was left out of the data was left out of one training.
    record = {**theirs, "left_out": {}, SAME_AS: name}
    write_whole(target / RESULT, json.dumps(record, indent=1))
    return record

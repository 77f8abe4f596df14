"""policy_node around a policy without a model: the first word of the instruction is its answer."""

from __future__ import annotations

import sys
import time
from types import SimpleNamespace

import numpy as np

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.nodes.policy.policy_node import PolicyNode
from roboalign_policy.nodes.spinning import run_node

HASH = "f" * 64
SLOW_S, LATE_S = 1.5, 12.0


class FakePolicy:
    """Answers at once and always the same."""

    thinks, chunking, replan_after_steps = True, "fresh", 0

    def __init__(self, parameters):
        self.contract = load_contract(parameters.contract or "sim_panda")
        self.hash, self.horizon, self.dims = HASH, 8, 7
        self.thoughts = 0

    def think(self, values, instruction):
        """A thought, late where the first word says so."""
        if instruction.split()[0] == "ponder":
            time.sleep(SLOW_S)
        self.thoughts += 1
        return f"thought {self.thoughts} of {instruction}"

    def act(self, values, instruction, remaining=None, thought=None, frozen=0):
        """Chunk, refusal or error, by the first word of ``instruction``."""
        word = instruction.split()[0]
        actions = np.zeros((self.horizon, self.dims), np.float32)
        actions[:, 2] = -0.2 if word == "down" else 0.2
        actions[:, 6] = -1.0
        status = "ok"
        if word == "raise":
            raise RuntimeError("the model broke")
        if word == "slow":
            time.sleep(SLOW_S)
        if word == "late":
            time.sleep(LATE_S)
        if word == "garble":
            actions, status = None, "undecodable"
        if word == "nan":
            actions[3, 1] = np.nan
        if word == "big":
            actions[3, 1] = 1.5
        return SimpleNamespace(
            actions=actions,
            tokens=[3, 1, 2],
            reasoning=thought
            or (f"{len(remaining)} left" if word == "rest" else f"thinking of {instruction}"),
            status=status,
            detail="no chunk" if status != "ok" else "",
            inference_s=0.0,
        )


if __name__ == "__main__":
    sys.exit(run_node(lambda _: PolicyNode(FakePolicy)))

"""The real policy_node around a policy without a model, which misbehaves when it is asked to.

As ``fault_campaign.policy`` it is policy_node; as ``fault_campaign.server`` the same policy stands
behind a `PolicyServer`, and policy_node asks it where REMOTE_VARIABLE names its address.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

import numpy as np

from fault_campaign.contracts import (
    CONTRACT_VARIABLE,
    HORIZON,
    JOINT_CONTRACT,
    POLICY_HASH,
    RATE_HZ,
    ROBOT_VARIABLE,
)
from fault_campaign.control import serve
from fault_campaign.motion import joint_targets, twist_steps
from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction
from roboalign_policy.nodes.policy.policy_node import PolicyNode
from roboalign_policy.nodes.spinning import run_node

REMOTE_VARIABLE = "FAULT_CAMPAIGN_SERVER"  # ws:// address; unset: the policy is in this process
REMOTE_TIMEOUT_S = 0.3
MODES = ("good", "undecodable", "nan", "inf", "out_of_limits", "wrong_shape", "raise", "hang")


class ScriptedPolicy:
    """Goes round in a circle from wherever the robot is."""

    thinks, chunking, replan_after_steps = False, "fresh", 0

    def __init__(self, contract_file: str, robot: str) -> None:
        """Be good.

        Args:
            contract_file: of the robot.
            robot: TWIST_CONTRACT or JOINT_CONTRACT.
        """
        self.contract = load_contract(contract_file)
        self.hash, self.horizon, self.dims = POLICY_HASH, HORIZON, len(self.contract.action.dims)
        self._is_joints = robot == JOINT_CONTRACT
        self._mode, self._released = "good", threading.Event()
        self._misbehaved, self._t_ns = threading.Event(), 0

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Behave otherwise; the answer names the instant of the first bad answer."""
        mode = request["do"]
        if mode not in MODES:
            raise ValueError(f"do: found {mode!r}, expected one of {', '.join(MODES)}")
        self._misbehaved.clear()
        if mode == "good":
            self._mode = mode
            self._released.set()
            return {"t_ns": time.monotonic_ns()}
        self._released.clear()
        self._mode = mode
        if not self._misbehaved.wait(5.0):
            raise TimeoutError(f"{mode}: the policy was not asked within 5 s")
        return {"t_ns": self._t_ns}

    def act(self, values: dict[str, np.ndarray], instruction: str, **asked: object) -> Prediction:
        """Predict the circle, or what the campaign wants instead."""
        actions = self._circle(values)
        mode = self._mode
        if mode != "good" and not self._misbehaved.is_set():
            self._t_ns = time.monotonic_ns()
            self._misbehaved.set()
        if mode == "raise":
            raise RuntimeError("the model broke")
        if mode == "hang":
            self._released.wait(60.0)
        if mode == "undecodable":
            return Prediction(
                None, [3, 1], "", ChunkStatus.UNDECODABLE, "3 of 32 coefficients", 0.0
            )
        if mode in ("nan", "inf"):
            actions[3, 1] = float(mode)
        if mode == "out_of_limits":
            actions[3, 1] = 1.5 * self.contract.action.high[1]
        if mode == "wrong_shape":
            actions = actions[:, :-1]
        return Prediction(actions, [3, 1, 2], "round", ChunkStatus.OK, "", 0.0)

    def _circle(self, values: dict[str, np.ndarray]) -> np.ndarray:
        if self._is_joints:
            # The first step of the chunk begins up to a period after the observation.
            times_s = (np.arange(self.horizon) + 1.5) / RATE_HZ
            return joint_targets(values["state.joints"], times_s)
        return twist_steps(values["state.ee"], self.horizon)


def scripted_policy() -> ScriptedPolicy:
    """Policy of the robot that the environment names, under the campaign's control."""
    policy = ScriptedPolicy(os.environ[CONTRACT_VARIABLE], os.environ[ROBOT_VARIABLE])
    serve(policy.handle)
    return policy


def main() -> int:
    """Run policy_node until told to stop."""
    url = os.environ.get(REMOTE_VARIABLE)
    local = None if url else scripted_policy()

    def load(_: Any) -> Any:
        if local is not None:
            return local
        from roboalign_policy.remote.client import RemotePolicy

        return RemotePolicy(url, policy_hash=POLICY_HASH, timeout_s=REMOTE_TIMEOUT_S)

    return run_node(lambda _: PolicyNode(load))


if __name__ == "__main__":
    sys.exit(main())

"""The interface between nodes and models: the methods that every policy has, local or remote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract
    from roboalign_policy.core.policy.prediction import Prediction


class Policy(Protocol):
    """Observation and instruction in, a chunk of actions (or why there is none) out.

    Attributes:
        contract: robot contract whose observations it sees and whose actions it gives.
        hash: SHA-256 of everything that decides its answers.
        horizon: steps of a chunk, T.
        dims: dimensions of an action, A.
        thinks: whether it has a thought before it acts.
        chunking: how its chunks continue the running one, one of `core.policy.options.CHUNKING`.
        replan_after_steps: how many of a chunk's steps to drive before the next one, where nobody
            says otherwise; 0: all.
    """

    contract: Contract
    hash: str
    horizon: int
    dims: int
    thinks: bool
    chunking: str
    replan_after_steps: int

    def act(
        self,
        values: Mapping[str, np.ndarray],
        instruction: str,
        remaining: np.ndarray | None = None,
        thought: str | None = None,
        frozen: int = 0,
    ) -> Prediction:
        """Predict the chunk that follows an observation.

        Args:
            values: images (H, W, 3) uint8 rgb and states (D,) float32 by stream key, as in
                `Frame.values`.
            instruction: the task in words.
            remaining: (R, A) float32, the rest of the running chunk that is not executed yet, in
                the contract's action units, which real-time chunking continues; a policy may
                ignore it.
            thought: to act on, such as an earlier one of `think`; None: it thinks for itself.
            frozen: how many actions of ``remaining`` will have been executed when the answer is
                there.
        """

    def think(self, values: Mapping[str, np.ndarray], instruction: str) -> str:
        """The thought alone; empty where the policy acts without one.

        It may be called from another thread while `act` runs. Arguments as for `act`.
        """

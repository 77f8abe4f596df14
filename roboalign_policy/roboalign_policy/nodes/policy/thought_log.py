"""What the policy sees and thinks, in the log, for whoever watches the robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.prompt import state_text

PERIOD_S = 1.0


class ThoughtLog:
    """Says a thought when it is another one, and no more often than anybody reads."""

    def __init__(self, logger: Any, contract: Contract) -> None:
        """Nothing said yet.

        Args:
            logger: of the node.
            contract: says how the state is worded.
        """
        self._logger, self._contract = logger, contract
        self._said, self._said_s = "", -PERIOD_S

    def think(self, values: Mapping[str, np.ndarray], reasoning: str, steady_s: float) -> None:
        """Say what the model was asked about and what it thought.

        Args:
            values: of the observation, by stream.
            reasoning: of the answer; empty: the policy does not reason, and nothing is said.
            steady_s: s; of the answer, steady clock.
        """
        if not reasoning or reasoning == self._said or steady_s - self._said_s < PERIOD_S:
            return
        self._said, self._said_s = reasoning, steady_s
        self._logger.info(f"sees: {state_text(self._contract, values)}; thinks: {reasoning}")

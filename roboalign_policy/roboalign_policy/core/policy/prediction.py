"""What a policy answers: a chunk of actions, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OK, UNDECODABLE, NON_FINITE, OUT_OF_LIMITS = "ok", "undecodable", "non_finite", "out_of_limits"
STATUSES = (OK, UNDECODABLE, NON_FINITE, OUT_OF_LIMITS)


@dataclass(frozen=True)
class Prediction:
    """What a policy answered.

    Attributes:
        actions: (T, A) float32 in the contract's action units; None unless ``status`` is ``ok``.
        tokens: FAST tokens of the chunk, as generated.
        reasoning: the thought, empty where there is none.
        status: ``ok``, ``undecodable``, ``non_finite`` or ``out_of_limits``.
        detail: what was found and expected, where the status is not ``ok``.
        inference_s: seconds from call to answer.
    """

    actions: np.ndarray | None
    tokens: list[int]
    reasoning: str
    status: str
    detail: str
    inference_s: float

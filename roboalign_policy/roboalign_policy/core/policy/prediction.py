"""What a policy answers: a chunk of actions, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np


class ChunkStatus(str, Enum):
    """Whether a chunk of actions may be executed, and if not why; each is the text that it is."""

    OK = "ok"
    UNDECODABLE = "undecodable"
    NON_FINITE = "non_finite"
    OUT_OF_LIMITS = "out_of_limits"
    WRONG_SHAPE = "wrong_shape"
    WRONG_NAMES = "wrong_names"
    TOO_OLD = "too_old"

    __str__ = str.__str__
    __format__ = str.__format__


#: What a policy itself may find; the others are found where its answer is to be executed.
ANSWERED = (
    ChunkStatus.OK,
    ChunkStatus.UNDECODABLE,
    ChunkStatus.NON_FINITE,
    ChunkStatus.OUT_OF_LIMITS,
)


@dataclass(frozen=True)
class Prediction:
    """What a policy answered.

    Attributes:
        actions: (T, A) float32 in the contract's action units; None unless ``status`` is OK.
        tokens: FAST tokens of the chunk, as generated; empty where the policy has none.
        reasoning: the thought, empty where there is none.
        status: one of `ANSWERED`.
        detail: what was found and expected, where the status is not OK.
        inference_s: seconds from call to answer.
    """

    actions: np.ndarray | None
    tokens: list[int]
    reasoning: str
    status: ChunkStatus
    detail: str
    inference_s: float

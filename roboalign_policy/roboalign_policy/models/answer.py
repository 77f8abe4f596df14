"""What a decoder makes of one prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.policy.prediction import ChunkStatus


@dataclass(frozen=True)
class Answer:
    """One answer of a model, as a `Prediction` tells it.

    Attributes:
        actions: (T, A) float32 in the contract's action units; None unless ``status`` is OK.
        status: whether they may be executed.
        detail: what was found and expected, where not.
        tokens: FAST tokens, where there are any.
        reasoning: the thought; empty where there is none.
    """

    actions: np.ndarray | None = None
    status: ChunkStatus = ChunkStatus.OK
    detail: str = ""
    tokens: tuple[int, ...] = ()
    reasoning: str = ""

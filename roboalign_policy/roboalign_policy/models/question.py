"""What a policy asks its decoder: one observation, and how to put words to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from transformers import BatchFeature


@dataclass
class Question:
    """One observation with its task.

    Attributes:
        instruction: the task in words.
        state: of `core.policy.prompt.state_text`.
        values: by stream key, as in `Frame.values`.
        inputs: words of a prompt to what the model takes: the pictures before them.
        remaining: (R, A) float32, the rest of the running chunk in the contract's units, or None.
        thought: to act on, instead of one of the model's own; None: it thinks for itself.
        frozen: actions of ``remaining`` that will have been executed when the answer is there.
    """

    instruction: str
    state: str
    values: Mapping[str, np.ndarray]
    inputs: Callable[[str], BatchFeature]
    remaining: np.ndarray | None = None
    thought: str | None = None
    frozen: int = 0
    _asked: dict[str, BatchFeature] = field(default_factory=dict)

    def ask(self, words: str) -> BatchFeature:
        """Inputs of a prompt, made once however often the model is asked."""
        if words not in self._asked:
            self._asked[words] = self.inputs(words)
        return self._asked[words]

"""How well a model answers held-out frames: the rewards of greedy, unconstrained decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from roboalign_training.learning.action_source import action_prompt, wanted_of
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.rewards import DEFAULT_WEIGHTS, WeightedRewards, measure_name
from roboalign_training.learning.source import request


@dataclass(frozen=True)
class DevScore:
    """The rewards of each scored frame.

    Attributes:
        rewards: by name, (F,) float64.
        weights: by name; what the trainer weighs them with.
    """

    rewards: Mapping[str, np.ndarray]
    weights: Mapping[str, float]

    @property
    def values(self) -> np.ndarray:
        """(F,) float64: the weighted sum of each frame, in the order in which they were scored."""
        return sum(weight * self.rewards[name] for name, weight in self.weights.items())

    @property
    def score(self) -> float:
        """The training reward, mean over the frames."""
        return float(np.mean(self.values))

    @property
    def means(self) -> dict[str, float]:
        """Each reward's mean over the frames, by its name."""
        return {name: float(np.mean(values)) for name, values in self.rewards.items()}

    @property
    def frames(self) -> int:
        """How many were scored, F."""
        return len(self.values)

    def record(self) -> dict[str, float]:
        """As a line of metrics."""
        means = {measure_name(name): mean for name, mean in self.means.items()}
        return {"dev_score": self.score, **means, "dev_frames": self.frames}


@torch.no_grad()
def greedy_texts(
    model: Any,
    collator: PromptCollator,
    samples: list[dict],
    max_new_tokens: int,
    batch_size: int = 32,
) -> list[str]:
    """The answers of a model, decoded greedily.

    Args:
        model: any MLLM of the collator's family; left in the mode it was in.
        collator: builds the prompts.
        samples: dicts with `images` and `prompt`.
        max_new_tokens: longest answer.
        batch_size: prompts decoded at once.
    """
    was_training = model.training
    model.eval()
    texts = []
    try:
        for start in range(0, len(samples), batch_size):
            inputs = {
                k: v.to(model.device)
                for k, v in collator.prompts(samples[start : start + batch_size]).items()
            }
            ids = model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=max_new_tokens,
                top_k=None,
                top_p=None,
                temperature=None,
            )
            answers = ids[:, inputs["input_ids"].shape[1] :]
            texts += collator.tokenizer.batch_decode(answers, skip_special_tokens=True)
    finally:
        model.train(was_training)
    return texts


def score_frames(
    model: Any,
    collator: PromptCollator,
    data: Demonstrations,
    frames: np.ndarray,
    *,
    think: bool,
    max_new_tokens: int,
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
) -> DevScore:
    """Greedy rewards of a model on frames of the demonstrations.

    Args:
        model: any MLLM of the collator's family.
        collator: builds the prompts.
        data: the demonstrations.
        frames: (F,) int, F >= 1.
        think: whether the prompt asks for a thought first.
        max_new_tokens: longest answer.
        weights: of the rewards, by name.
    """
    samples = [
        {
            "images": data.images(int(f)),
            "prompt": request(action_prompt(data, int(f), think), data.cameras),
        }
        for f in frames
    ]
    texts = greedy_texts(model, collator, samples, max_new_tokens)
    wanted = [wanted_of(data, int(f), think) for f in frames]
    rewards = WeightedRewards(weights, data.decoder)
    found = {name: np.array(rewards.values(name, texts, wanted)) for name in weights}
    return DevScore(found, dict(weights))


def dev_frames(held_out: np.ndarray, count: int) -> np.ndarray:
    """`count` frames spread evenly over the held-out ones (all of them when there are fewer)."""
    if count >= len(held_out):
        return held_out
    return held_out[np.linspace(0, len(held_out) - 1, count).round().astype(int)]

"""How well a model answers held-out frames: the two rewards of greedy, unconstrained decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.mixture import action_prompt, request
from roboalign_training.learning.rewards import format_reward, prefix_accuracy_reward


@dataclass(frozen=True)
class DevScore:
    """Means over the scored frames.

    Attributes:
        prefix_accuracy: r_a, 0 .. 1.
        format: r_f, 0 .. 1.
        frames: how many were scored.
    """

    prefix_accuracy: float
    format: float
    frames: int

    @property
    def score(self) -> float:
        """The training reward, (r_f + r_a) / 2."""
        return (self.prefix_accuracy + self.format) / 2.0

    def record(self) -> dict[str, float]:
        """As a line of metrics."""
        return {
            "dev_score": self.score,
            "dev_prefix_accuracy": self.prefix_accuracy,
            "dev_format": self.format,
            "dev_frames": self.frames,
        }


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
) -> DevScore:
    """Greedy rewards of a model on frames of the demonstrations.

    Args:
        model: any MLLM of the collator's family.
        collator: builds the prompts.
        data: the demonstrations.
        frames: (F,) int, F >= 1.
        think: whether the prompt asks for a thought first.
        max_new_tokens: longest answer.
    """
    samples = [
        {
            "images": data.images(int(f)),
            "prompt": request(action_prompt(data, int(f), think), data.cameras),
        }
        for f in frames
    ]
    texts = greedy_texts(model, collator, samples, max_new_tokens)
    accuracy = prefix_accuracy_reward(texts, target_tokens=[data.tokens(int(f)) for f in frames])
    tags = format_reward(texts, think=[think] * len(texts))
    return DevScore(float(np.mean(accuracy)), float(np.mean(tags)), len(frames))


def dev_frames(held_out: np.ndarray, count: int) -> np.ndarray:
    """`count` frames spread evenly over the held-out ones (all of them when there are fewer)."""
    if count >= len(held_out):
        return held_out
    return held_out[np.linspace(0, len(held_out) - 1, count).round().astype(int)]

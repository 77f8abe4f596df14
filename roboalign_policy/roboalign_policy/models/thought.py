"""A model's thought alone: generated up to its closing tag, and as tokens to read it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import BatchFeature, LogitsProcessor

from roboalign_policy.core.keys import THINK_END, THINK_START
from roboalign_policy.models.generation import check_finite, generate_batch
from roboalign_policy.models.loading import MLLM


@dataclass(frozen=True)
class ThoughtIds:
    """Ids that a thought is made of.

    Attributes:
        opening: written first; empty for an answer in plain words.
        closing: end of the thought; once begun it is finished.
        eos: ends the generation.
        text: (n,) int64, what may stand between.
    """

    opening: tuple[int, ...]
    closing: tuple[int, ...]
    eos: int
    text: torch.Tensor


def thought_ids(tokenizer: Any, tagged: bool) -> ThoughtIds:
    """Ids of a thought in a tokenizer's vocabulary.

    Args:
        tokenizer: of the language model.
        tagged: whether it stands between the tags of a thought, as before an action; else it is a
            whole answer.
    """
    special = set(tokenizer.all_special_ids)
    vocabulary = tokenizer.get_vocab()
    text = sorted(i for token, i in vocabulary.items() if "<" not in token and i not in special)

    def ids(tag: str) -> tuple[int, ...]:
        return tuple(tokenizer(tag, add_special_tokens=False)["input_ids"])

    eos = tokenizer.eos_token_id
    return ThoughtIds(
        ids(THINK_START) if tagged else (),
        ids(THINK_END) if tagged else (),
        eos,
        torch.tensor(text, dtype=torch.int64),
    )


class ThoughtRule(LogitsProcessor):
    """Masks every token that a thought cannot have next; one instance a `generate` call."""

    def __init__(self, ids: ThoughtIds, prompt_length: int, most: int) -> None:
        """Take the vocabulary.

        Args:
            ids: of the thought.
            prompt_length: tokens of the (left-padded) prompt.
            most: tokens of text; then the thought is closed.
        """
        self._ids, self._start, self._most = ids, prompt_length, most
        self._ending = (*ids.closing, ids.eos)

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor
    ) -> torch.FloatTensor:
        """Scores (B, V) with -inf wherever nothing of a thought may follow.

        Raises:
            NonFiniteLogitsError: a row that is not finished has no scores to choose by.
        """
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        written = input_ids[:, self._start :].tolist()
        for row, ids in enumerate(written):
            if self._ids.eos in ids:
                allowed[row] = True  # finished: generate() pads it, maybe with another token
                continue
            self._allow(allowed[row], ids)
            check_finite(scores[row], allowed[row])
        return scores.masked_fill(~allowed, -torch.inf)

    def _allow(self, allowed: torch.Tensor, ids: list[int]) -> None:
        opening = self._ids.opening
        if len(ids) < len(opening):
            allowed[opening[len(ids)]] = True
            return
        text = ids[len(opening) :]
        # No text has the first id of the ending, so that one begun is known by it.
        begun = text.index(self._ending[0]) if self._ending[0] in text else None
        if begun is not None:
            allowed[self._ending[len(text) - begun]] = True
            return
        if len(text) < self._most:
            allowed[self._ids.text.to(allowed.device)] = True
        allowed[self._ending[0]] = True


def generate_thoughts(
    mllm: MLLM, inputs: BatchFeature, ids: ThoughtIds, most: int, attempt: int = 0
) -> list[str]:
    """The model's thoughts on some prompts, without their tags.

    Args:
        mllm: the model.
        inputs: of B prompts, padded on the left, on the model's device.
        ids: of `thought_ids`.
        most: longest text, tokens.
        attempt: 0: greedy; above: sampled, with this number as seed.

    Raises:
        NonFiniteLogitsError: the model's scores are NaN or infinite.
    """
    rule = ThoughtRule(ids, inputs["input_ids"].shape[1], most)
    longest = len(ids.opening) + most + len(ids.closing) + 1
    rows = generate_batch(mllm, inputs, rule, longest, attempt).tolist()
    ending, texts = (*ids.closing, ids.eos)[0], []
    for row in rows:
        row = row[len(ids.opening) :]
        text = row[: row.index(ending)] if ending in row else row
        texts.append(mllm.tokenizer.decode(text, skip_special_tokens=True).strip())
    return texts


def thought_tokens(tokenizer: Any, text: str, tagged: bool) -> list[int]:
    """Tokens of a thought as they follow the prompt."""
    words = f"{THINK_START}{text}{THINK_END}" if tagged else text
    return tokenizer(words, add_special_tokens=False)["input_ids"]

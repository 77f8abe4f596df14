"""Generation under the grammar: every answer is well formed and every chunk decodes."""

from __future__ import annotations

import numpy as np
import torch
from transformers import BatchFeature, LogitsProcessor, LogitsProcessorList

from roboalign_policy.core.keys import (
    ACTION_END,
    ACTION_START,
    ANSWER_END,
    ANSWER_START,
    THINK_END,
    THINK_START,
    fast_token,
)
from roboalign_policy.fast.errors import GrammarError
from roboalign_policy.fast.grammar import ActionGrammar, AnswerGrammar, AnswerIds, AnswerState
from roboalign_policy.models.loading import MLLM

_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}


class NonFiniteLogitsError(ValueError):
    """The model's scores hold NaN or infinity: whatever would be chosen by them means nothing."""


def make_answer_grammar(
    tokenizer,
    token_lengths: np.ndarray,
    horizon: int,
    dims: int,
    *,
    think: bool,
    max_think_tokens: int,
) -> AnswerGrammar:
    """The grammar of an answer in the ids of a language model.

    Args:
        tokenizer: of the language model, with the action vocabulary.
        token_lengths: (V,) coefficients each FAST token stands for, 0 where it cannot stand alone.
        horizon: steps of a chunk.
        dims: dimensions of an action.
        think: whether a thought comes first (required) or none may (never).
        max_think_tokens: after as many tokens the thought is closed.

    Raises:
        GrammarError: the vocabulary lacks what an answer needs, or no chunk of this size can be
            written.
    """
    vocabulary = tokenizer.get_vocab()
    _check_action_tokens(vocabulary, len(token_lengths))

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    special = set(tokenizer.all_special_ids)
    text = [i for token, i in vocabulary.items() if "<" not in token and i not in special]
    answer_ids = AnswerIds(
        think_open=ids(THINK_START),
        think_close=ids(THINK_END),
        answer_open=ids(ANSWER_START),
        start=vocabulary[ACTION_START],
        end=vocabulary[ACTION_END],
        answer_close=ids(ANSWER_END),
        eos=tokenizer.eos_token_id,
        fast_offset=vocabulary[fast_token(0)],
        text=text,
    )
    return AnswerGrammar(
        answer_ids,
        ActionGrammar(token_lengths, horizon, dims),
        max_think_tokens=max_think_tokens,
        think="required" if think else "never",
    )


def longest_answer(grammar: AnswerGrammar, tokenizer) -> int:
    """Most tokens an answer of a grammar can have, its tags and end included."""
    tags = sum(
        len(tokenizer(tag, add_special_tokens=False)["input_ids"])
        for tag in (THINK_START, THINK_END, ANSWER_START, ANSWER_END)
    )
    return grammar.max_think_tokens + tags + grammar.action.total + 3


def generate(
    mllm: MLLM, inputs: BatchFeature, rule: LogitsProcessor, longest: int, attempt: int
) -> list[int]:
    """Ids of the answer to one prompt; see `generate_batch`."""
    return generate_batch(mllm, inputs, rule, longest, attempt)[0].tolist()


def generate_batch(
    mllm: MLLM, inputs: BatchFeature, rule: LogitsProcessor, longest: int, attempt: int
) -> torch.Tensor:
    """Ids of answers: greedy at attempt 0, above that sampled with the attempt as seed.

    Args:
        mllm: the model.
        inputs: of B prompts, padded on the left, on the model's device.
        rule: of the ids that may come.
        longest: most ids of an answer.
        attempt: from 0.

    Returns:
        (B, n) int64, n <= longest; what follows the end of an answer is padding.

    Raises:
        NonFiniteLogitsError: the model's scores are NaN or infinite.
    """
    model = mllm.model
    cuda = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(attempt)
        out = model.generate(
            **inputs,
            max_new_tokens=longest,
            do_sample=attempt > 0,
            **(_SAMPLING if attempt else {}),
            # A checkpoint's defaults are for chat: Qwen2.5-VL's penalise what repeats.
            repetition_penalty=1.0,
            logits_processor=LogitsProcessorList([rule]),
            use_cache=True,
        )
    return out[:, inputs["input_ids"].shape[1] :]


class GrammarMasks:
    """Masks of the ids a grammar allows, kept for all `generate` calls of a model.

    There is one mask a state of the automaton (some hundred), so that a step of generation costs
    a look-up.

    Args:
        grammar: of the answer.
    """

    def __init__(self, grammar: AnswerGrammar):
        self.grammar = grammar
        self._masks: dict[tuple, torch.Tensor] = {}

    def of(self, state: AnswerState, vocabulary: int, device: torch.device) -> torch.Tensor:
        """(vocabulary,) bool on ``device``, True where the grammar allows the id next.

        Raises:
            GrammarError: the model scores fewer ids than the grammar needs.
        """
        key = (*self.grammar.key(state), vocabulary, device)
        if key not in self._masks:
            allowed = np.array(self.grammar.allowed_ids(state))
            if allowed.max() >= vocabulary:
                raise GrammarError(
                    f"found scores of {vocabulary} ids, expected more than {allowed.max()}"
                )
            mask = torch.zeros(vocabulary, dtype=torch.bool)
            mask[torch.from_numpy(allowed)] = True
            self._masks[key] = mask.to(device)
        return self._masks[key]


class FiniteLogits(LogitsProcessor):
    """Passes scores on; raises `NonFiniteLogitsError` where a model's scores mean nothing."""

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor
    ) -> torch.FloatTensor:
        """Scores (B, V), unchanged."""
        check_finite(scores)
        return scores


class GrammarLogitsProcessor(LogitsProcessor):
    """Masks every token that the grammar does not allow next; one instance a `generate` call.

    Args:
        grammar: of the answer.
        prompt_length: tokens of the (left-padded) prompt; the answer begins behind them.
        masks: of the same grammar, where they are to be kept from call to call.
    """

    def __init__(
        self, grammar: AnswerGrammar, prompt_length: int, masks: GrammarMasks | None = None
    ):
        self.grammar = grammar
        self.prompt_length = prompt_length
        self._masks = masks or GrammarMasks(grammar)
        self._states: list[AnswerState] | None = None
        self._seen = prompt_length

    def __call__(
        self, input_ids: torch.LongTensor, scores: torch.FloatTensor
    ) -> torch.FloatTensor:
        """Scores (B, V) with -inf wherever the grammar forbids; a finished row is left as it is.

        Raises:
            NonFiniteLogitsError: a row that is not finished has no scores to choose by. Without
                this, the best of nothing would be token 0, which the grammar forbids.
            GrammarError: a row holds a token that was not allowed.
        """
        if self._states is None:
            self._states = [self.grammar.start()] * len(input_ids)
        for at in range(self._seen, input_ids.shape[1]):
            for row, token in enumerate(input_ids[:, at].tolist()):
                if not self.grammar.done(self._states[row]):
                    self._states[row] = self.grammar.advance(self._states[row], token)
        self._seen = input_ids.shape[1]
        masked = scores.clone()
        for row, state in enumerate(self._states):
            if self.grammar.done(state):
                continue
            allowed = self._masks.of(state, scores.shape[1], scores.device)
            check_finite(scores[row], allowed)
            masked[row].masked_fill_(~allowed, -torch.inf)
        return masked


def check_finite(scores: torch.Tensor, allowed: torch.Tensor | None = None) -> None:
    """Raise unless scores are numbers to choose by.

    -inf is what an earlier processor masks with; it is an error only where nothing else is left.

    Args:
        scores: (..., V).
        allowed: (V,) bool, the ids that may be chosen; None: all.

    Raises:
        NonFiniteLogitsError: NaN or +inf, or nothing but -inf among the allowed ids.
    """
    if bool(torch.isnan(scores).any()) or bool(torch.isposinf(scores).any()):
        raise NonFiniteLogitsError("logits: found NaN or inf, expected finite numbers")
    left = scores if allowed is None else scores[..., allowed]
    if bool(torch.isneginf(left).all(dim=-1).any()):
        raise NonFiniteLogitsError("logits: found -inf for every token that may come next")


def _check_action_tokens(vocabulary: dict[str, int], n_fast: int) -> None:
    """The grammar needs the two action tags, and FAST tokens with ids in a row."""
    names = [ACTION_START, ACTION_END, *(fast_token(i) for i in range(n_fast))]
    if missing := [name for name in names if name not in vocabulary]:
        raise GrammarError(f"vocabulary: found no {missing[0]}, expected it and {names[-1]}")
    first = vocabulary[fast_token(0)]
    for i in range(n_fast):
        if vocabulary[fast_token(i)] != first + i:
            found = vocabulary[fast_token(i)]
            raise GrammarError(
                f"vocabulary: {fast_token(i)}: found id {found}, expected {first + i}"
            )

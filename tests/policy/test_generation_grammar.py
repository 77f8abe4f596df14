"""The logits processor: any model's answer is well formed and decodes; no token out of nothing."""

import numpy as np
import pytest
import torch

from roboalign_policy.core.policy.prompt import parse_answer
from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import GrammarError
from roboalign_policy.models.generation import (
    FiniteLogits,
    GrammarLogitsProcessor,
    GrammarMasks,
    NonFiniteLogitsError,
    check_finite,
    longest_answer,
    make_answer_grammar,
)
from roboalign_policy.models.loading import extend_vocabulary, load_mllm

HORIZON, DIMS, THINK = 4, 2, 5
PROMPT = torch.tensor([[1, 2, 3]])


@pytest.fixture(scope="module")
def fast():
    steps = np.random.default_rng(1).normal(scale=0.2, size=(80, HORIZON, DIMS))
    return FastTokenizer.fit(np.clip(np.cumsum(steps, axis=1), -1, 1), vocab_size=120)


@pytest.fixture(scope="module")
def mllm(tiny_base, fast):
    mllm = load_mllm(tiny_base, device="cpu")
    extend_vocabulary(mllm, fast.vocab_size)
    return mllm


@pytest.fixture(scope="module")
def tokenizer(mllm):
    return mllm.tokenizer


def grammar_of(tokenizer, fast, think=True):
    return make_answer_grammar(
        tokenizer, fast.token_lengths, HORIZON, DIMS, think=think, max_think_tokens=THINK
    )


def write(rule, tokenizer, choose, limit, rows=1):
    """What `generate` does: scores, the rule, a choice; finished rows are padded."""
    ids = PROMPT.repeat(rows, 1)
    finished = torch.zeros(rows, dtype=torch.bool)
    for _ in range(limit):
        chosen = choose(rule(ids, choose.scores(ids)))
        chosen[finished] = tokenizer.pad_token_id
        ids = torch.cat([ids, chosen[:, None]], dim=1)
        finished |= chosen == tokenizer.eos_token_id
        if finished.all():
            return ids[:, PROMPT.shape[1] :]
    raise AssertionError(f"not finished after {limit} tokens")


class Sampler:
    """A model of random scores; temperature 0 is greedy."""

    def __init__(self, seed, vocabulary, temperature):
        self.generator = torch.Generator().manual_seed(seed)
        self.vocabulary, self.temperature = vocabulary, temperature

    def scores(self, ids):
        return torch.randn((len(ids), self.vocabulary), generator=self.generator) * 10

    def __call__(self, scores):
        if not self.temperature:
            return scores.argmax(dim=1)
        weights = torch.softmax(scores / self.temperature, dim=1)
        return torch.multinomial(weights, 1, generator=self.generator)[:, 0]


@pytest.mark.parametrize("think", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 100.0])
def test_every_answer_of_random_scores_decodes(tokenizer, fast, think, temperature):
    grammar = grammar_of(tokenizer, fast, think)
    masks, limit = GrammarMasks(grammar), longest_answer(grammar, tokenizer)
    for seed in range(6):
        rule = GrammarLogitsProcessor(grammar, PROMPT.shape[1], masks)
        sampler = Sampler(seed, len(tokenizer), temperature)
        for row in write(rule, tokenizer, sampler, limit, rows=3):
            answer = parse_answer(tokenizer.decode(row, skip_special_tokens=True))
            assert answer.well_formed, answer.fault
            assert (answer.reasoning is not None) == think
            assert fast.decode([answer.tokens], horizon=HORIZON, dims=DIMS).shape == (1, 4, 2)


def test_forbidden_scores_are_minus_inf_and_allowed_ones_stay(tokenizer, fast):
    grammar = grammar_of(tokenizer, fast)
    rule = GrammarLogitsProcessor(grammar, PROMPT.shape[1])
    scores = torch.randn(1, len(tokenizer))
    out = rule(PROMPT, scores.clone())
    allowed = torch.from_numpy(np.array(grammar.allowed_ids(grammar.start())))
    assert torch.equal(out[0, allowed], scores[0, allowed])
    assert int(torch.isfinite(out).sum()) == len(allowed)


def test_a_finished_row_is_left_as_it_is(tokenizer, fast):
    grammar = grammar_of(tokenizer, fast, think=False)
    sampler = Sampler(0, len(tokenizer), 0.0)
    rule = GrammarLogitsProcessor(grammar, PROMPT.shape[1])
    answer = write(rule, tokenizer, sampler, longest_answer(grammar, tokenizer))
    scores = torch.full((1, len(tokenizer)), torch.nan)
    assert torch.isnan(rule(torch.cat([PROMPT, answer], dim=1), scores)).all()


def test_a_token_that_was_not_allowed_is_an_error(tokenizer, fast):
    rule = GrammarLogitsProcessor(grammar_of(tokenizer, fast), PROMPT.shape[1])
    rule(PROMPT, torch.zeros(1, len(tokenizer)))
    stray = torch.cat([PROMPT, torch.tensor([[tokenizer.pad_token_id]])], dim=1)
    with pytest.raises(GrammarError, match="not allowed"):
        rule(stray, torch.zeros(1, len(tokenizer)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_to_choose_by_nothing_are_an_error(tokenizer, fast, value):
    rule = GrammarLogitsProcessor(grammar_of(tokenizer, fast), PROMPT.shape[1])
    with pytest.raises(NonFiniteLogitsError):
        rule(PROMPT, torch.full((1, len(tokenizer)), value))
    with pytest.raises(NonFiniteLogitsError):
        FiniteLogits()(PROMPT, torch.full((1, len(tokenizer)), value))


def test_one_nan_anywhere_is_an_error(tokenizer, fast):
    scores = torch.zeros(2, len(tokenizer))
    scores[1, 7] = torch.nan
    rule = GrammarLogitsProcessor(grammar_of(tokenizer, fast), PROMPT.shape[1])
    with pytest.raises(NonFiniteLogitsError, match="NaN"):
        rule(PROMPT.repeat(2, 1), scores)


def test_minus_inf_of_another_processor_is_no_error_while_something_is_left(tokenizer, fast):
    grammar = grammar_of(tokenizer, fast, think=False)
    allowed = grammar.allowed_ids(grammar.start())
    scores = torch.full((1, len(tokenizer)), -torch.inf)
    scores[0, allowed[0]] = 0.0
    out = GrammarLogitsProcessor(grammar, PROMPT.shape[1])(PROMPT, scores)
    assert int(out.argmax()) == allowed[0]
    scores = torch.zeros(1, len(tokenizer))
    scores[0, torch.from_numpy(np.array(allowed))] = -torch.inf
    with pytest.raises(NonFiniteLogitsError, match="may come next"):
        GrammarLogitsProcessor(grammar, PROMPT.shape[1])(PROMPT, scores)
    check_finite(torch.tensor([0.0, -torch.inf]))


def test_a_state_has_one_mask_for_all_calls(tokenizer, fast):
    grammar = grammar_of(tokenizer, fast)
    masks, device = GrammarMasks(grammar), torch.device("cpu")
    state = grammar.start()
    first = masks.of(state, len(tokenizer), device)
    assert masks.of(grammar.start(), len(tokenizer), device) is first
    for token in tokenizer("<think> red")["input_ids"]:
        state = grammar.advance(state, token)
    thought = masks.of(state, len(tokenizer), device)
    (word,) = tokenizer("cube")["input_ids"]
    assert masks.of(grammar.advance(state, word), len(tokenizer), device) is thought
    with pytest.raises(GrammarError, match="found scores of 10 ids"):
        masks.of(state, 10, device)


def test_thoughts_end_at_their_limit_and_hold_no_tags(tokenizer, fast):
    grammar = grammar_of(tokenizer, fast)
    (word,) = tokenizer("cube")["input_ids"]

    class Talker:
        def scores(self, ids):
            scores = torch.zeros(len(ids), len(tokenizer))
            scores[:, word] = 9.0
            return scores

        def __call__(self, scores):
            return scores.argmax(dim=1)

    rule = GrammarLogitsProcessor(grammar, PROMPT.shape[1])
    answer = write(rule, tokenizer, Talker(), longest_answer(grammar, tokenizer))
    text = tokenizer.decode(answer[0], skip_special_tokens=True)
    assert parse_answer(text).reasoning.split() == ["cube"] * THINK


def test_a_vocabulary_without_action_tokens_is_refused(tiny_base, fast):
    with pytest.raises(GrammarError, match="found no <ACTION_START>"):
        grammar_of(load_mllm(tiny_base, device="cpu").tokenizer, fast)


def test_fewer_fast_tokens_than_lengths_are_refused(mllm, fast):
    lengths = np.append(fast.token_lengths, 1)
    with pytest.raises(GrammarError, match=f"found no <fast_{fast.vocab_size}>"):
        make_answer_grammar(
            mllm.tokenizer, lengths, HORIZON, DIMS, think=False, max_think_tokens=THINK
        )


def test_generate_of_a_real_model_stays_in_the_grammar(mllm, fast):
    grammar = grammar_of(mllm.tokenizer, fast)
    image = np.zeros((64, 64, 3), np.uint8)
    text = "<|vision_start|><|image_pad|><|vision_end|>red ?<|im_start|>"
    inputs = mllm.processor([image, image], [text, "cube " + text], padding=True,
                            return_tensors="pt")  # fmt: skip
    length = inputs["input_ids"].shape[1]
    torch.manual_seed(0)
    out = mllm.model.generate(
        **inputs, max_new_tokens=longest_answer(grammar, mllm.tokenizer), do_sample=True,
        temperature=2.0, logits_processor=[GrammarLogitsProcessor(grammar, length)],
    )  # fmt: skip
    for row in out[:, length:]:
        answer = parse_answer(mllm.tokenizer.decode(row, skip_special_tokens=True))
        assert answer.well_formed, answer.fault
        fast.decode([answer.tokens], horizon=HORIZON, dims=DIMS)

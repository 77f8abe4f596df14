"""The grammar of a chunk: whatever a model prefers, what it writes decodes."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import ActionInputError, GrammarError
from roboalign_policy.fast.grammar import ActionGrammar


@lru_cache(maxsize=32)
def _tokenizer(vocab_size: int, seed: int) -> FastTokenizer:
    rng = np.random.default_rng(seed)
    chunks = np.cumsum(rng.normal(scale=0.05 + 0.05 * seed, size=(60, 6, 3)), axis=1)
    return FastTokenizer.fit(np.clip(chunks, -1, 1), vocab_size=vocab_size, margin=1.0)


def _choose(
    logits: np.ndarray, allowed: np.ndarray, rng: np.random.Generator, greedy: bool
) -> int:
    """What a generation loop does: mask, then the best or a sample."""
    masked = np.where(allowed, logits, -np.inf)
    if greedy:
        return int(np.argmax(masked))
    weights = np.exp(masked - masked.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _write_chunk(grammar: ActionGrammar, rng, greedy: bool, bias: np.ndarray) -> list[int]:
    """A random model's chunk; `bias` is what it likes whatever the position."""
    remaining, tokens = grammar.total, []
    while remaining:
        logits = rng.normal(scale=3.0, size=len(grammar.lengths)) + bias
        tokens.append(_choose(logits, grammar.allowed(remaining), rng, greedy))
        remaining = grammar.advance(remaining, tokens[-1])
    return tokens


@settings(max_examples=150)
@given(
    vocab_size=st.sampled_from([64, 90, 160, 400]),
    fit_seed=st.integers(0, 3),
    horizon=st.integers(1, 20),
    dims=st.integers(1, 9),
    greedy=st.booleans(),
    taste=st.sampled_from(["none", "long", "short"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_chunk_of_a_random_model_decodes(
    vocab_size, fit_seed, horizon, dims, greedy, taste, seed
):
    tokenizer = _tokenizer(vocab_size, fit_seed)
    grammar = ActionGrammar(tokenizer.token_lengths, horizon, dims)
    bias = {"none": 0, "long": 5, "short": -5}[taste] * tokenizer.token_lengths
    tokens = _write_chunk(grammar, np.random.default_rng(seed), greedy, bias)
    actions = tokenizer.decode([tokens], horizon=horizon, dims=dims)
    assert actions.shape == (1, horizon, dims)
    assert np.isfinite(actions).all()


@settings(max_examples=40)
@given(
    horizon=st.integers(1, 30),
    dims=st.integers(1, 14),
    greedy=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_half_tokens_of_the_universal_vocabulary_never_break_a_chunk(
    universal, horizon, dims, greedy, seed
):
    grammar = ActionGrammar(universal.token_lengths, horizon, dims)
    # A model that wants half tokens above all.
    bias = np.where(universal.token_lengths == 0, 50.0, 0.0)
    tokens = _write_chunk(grammar, np.random.default_rng(seed), greedy, bias)
    assert universal.decode([tokens], horizon=horizon, dims=dims).shape == (1, horizon, dims)


@settings(max_examples=150)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=8),
    horizon=st.integers(1, 7),
    dims=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_lengths_without_single_coefficients_fill_exactly_or_are_refused(
    lengths, horizon, dims, seed
):
    total = horizon * dims
    sums = {0}
    for _ in range(total):
        sums |= {s + n for s in sums for n in lengths if n and s + n <= total}
    if total not in sums:
        with pytest.raises(GrammarError, match=f"exactly {total} coefficients"):
            ActionGrammar(lengths, horizon, dims)
        return
    grammar = ActionGrammar(lengths, horizon, dims)
    rng = np.random.default_rng(seed)
    tokens = _write_chunk(grammar, rng, False, np.zeros(len(lengths)))
    assert sum(lengths[token] for token in tokens) == total


def test_allowed_is_exactly_what_can_be_completed():
    grammar = ActionGrammar(np.array([0, 3, 5]), 1, 11)
    # 11 = 3+3+5: after 5 there are 6 left, after 3 there are 8.
    assert grammar.allowed(11).tolist() == [False, True, True]
    assert grammar.allowed(8).tolist() == [False, True, True]
    assert grammar.allowed(6).tolist() == [False, True, False]
    assert grammar.allowed(5).tolist() == [False, False, True]
    assert grammar.allowed(0).tolist() == [False, False, False]
    assert grammar.allowed(8) is grammar.allowed(8)
    with pytest.raises(ValueError, match="read-only"):
        grammar.allowed(8)[0] = True
    for state in (7, 4, -1, 12):
        with pytest.raises(GrammarError, match=f"{state} missing of 11 cannot be completed"):
            grammar.allowed(state)
    for token in (0, 1, 3, -1):
        with pytest.raises(GrammarError, match="not allowed with 5 missing"):
            grammar.advance(5, token)


def test_the_grammar_excludes_nothing_the_tokenizer_writes():
    tokenizer = _tokenizer(160, 1)
    grammar = ActionGrammar(tokenizer.token_lengths, 6, 3)
    steps = np.random.default_rng(5).normal(scale=0.2, size=(50, 6, 3))
    for tokens in tokenizer.encode(np.clip(steps, -1, 1)):
        remaining = grammar.total
        for token in tokens:
            remaining = grammar.advance(remaining, token)
        assert remaining == 0


@pytest.mark.parametrize("lengths", [[[1]], [1.0], [-1], ["a"], []])
def test_bad_lengths_are_refused(lengths):
    with pytest.raises(GrammarError):
        ActionGrammar(np.array(lengths), 1, 1)


def test_bad_sizes_are_refused():
    with pytest.raises(ActionInputError, match="horizon is 0"):
        ActionGrammar([1], 0, 7)

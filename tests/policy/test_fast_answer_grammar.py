"""The grammar of an answer: every answer of any model ends, reads back and decodes."""

import itertools
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roboalign_policy.fast import FastTokenizer
from roboalign_policy.fast.errors import GrammarError
from roboalign_policy.fast.grammar import ActionGrammar, AnswerGrammar, AnswerIds


@lru_cache(maxsize=4)
def _tokenizer(vocab_size: int) -> FastTokenizer:
    steps = np.random.default_rng(2).normal(scale=0.15, size=(60, 6, 3))
    chunks = np.clip(np.cumsum(steps, axis=1), -1, 1)
    return FastTokenizer.fit(chunks, vocab_size=vocab_size, margin=1.0)


def _choose(
    logits: np.ndarray, allowed: np.ndarray, rng: np.random.Generator, greedy: bool
) -> int:
    """What a generation loop does: mask, then the best or a sample."""
    masked = np.where(allowed, logits, -np.inf)
    if greedy:
        return int(np.argmax(masked))
    weights = np.exp(masked - masked.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))


# A small language model: 0..9 text, 10.. tags, FAST from 30.
TEXT = tuple(range(10))
IDS = {
    "think_open": [10],
    "think_close": [11],
    "answer_open": [12],
    "start": 13,
    "end": 14,
    "answer_close": [15],
    "eos": 16,
    "fast_offset": 30,
    "text": TEXT,
}
# As a tokenizer without the tags in its vocabulary spells them: '<' 17, '</' 18, words, '>' 21.
SPELLED = {
    **IDS,
    "think_open": [17, 19, 21],
    "think_close": [18, 19, 21],
    "answer_open": [17, 20, 21],
    "answer_close": [18, 20, 21],
    "text": (*TEXT, 18, 19),
}
# A closing tag that overlaps itself, made of ids that are text too.
OVERLAPPING = {**IDS, "think_close": [1, 1, 2, 1, 1, 3]}


def _answers(ids: dict, lengths=(1, 2, 0), horizon=2, dims=2, **options) -> AnswerGrammar:
    return AnswerGrammar(AnswerIds(**ids), ActionGrammar(lengths, horizon, dims), **options)


def _walk(grammar: AnswerGrammar, tokens: list[int]):
    state = grammar.start()
    for token in tokens:
        assert token in grammar.allowed_ids(state), (token, state)
        state = grammar.advance(state, token)
    return state


def test_answer_without_a_thought():
    grammar = _answers(IDS)
    assert grammar.allowed_ids(grammar.start()).tolist() == [10, 12]
    state = _walk(grammar, [12, 13])
    assert grammar.allowed_ids(state).tolist() == [30, 31]
    state = grammar.advance(grammar.advance(state, 31), 30)
    assert grammar.allowed_ids(state).tolist() == [30]
    state = grammar.advance(state, 30)
    for token in (14, 15, 16):
        assert grammar.allowed_ids(state).tolist() == [token]
        assert not grammar.done(state)
        state = grammar.advance(state, token)
    assert grammar.done(state)
    assert grammar.allowed_ids(state).size == 0
    assert grammar.split([12, 13, 31, 30, 30, 14, 15, 16]) == (None, [1, 0, 0])


def test_answer_with_a_thought_and_its_forced_end():
    grammar = _answers(IDS, max_think_tokens=3)
    state = _walk(grammar, [10, 4])
    assert grammar.allowed_ids(state).tolist() == [*TEXT, 11]
    state = _walk(grammar, [10, 4, 5, 6])
    assert grammar.allowed_ids(state).tolist() == [11]
    tail = [12, 13, 31, 31, 14, 15, 16]
    assert grammar.done(_walk(grammar, [10, 4, 5, 6, 11, *tail]))
    assert grammar.split([10, 4, 5, 6, 11, *tail]) == ([4, 5, 6], [1, 1])
    assert grammar.split([10, 11, *tail]) == ([], [1, 1])


def test_a_thought_can_be_required_or_ruled_out():
    required, never = _answers(IDS, think="required"), _answers(IDS, think="never")
    assert required.allowed_ids(required.start()).tolist() == [10]
    assert never.allowed_ids(never.start()).tolist() == [12]
    with pytest.raises(GrammarError, match="not allowed"):
        never.advance(never.start(), 10)


def test_tags_of_several_ids_that_share_their_first():
    grammar = _answers(SPELLED, max_think_tokens=6)
    assert grammar.allowed_ids(grammar.start()).tolist() == [17]
    state = grammar.advance(grammar.start(), 17)
    assert grammar.allowed_ids(state).tolist() == [19, 20]
    tail = [17, 20, 21, 13, 31, 31, 14, 18, 20, 21, 16]
    assert grammar.split(tail) == (None, [1, 1])
    # '</' and 'think' may be text on their own; '>' may only complete the tag.
    thought = [4, 18, 5, 18, 18, 19]
    state = _walk(grammar, [17, 19, 21, *thought])
    assert grammar.allowed_ids(state).tolist() == [21]
    assert grammar.split([17, 19, 21, *thought, 21, *tail]) == ([4, 18, 5, 18], [1, 1])


def test_a_closing_tag_that_overlaps_itself_is_found():
    grammar = _answers(OVERLAPPING, max_think_tokens=50)
    tag = OVERLAPPING["think_close"]
    tail = [12, 13, 31, 31, 14, 15, 16]
    for prefix in itertools.product([1, 2, 3], repeat=5):
        written = [*prefix, *tag]
        # The first place where the tag stands ends the thought.
        ends = [i for i in range(len(written)) if written[i - 5 : i + 1] == tag]
        thought = written[: ends[0] - 5]
        assert grammar.split([10, *written[: ends[0] + 1], *tail]) == (thought, [1, 1])


@settings(max_examples=150)
@given(
    ids=st.sampled_from([IDS, SPELLED, OVERLAPPING]),
    vocab_size=st.sampled_from([64, 160]),
    horizon=st.integers(1, 8),
    dims=st.integers(1, 7),
    budget=st.integers(0, 12),
    think=st.sampled_from(["optional", "required", "never"]),
    greedy=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_answer_of_a_random_model_ends_and_decodes(
    ids, vocab_size, horizon, dims, budget, think, greedy, seed
):
    tokenizer = _tokenizer(vocab_size)
    chunk = ActionGrammar(tokenizer.token_lengths, horizon, dims)
    grammar = AnswerGrammar(AnswerIds(**ids), chunk, max_think_tokens=budget, think=think)
    size = ids["fast_offset"] + tokenizer.vocab_size
    rng = np.random.default_rng(seed)
    taste = rng.normal(scale=3.0, size=size)
    state, written, masks = grammar.start(), [], {}
    while not grammar.done(state):
        allowed = grammar.allowed_ids(state)
        assert masks.setdefault(grammar.key(state), allowed) is allowed
        mask = np.zeros(size, dtype=bool)
        mask[allowed] = True
        written.append(_choose(taste + rng.normal(size=size), mask, rng, greedy))
        state = grammar.advance(state, written[-1])
        assert len(written) <= budget + horizon * dims + 20
    thought, tokens = grammar.split(written)
    assert (thought is None) if think == "never" else (thought is not None or think == "optional")
    assert len(thought or []) <= budget + len(ids["think_close"])
    assert tokenizer.decode([tokens], horizon=horizon, dims=dims).shape == (1, horizon, dims)


@settings(max_examples=60)
@given(ids=st.sampled_from([IDS, SPELLED, OVERLAPPING]), seed=st.integers(0, 2**32 - 1))
def test_advance_takes_exactly_the_allowed_ids(ids, seed):
    grammar = _answers(ids, max_think_tokens=4)
    rng = np.random.default_rng(seed)
    state = grammar.start()
    while not grammar.done(state):
        allowed = set(grammar.allowed_ids(state).tolist())
        for token in range(-1, 40):
            if token in allowed:
                grammar.advance(state, token)
            else:
                with pytest.raises(GrammarError, match="not allowed"):
                    grammar.advance(state, token)
        state = grammar.advance(state, int(rng.choice(sorted(allowed))))
    for token in range(40):
        with pytest.raises(GrammarError, match="not allowed"):
            grammar.advance(state, token)


def test_split_refuses_what_is_not_complete():
    grammar = _answers(IDS)
    with pytest.raises(GrammarError, match="ends in phase close"):
        grammar.split([12, 13, 31, 31, 14])
    with pytest.raises(GrammarError, match="not allowed in phase done"):
        grammar.split([12, 13, 31, 31, 14, 15, 16, 16])
    with pytest.raises(GrammarError, match="ends in phase open"):
        grammar.split([])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"think_open": []}, "think_open: found"),
        ({"answer_close": 15}, "answer_close: found 15"),
        ({"start": -1}, "start: found -1"),
        ({"eos": True}, "eos: found True"),
        ({"end": 13}, "must differ"),
        ({"text": (1, 16)}, "eos id 16 is also an id of thoughts"),
        ({"text": (1, 13)}, "start id 13 is also an id of thoughts"),
        ({"text": (1, 31)}, "among the FAST ids 30..32"),
        ({"fast_offset": 13}, "among the FAST ids 13..15"),
        ({"answer_open": [10]}, "begins with the other"),
        ({"think_open": [12, 13]}, "begins with the other"),
    ],
)
def test_ids_that_overlap_are_refused(change, match):
    with pytest.raises(GrammarError, match=match):
        _answers({**IDS, **change})


@pytest.mark.parametrize("options", [{"think": "maybe"}, {"max_think_tokens": -1}])
def test_bad_options_are_refused(options):
    with pytest.raises(GrammarError, match=next(iter(options))):
        _answers(IDS, **options)

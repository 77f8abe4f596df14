"""The rewards against tables worked out by hand, their weighted sum, and what TRL is given."""

import math

import numpy as np
import pytest

from roboalign_training.learning import rewards
from roboalign_training.learning.action_source import action_answer, wanted_of
from roboalign_training.learning.rewards import (
    REWARDS,
    Answered,
    Wanted,
    WeightedRewards,
    completion_text,
    format_reward,
    prefix_accuracy,
    prefix_accuracy_reward,
)


def never(tokens):
    raise AssertionError("decoded, and nobody asked for the chunk")


def wanted(tokens=(1,), think=True):
    """What a frame of one step and one dimension wants."""
    return Wanted(tokens, np.zeros((1, 1), np.float32), np.ones(1, np.float32), think, None)


def format_of(text, think=True):
    return format_reward(Answered(text, never), wanted(think=think))


def prefix_of(text, target):
    return prefix_accuracy_reward(Answered(text, never), wanted(target))


def answer(*tokens, reasoning="grasp at 52 -10 2 : stay"):
    body = "<ACTION_START>" + "".join(f"<fast_{t}>" for t in tokens) + "<ACTION_END>"
    thought = "" if reasoning is None else f"<think>{reasoning}</think>"
    return f"{thought}<answer>{body}</answer>"


FORMAT = [
    ("well formed", answer(1, 2, 3), 1.0),
    ("no thought", answer(1, 2, 3, reasoning=None), 0.0),
    ("no closing think tag", answer(1, 2).replace("</think>", ""), 0.0),
    ("no opening think tag", answer(1, 2).replace("<think>", ""), 0.0),
    ("no answer tags", answer(1, 2).replace("<answer>", "").replace("</answer>", ""), 0.0),
    ("answer before the thought", answer(1, reasoning=None) + "<think>grasp</think>", 0.0),
    ("two answers", answer(1) + answer(1, reasoning=None), 0.0),
    ("two thoughts", "<think>a</think>" + answer(1), 0.0),
    ("no action start", answer(1, 2).replace("<ACTION_START>", ""), 0.0),
    ("no action end", answer(1, 2).replace("<ACTION_END>", ""), 0.0),
    ("words between the tokens", answer(1, 2).replace("<fast_2>", "left <fast_2>"), 0.0),
    ("text after the answer", answer(1, 2) + " done", 0.0),
    ("empty", "", 0.0),
]


@pytest.mark.parametrize(
    ("completion", "expected"), [row[1:] for row in FORMAT], ids=[row[0] for row in FORMAT]
)
def test_format(completion, expected):
    assert format_of(completion) == expected


def test_format_of_prompts_that_ask_for_no_thought():
    completions = [answer(1, reasoning=None), answer(1)]
    assert [format_of(text, think=False) for text in completions] == [1.0, 0.0]
    assert [format_of(text, think=True) for text in completions] == [0.0, 1.0]


PREFIX = [
    # generated, target, r_a
    ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
    ([1, 2, 3, 9], [1, 2, 3, 4], 0.75),
    ([1, 9, 3, 4], [1, 2, 3, 4], 0.25),  # agreement after the first difference does not count
    ([9, 2, 3, 4], [1, 2, 3, 4], 0.0),  # no common first token
    ([1, 2], [1, 2, 3, 4], 0.5),  # stops early: what matches counts
    ([], [1, 2, 3, 4], 0.0),
    ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4], 1.0),  # goes on after a full match
    ([7], [7], 1.0),
    ([2, 1], [1, 2], 0.0),
    ([0, 0, 0], [0, 0], 1.0),
]


@pytest.mark.parametrize(("generated", "target", "expected"), PREFIX)
def test_prefix_accuracy(generated, target, expected):
    assert prefix_accuracy(generated, target) == pytest.approx(expected)
    assert prefix_of(answer(*generated), target) == pytest.approx(expected)


BROKEN = [
    ("<ACTION_START><fast_1><fast_2>", [1, 2], "no end: up to the end of the text"),
    ("<fast_1><fast_2>", [], "no start: nothing is put forward"),
    (
        "<think><fast_9></think><ACTION_START><fast_1><ACTION_END>",
        [1],
        "tokens of the thought do not count",
    ),
    ("<ACTION_START><fast_1> left <fast_2><ACTION_END>", [1], "a word ends the prefix"),
    (
        "<ACTION_START> <fast_1> <fast_2> <ACTION_END>",
        [1, 2],
        "white space between tokens is decoding's",
    ),
    (
        "<ACTION_START><fast_1><ACTION_START><fast_2><ACTION_END>",
        [1],
        "a second start ends the prefix",
    ),
    (
        "<ACTION_START><fast_1><ACTION_END><ACTION_START><fast_2><ACTION_END>",
        [1],
        "the first part counts",
    ),
    ("", [], "empty"),
]


@pytest.mark.parametrize(
    ("text", "tokens"), [row[:2] for row in BROKEN], ids=[row[2] for row in BROKEN]
)
def test_broken_answers_are_scored_by_their_tokens(text, tokens):
    assert format_of(text) == 0.0
    assert prefix_of(text, [*tokens, 99]) == len(tokens) / (len(tokens) + 1)


def test_chat_messages_count_as_their_text():
    text = answer(4, 5)
    as_message = [{"role": "assistant", "content": text}]
    as_parts = [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
    assert completion_text(as_message) == completion_text(as_parts) == text
    found = WeightedRewards({"format": 0.5, "prefix": 0.5}, never)
    assert [f([text, as_message, as_parts], wanted=[wanted([4, 6])] * 3) for f in
            found.functions()] == [[1.0, 1.0, 1.0], [0.5, 0.5, 0.5]]  # fmt: skip


def test_faults_of_the_caller():
    with pytest.raises(ValueError, match="empty list"):
        prefix_of(answer(1), [])
    (function,) = WeightedRewards({"format": 1.0}, never).functions()
    with pytest.raises(ValueError, match="shorter|longer"):
        function([answer(1)], wanted=[wanted()] * 2)
    with pytest.raises(TypeError, match="found int"):
        function([3], wanted=[wanted()])


def test_trl_is_given_functions_with_names_that_take_every_column():
    found = WeightedRewards({"prefix": 0.0, "format": 1.0}, never).functions()
    assert [f.__name__ for f in found] == ["prefix_accuracy_reward", "format_reward"]
    columns = {"prompts": ["p"], "image": [None], "trainer_state": None}
    assert [f([answer(1)], wanted=[wanted()], **columns) for f in found] == [[1.0], [1.0]]


def test_a_chunk_is_what_a_robot_would_get(demonstrations):
    answered = Answered(action_answer(demonstrations, 3, think=True), demonstrations.decoder)
    target = wanted_of(demonstrations, 3, think=True)
    assert answered.actions.shape == (demonstrations.horizon, demonstrations.dims)
    assert answered.actions.dtype == target.actions.dtype == np.float32
    # The tokens round to a quarter of a normalised coefficient.
    np.testing.assert_allclose(answered.actions, target.actions, atol=0.3)
    assert np.abs(answered.actions - target.actions).mean() < 0.1
    with pytest.raises(ValueError, match="read-only"):
        answered.actions[0, 0] = 1.0
    tokens = demonstrations.tokens(3)
    for text in (
        answer(*tokens[:-1]),  # too few coefficients
        answer(*tokens, tokens[0]),  # too many
        answer(10**5),  # no such token
        answer(*tokens).replace("</answer>", ""),  # would not be driven
        "",
    ):
        assert Answered(text, demonstrations.decoder).actions is None


def test_actions_are_rewarded_by_their_distance_in_shares_of_the_ranges(demonstrations):
    limits = np.array([2.0, 4.0], np.float32)
    target = Wanted([1], np.zeros((2, 2), np.float32), limits, True, None)
    chunks = {
        (1,): np.zeros((2, 2), np.float32),
        (2,): np.array([[2.0, 0.0], [0.0, 0.0]], np.float32),  # one of four: a whole range
        (3,): np.array([[-1.0, 2.0], [1.0, -2.0]], np.float32),  # each half of its range
        (4,): None,
    }
    decode = lambda tokens: chunks[tuple(tokens)]  # noqa: E731
    found = WeightedRewards({"action": 1.0}, decode)
    texts = [answer(n) for n in (1, 2, 3, 4)] + ["<ACTION_START><fast_1>"]
    assert found.values("action", texts, [target] * 5) == pytest.approx(
        [1.0, math.exp(-0.25), math.exp(-0.5), 0.0, 0.0]
    )
    own = action_answer(demonstrations, 3, think=True)
    scored = WeightedRewards({"action": 1.0}, demonstrations.decoder)
    frames = [wanted_of(demonstrations, f, think=True) for f in (3, 15, 30)]
    values = scored.values("action", [own] * 3, frames)
    assert values[0] > 0.95 and values[0] > max(values[1:]), "its own chunk is the nearest"


def test_an_answer_is_read_and_decoded_once_for_all_rewards(monkeypatch):
    decoded = []

    def decode(tokens):
        decoded.append(tokens)
        return np.zeros((1, 1), np.float32)

    monkeypatch.setitem(REWARDS, "again", lambda answered, wanted: float(answered.actions.sum()))
    found = WeightedRewards({"action": 1.0, "again": 1.0, "format": 1.0}, decode)
    for name in found.weights:
        found.values(name, [answer(7), answer(8)], [wanted()] * 2)
    assert decoded == [[7], [8]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_an_error(monkeypatch, value):
    monkeypatch.setitem(rewards.REWARDS, "bad", lambda answered, wanted: value)
    with pytest.raises(ValueError, match=rf"rewards.bad: found {value}, expected a finite number"):
        WeightedRewards({"bad": 1.0}, never).values("bad", [answer(1)], [wanted()])

"""The two rewards against tables worked out by hand."""

import pytest

from roboalign_training.learning.rewards import (
    completion_text,
    format_reward,
    prefix_accuracy,
    prefix_accuracy_reward,
)


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
    assert format_reward([completion]) == [expected]


def test_format_of_prompts_that_ask_for_no_thought():
    completions = [answer(1, reasoning=None), answer(1)]
    assert format_reward(completions, think=[False, False]) == [1.0, 0.0]
    assert format_reward(completions, think=[True, True]) == [0.0, 1.0]


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
    assert prefix_accuracy_reward([answer(*generated)], target_tokens=[target]) == pytest.approx(
        [expected]
    )


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
    assert format_reward([text]) == [0.0]
    assert prefix_accuracy_reward([text], target_tokens=[[*tokens, 99]]) == [
        len(tokens) / (len(tokens) + 1)
    ]


def test_chat_messages_count_as_their_text():
    text = answer(4, 5)
    as_message = [{"role": "assistant", "content": text}]
    as_parts = [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
    assert completion_text(as_message) == completion_text(as_parts) == text
    rewards = prefix_accuracy_reward([text, as_message, as_parts], target_tokens=[[4, 6]] * 3)
    assert rewards == [0.5, 0.5, 0.5]
    assert format_reward([text, as_message, as_parts]) == [1.0, 1.0, 1.0]


def test_faults_of_the_caller():
    with pytest.raises(ValueError, match="empty list"):
        prefix_accuracy_reward([answer(1)], target_tokens=[[]])
    with pytest.raises(ValueError, match="shorter|longer"):
        prefix_accuracy_reward([answer(1)], target_tokens=[[1], [2]])
    with pytest.raises(TypeError, match="found int"):
        format_reward([3])


def test_other_columns_are_accepted():
    columns = {"prompts": ["p"], "image": [None], "trainer_state": None}
    assert format_reward([answer(1)], **columns) == [1.0]
    assert prefix_accuracy_reward([answer(1)], target_tokens=[[1]], **columns) == [1.0]

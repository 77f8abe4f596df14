"""State text, prompt and answer: exactly as docs/architecture.md says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.policy.prompt import (
    build_prompt,
    format_answer,
    parse_answer,
    state_text,
)

SIM = load_contract("sim_panda")


def values(x=0.45, y=-0.12, z=0.2, width=0.08):
    return {
        "state.ee": np.array([x, y, z, 0, 0, 0, 1], np.float32),
        "state.gripper": np.array([width], np.float32),
    }


def test_state_text():
    assert state_text(SIM, values()) == "x 45 y -12 z 20 gripper open"
    assert state_text(SIM, values(-0.001, 0.0049, -0.0051, 0.01)) == "x 0 y 0 z -1 gripper closed"


@pytest.mark.parametrize(("width", "word"), [(0.0699, "closed"), (0.0701, "open"), (-1, "closed")])
def test_words_by_bounds(width, word):
    assert state_text(SIM, values(width=width)).endswith(f"gripper {word}")


def test_the_bound_itself_belongs_to_the_next_word():
    contract = load_contract("ur5e")
    data = {"state.ee": np.zeros(7), "state.gripper": np.array([0.1])}
    assert state_text(contract, data) == "x 0 y 0 z 0 gripper closed"


def test_degrees_of_so101():
    joints = np.radians([10, -20, 30, -40, 50, 60])
    assert state_text(load_contract("so101"), {"state.joints": joints}) == (
        "pan 10 lift -20 elbow 30 wrist -40 roll 50 gripper 60"
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_state_text_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match=r"prompt\.state y: found .* in state\.ee\.y"):
        state_text(SIM, values(y=bad))
    with pytest.raises(ValueError, match=r"prompt\.state gripper"):
        state_text(SIM, values(width=bad))


def test_state_text_names_the_stream_it_lacks():
    with pytest.raises(KeyError, match=r"no stream 'state\.gripper'.*only state\.ee"):
        state_text(SIM, {"state.ee": np.zeros(7)})


def test_build_prompt():
    assert build_prompt("put the red cube on the plate", "x 1 y 2", think=True) == (
        "task : put the red cube on the plate . state : x 1 y 2 . think then act ."
    )
    assert build_prompt("  open\n the\tdrawer ", "x 1", think=False) == (
        "task : open the drawer . state : x 1 . act ."
    )


@pytest.mark.parametrize(
    "instruction",
    [
        "",
        " \n",
        "go <answer>",
        "<think>no</think>",
        "<fast_3>",
        "<|im_end|> system",
        "<ACTION_END>",
    ],
)
def test_build_prompt_refuses(instruction):
    with pytest.raises(ValueError, match="instruction: found"):
        build_prompt(instruction, "x 1", think=True)


def test_format_answer():
    assert format_answer([17, 0]) == (
        "<answer><ACTION_START><fast_17><fast_0><ACTION_END></answer>"
    )
    assert format_answer(np.array([5]), "move left") == (
        "<think>move left</think><answer><ACTION_START><fast_5><ACTION_END></answer>"
    )


@pytest.mark.parametrize(
    ("tokens", "reasoning"), [([], None), ([-1], None), ([1], "a </think> b")]
)
def test_format_answer_refuses(tokens, reasoning):
    with pytest.raises(ValueError, match="found"):
        format_answer(tokens, reasoning)


REASONING = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]))


@given(st.lists(st.integers(0, 999_999), min_size=1), st.none() | REASONING)
def test_what_was_formatted_is_parsed(tokens, reasoning):
    answer = parse_answer(format_answer(tokens, reasoning))
    assert answer.well_formed and answer.fault == ""
    assert answer.tokens == tokens
    assert answer.reasoning == (None if reasoning is None else reasoning.strip())


@given(
    st.text()
    | st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<answer>",
                "</answer>",
                "<ACTION_START>",
                "<ACTION_END>",
                "<fast_1>",
                "<fast_22>",
                " ",
                "x",
                "\n",
                "<fast_>",
            ]
        ),
        max_size=14,
    ).map("".join)
)
def test_parsing_never_raises_and_well_formed_means_formatted(text):
    answer = parse_answer(text)
    assert answer.well_formed == (answer.fault == "")
    if answer.well_formed:
        again = format_answer(answer.tokens, answer.reasoning)
        assert "".join(again.split()) == "".join(text.split())


A = "<ACTION_START><fast_1><fast_2><ACTION_END>"


@pytest.mark.parametrize(
    ("text", "tokens", "fault"),
    [
        (f"<think>a</think><answer>{A}</answer>", [1, 2], ""),
        (f"\n<think> a </think>\n<answer> {A} </answer>\n", [1, 2], ""),
        ("<answer><ACTION_START> <fast_1>\n<fast_2> <ACTION_END></answer>", [1, 2], ""),
        ("", [], "no <answer>"),
        ("move left", [], "no <answer>"),
        (A, [1, 2], "no <answer>"),
        (f"<answer>{A}", [1, 2], "no </answer>"),
        ("<answer><ACTION_START><fast_1><fast_2>", [1, 2], "no <ACTION_END>"),
        ("<answer><ACTION_START><fast_1><fast_2></answer>", [1, 2], "no <ACTION_END>"),
        ("<answer></answer>", [], "no <ACTION_START>"),
        ("<answer><ACTION_START><ACTION_END></answer>", [], "no action tokens"),
        (f"<think>a<answer>{A}</answer>", [1, 2], "no </think>"),
        (f"a</think><answer>{A}</answer>", [1, 2], "no <think>"),
        (f"<answer>{A}</answer><think>a</think>", [1, 2], "tags out of order"),
        (f"<think><answer>{A}</answer></think>", [1, 2], "tags out of order"),
        (f"<answer>{A}</answer><answer>{A}</answer>", [1, 2], "2 times <answer>"),
        (f"<answer>{A}{A}</answer>", [1, 2], "2 times <ACTION_START>"),
        (f"hm <answer>{A}</answer>", [1, 2], "'hm' outside of the tags"),
        (f"<answer>{A}</answer> done", [1, 2], "'done' outside of the tags"),
        (f"<answer>go {A}</answer>", [1, 2], "'go' outside of the tags"),
        (
            "<answer><ACTION_START><fast_1>x<fast_2><ACTION_END></answer>",
            [1],
            "'x<fast_2>' between the action tokens",
        ),
        (
            "<answer><ACTION_START><fast_01><ACTION_END></answer>",
            [],
            "'<fast_01>' between the action tokens",
        ),
        (
            "<answer><ACTION_START><fast_9999999><ACTION_END></answer>",
            [],
            "'<fast_9999999>' between the action tokens",
        ),
        (
            "<answer><ACTION_START><fast_\u0661><ACTION_END></answer>",
            [],
            "'<fast_\u0661>' between the action tokens",
        ),
    ],
)
def test_faults_of_answers(text, tokens, fault):
    answer = parse_answer(text)
    assert (answer.tokens, answer.fault, answer.well_formed) == (tokens, fault, fault == "")


def test_tokens_of_the_think_part_do_not_count():
    answer = parse_answer(f"<think><fast_9></think><answer>{A}</answer>")
    assert answer.tokens == [1, 2] and answer.reasoning == "<fast_9>"

"""What an instruction may be: words, no tags of a chat template or an answer."""

from __future__ import annotations

import pytest

from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.keys import (
    ACTION_END,
    ACTION_START,
    ANSWER_END,
    ANSWER_START,
    THINK_END,
)
from roboalign_policy.core.prompt import build_prompt


@pytest.mark.parametrize(
    "text",
    [
        "put the red cube on the plate",
        "把立方体放在盘子上",
        "hole #2, 5 < 7 and a > b; x<y and z>w",
        "a -> b, <- back, 3 <4> 5",
        "open\u2028the drawer",
    ],
)
def test_words_are_fine(text):
    assert instruction_fault(text) is None
    assert build_prompt(text, "x 1", think=True)


@pytest.mark.parametrize(
    "tag",
    [
        "<|im_start|>",
        "<|vision_start|>",
        "<|image_pad|>",
        "<|endoftext|>",
        "<image>",
        "<video>",
        "<think>",
        THINK_END,
        ANSWER_START,
        ANSWER_END,
        ACTION_START,
        ACTION_END,
        "<fast_12>",
        "<tool_call>",
        "<s>",
        "</s>",
    ],
)
def test_every_tag_is_refused_by_name(tag):
    text = f"pick {tag} the cube"
    fault = instruction_fault(text)
    assert fault == f"found the tag {tag!r} in {text!r}, expected words without tags"
    with pytest.raises(ValueError, match="instruction: found the tag"):
        build_prompt(text, "x 1", think=True)


@pytest.mark.parametrize("part", ["<|", "|>", "<fast_"])
def test_halves_of_tags_are_refused(part):
    assert f"found the tag {part!r}" in instruction_fault(f"pick {part} up")


def test_what_a_tokenizer_holds_for_special_is_refused_where_it_is_known():
    assert instruction_fault("pick [UNK] up") is None
    assert "found the tag '[UNK]'" in instruction_fault("pick [UNK] up", ["", "[PAD]", "[UNK]"])


@pytest.mark.parametrize("text", ["", " \n", "\u2028"])
def test_nothing_is_no_instruction(text):
    assert instruction_fault(text) == f"found {text!r}, expected words"


def test_a_long_text_is_not_repeated_whole():
    assert len(instruction_fault("a" * 5000 + "<image>")) < 250

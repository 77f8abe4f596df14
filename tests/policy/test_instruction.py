"""What an instruction may be: words, no tags of a chat template or an answer, nothing unseen."""

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
from roboalign_policy.core.policy.prompt import build_prompt


@pytest.mark.parametrize(
    "text",
    [
        "put the red cube on the plate",
        "把立方体放在盘子上",
        "hole #2, 5 < 7 and a > b; x<y and z>w",
        "a -> b, <- back, 3 <4> 5",
        "open\u2028the drawer",
        "put the bolt into hole [2], then the [red] one",
        "pick it up,\r\n\tthen\v\f\x85wait",
        "سیب را بردار و روی میز بگذار، نمی\u200cخواهم",  # zero width non-joiner
        "लाल क्\u200dष उठाओ",  # zero width joiner
        "wave 👩\u200d🔬",
        "press ⚕\ufe0f or 1\ufe0f\u20e3, as text 1\ufe0e",  # a picture as text or in colour
        "שים את ה-USB\u200e בקופסה",  # left-to-right mark
        "ضع USB\u200f في الصندوق",  # right-to-left mark
        "nimm die Schrauben\xadmutter",  # soft hyphen
        "pick [UNK] up",
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
        "[INST]",
        "[/INST]",
        "[inst]",
        "<<SYS>>",
        "<</SYS>>",
        "[SYSTEM_PROMPT]",
        "[AVAILABLE_TOOLS]",
        "[/TOOL_RESULTS]",
        "[IMG_BREAK]",
        "[THINK]",
        "<start_of_turn>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<system>",
        "</assistant>",
        "<function_call>",
        "<tools>",
        "<IMG_CONTEXT>",
        "<unused12>",
        "<extra_id_0>",
        "<loc0001>",
        "<br/>",
        "<\uff5cbegin▁of▁sentence\uff5c>",
        "<\uff5cUser\uff5c>",
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


@pytest.mark.parametrize("text", ["", " \n", "\u2028", "\xad", " \u200e\u200d "])
def test_nothing_is_no_instruction(text):
    assert instruction_fault(text) == f"found {text!r}, expected words"


@pytest.mark.parametrize(
    ("character", "named"),
    [
        ("\0", "the control character U+0000"),
        ("\x1b", "the control character U+001B"),
        ("\x1f", "the control character U+001F"),
        ("\x7f", "the control character U+007F"),
        ("\x9b", "the control character U+009B"),
        ("\u202e", "the invisible character U+202E (RIGHT-TO-LEFT OVERRIDE)"),
        ("\u2066", "the invisible character U+2066 (LEFT-TO-RIGHT ISOLATE)"),
        ("\u200b", "the invisible character U+200B (ZERO WIDTH SPACE)"),
        ("\u2060", "the invisible character U+2060 (WORD JOINER)"),
        ("\u202a", "the invisible character U+202A (LEFT-TO-RIGHT EMBEDDING)"),
        ("\u2069", "the invisible character U+2069 (POP DIRECTIONAL ISOLATE)"),
        ("\ufeff", "the invisible character U+FEFF (ZERO WIDTH NO-BREAK SPACE)"),
        ("\U000e0041", "the invisible character U+E0041 (TAG LATIN CAPITAL LETTER A)"),
        ("\u034f", "the invisible character U+034F (COMBINING GRAPHEME JOINER)"),
        ("\u2800", "the invisible character U+2800 (BRAILLE PATTERN BLANK)"),
        ("\u3164", "the invisible character U+3164 (HANGUL FILLER)"),
        ("\u1160", "the invisible character U+1160 (HANGUL JUNGSEONG FILLER)"),
        ("\ufe00", "the invisible character U+FE00 (VARIATION SELECTOR-1)"),
        ("\U000e0100", "the invisible character U+E0100 (VARIATION SELECTOR-17)"),
        ("\U000e01f5", "the invisible character U+E01F5"),
        ("\udc80", "half a character, U+DC80"),
    ],
)
def test_what_nobody_sees_is_refused_by_name(character, named):
    text = f"open{character} the drawer"
    fault = instruction_fault(text)
    escaped = ascii(text)[5:-12]
    assert fault == f"found {named} in 'open{escaped} the drawer', expected words that all can see"
    assert fault.isascii() and fault.isprintable()
    with pytest.raises(ValueError, match="instruction: found "):
        build_prompt(text, "x 1", think=True)


def test_a_selector_belongs_to_what_is_seen_before_it():
    for text in ("go \ufe0fhome", "go\ufe0f\ufe0ehome", "\ufe0f"):
        fault = instruction_fault(text)
        assert fault and ("U+FE0" in fault or "expected words" in fault)


@pytest.mark.parametrize("mark", ["\ufe0f", "\u200c", "\u200d", "\u200e", "\u200f", "\xad"])
def test_marks_hide_no_tag(mark):
    assert "found the tag '[INST]'" in instruction_fault(f"pick [IN{mark}ST] up")
    assert "found the tag '[UNK]'" in instruction_fault(f"pick [UN{mark}K] up", ["[UNK]"])


def test_a_byte_order_mark_is_a_fault_also_in_front():
    assert "the invisible character U+FEFF" in instruction_fault("\ufeffopen the drawer")


def test_a_long_text_is_not_repeated_whole():
    assert len(instruction_fault("a" * 5000 + "<image>")) < 250

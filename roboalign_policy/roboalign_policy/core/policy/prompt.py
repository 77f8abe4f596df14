"""The words between robot and model: state text, prompt, and the answer with its action tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.keys import (
    ACTION_END,
    ACTION_START,
    ANSWER_END,
    ANSWER_START,
    THINK_END,
    THINK_START,
    fast_token,
)

if TYPE_CHECKING:
    from roboalign_policy.core.contract.contract import Contract, PromptState

#: Written into checkpoints: a model reads only prompts of the version it was trained on.
PROMPT_VERSION = 1

# In the order in which an answer has them.
_TAGS = (THINK_START, THINK_END, ANSWER_START, ACTION_START, ACTION_END, ANSWER_END)
_FAST = re.compile(r"<fast_(0|[1-9][0-9]{0,5})>")
_FAST_RUN = re.compile(rf"(?:\s*{_FAST.pattern})*\s*")


def _word(part: PromptState, value: float) -> str:
    """Return one number or word of the state text."""
    if not math.isfinite(value):
        raise ValueError(
            f"prompt.state {part.label}: found {value} in {part.stream}.{part.field}, "
            "expected a finite number"
        )
    if part.words:
        return next(word for bound, word in part.words if value < bound)
    return str(round(value * (1.0 if part.scale is None else part.scale)))


def state_text(contract: Contract, values: Mapping[str, np.ndarray]) -> str:
    """Write the state as the model reads it, as in `x 45 y -12 z 20 gripper open`.

    Args:
        contract: its prompt.state says what is written, in which order and scale.
        values: state by stream key, (D,) in the units of the contract; as in `Frame.values`.

    Returns:
        Label and rounded whole number (half to even), or word, of each part; empty without parts.

    Raises:
        KeyError: a stream of the prompt is not in `values`.
        ValueError: a value is not finite.
    """
    parts = []
    for part in contract.prompt_state:
        if part.stream not in values:
            raise KeyError(
                f"prompt.state {part.label}: no stream {part.stream!r} in the values, "
                f"only {', '.join(values) or 'none'}"
            )
        index = contract.stream(part.stream).names.index(part.field)
        parts.append(f"{part.label} {_word(part, float(values[part.stream][index]))}")
    return " ".join(parts)


def build_prompt(instruction: str, state: str, think: bool) -> str:
    """Write the text of a request for an action.

    Args:
        instruction: the task in words; runs of blanks and line ends become one blank.
        state: from `state_text`.
        think: whether the model is to reason before it acts.

    Raises:
        ValueError: the instruction is empty or holds tags of the answer or of a chat template.
    """
    # An instruction comes from outside.
    if fault := instruction_fault(instruction):
        raise ValueError(f"instruction: {fault}")
    words = " ".join(instruction.split())
    return f"task : {words} . state : {state} . {'think then act' if think else 'act'} ."


def build_question(instruction: str, state: str) -> str:
    """Write the question for the thought alone: what is next, answered in words.

    Args:
        instruction: the task in words; runs of blanks and line ends become one blank.
        state: from `state_text`.

    Raises:
        ValueError: as `build_prompt`.
    """
    if fault := instruction_fault(instruction):
        raise ValueError(f"instruction: {fault}")
    words = " ".join(instruction.split())
    return f"task : {words} . state : {state} . what is next ?"


def camera_names(keys: Sequence[str]) -> tuple[str, ...]:
    """Names of image streams in a prompt: `image.left_wrist` is `left wrist`."""
    return tuple(key.removeprefix("image.").replace("_", " ") for key in keys)


def user_content(prompt: str, cameras: Sequence[str]) -> list[dict[str, str]]:
    """The chat content of a request: the pictures, then the words.

    Of several pictures each stands behind its camera's name; a single one needs none.

    Args:
        prompt: the words, from `build_prompt`.
        cameras: a name for every picture, in the order of the pictures.
    """
    parts = []
    for name in cameras:
        if len(cameras) > 1:
            parts.append({"type": "text", "text": f"{name} : "})
        parts.append({"type": "image"})
    return [*parts, {"type": "text", "text": prompt}]


def format_answer(tokens: Sequence[int], reasoning: str | None = None) -> str:
    """Write an answer as the model is to give it.

    Args:
        tokens: FAST token indices, 0 for `<fast_0>`.
        reasoning: the thought before the answer; None leaves the think part out.

    Raises:
        ValueError: no tokens, a negative one, or a reasoning with tags in it.
    """
    if len(tokens) == 0 or min(tokens) < 0:
        raise ValueError(f"tokens: found {list(tokens)[:8]}, expected at least one index >= 0")
    if reasoning is not None and any(tag in reasoning for tag in _TAGS):
        raise ValueError(f"reasoning: found a tag in {reasoning!r}, expected words without tags")
    think = "" if reasoning is None else f"{THINK_START}{reasoning}{THINK_END}"
    action = "".join(fast_token(int(token)) for token in tokens)
    return f"{think}{ANSWER_START}{ACTION_START}{action}{ACTION_END}{ANSWER_END}"


@dataclass(frozen=True)
class ParsedAnswer:
    """What a model answered.

    Attributes:
        reasoning: text of the think part without blanks around it; None where there is none.
        tokens: FAST token indices after `<ACTION_START>` up to the first thing that is none. Of
            an answer that is not well formed they are for scoring only, never for driving.
        well_formed: every tag is there once and in its place, and the action holds only tokens.
        fault: what is wrong; empty where well formed.
    """

    reasoning: str | None
    tokens: list[int] = field(default_factory=list)
    well_formed: bool = False
    fault: str = ""


def parse_answer(text: str) -> ParsedAnswer:
    """Read an answer: `[<think>..</think>]<answer><ACTION_START><fast_i>...<ACTION_END></answer>`.

    Blanks and line ends between the tags and between tokens do not matter; the think part may be
    missing (see `ParsedAnswer.reasoning`). Never raises: a model may write anything.
    """
    fault = _tag_fault(text)
    reasoning = None
    if THINK_START in text and THINK_END in text:
        reasoning = text.split(THINK_START, 1)[1].split(THINK_END, 1)[0].strip()
    tokens: list[int] = []
    if ACTION_START in text:
        action = text.split(ACTION_START, 1)[1].split(ACTION_END, 1)[0]
        run = _FAST_RUN.match(action).group()
        tokens = [int(index) for index in _FAST.findall(run)]
        if not fault and run != action:
            fault = f"{action[len(run) :][:20]!r} between the action tokens"
        if not fault and not tokens:
            fault = "no action tokens"
    return ParsedAnswer(reasoning, tokens, not fault, fault)


def _tag_fault(text: str) -> str:
    """Return what is wrong with the tags and the text between them; empty if nothing is."""
    counts = {tag: text.count(tag) for tag in _TAGS}
    thinks = counts[THINK_START] > 0 or counts[THINK_END] > 0
    wanted = _TAGS if thinks else _TAGS[2:]
    for tag in wanted:
        if counts[tag] != 1:
            return f"no {tag}" if counts[tag] == 0 else f"{counts[tag]} times {tag}"
    places = [text.index(tag) for tag in wanted]
    if places != sorted(places):
        return "tags out of order"
    # Only inside of the think and action parts may anything stand.
    outside = re.sub(
        f"{THINK_START}.*?{THINK_END}|{ACTION_START}.*?{ACTION_END}", "", text, flags=re.DOTALL
    )
    stray = outside.replace(ANSWER_START, "").replace(ANSWER_END, "").strip()
    return f"{stray[:20]!r} outside of the tags" if stray else ""

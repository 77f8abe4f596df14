"""What an instruction may be: words, and nothing that steers a model or its chat template."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What chat templates, image processors and answers give a meaning to. Anything between <| and |>,
# also one half of it; a tokenizer makes one token of what it knows.
_NAMES = (
    "image video audio think answer tool_call tool_response s pad unk bos eos mask cls sep "
    "image_pad video_pad vision_start vision_end im_start im_end ACTION_START ACTION_END"
)
_TAG = re.compile(
    rf"<\|[^<>|\s]*\|>|<\||\|>|</?(?:{'|'.join(_NAMES.split())})\s*/?>|</?fast_\w*>?",
    re.IGNORECASE,
)
_SHOWN = 120  # characters of an instruction in an error


def instruction_fault(text: str, special: Iterable[str] = ()) -> str | None:
    """Say why a text cannot be an instruction.

    Args:
        text: the instruction, as recorded, imported or asked for.
        special: further texts that must not be in it, such as a tokenizer's special tokens.

    Returns:
        What was found, with the tag, and what was expected; None where it is fine.
    """
    if not text.strip():
        return f"found {text!r}, expected words"
    match = _TAG.search(text)
    tag = match.group() if match else next((s for s in special if s and s in text), None)
    if tag is None:
        return None
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"found the tag {tag!r} in {shown!r}, expected words without tags"

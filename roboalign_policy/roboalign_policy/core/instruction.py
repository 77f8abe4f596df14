"""What an instruction may be: words, and nothing that steers a model or its chat template."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Tags of chat templates (<|im_start|>), of image placeholders (<image>), of answers (<think>,
# <ACTION_START>, <fast_7>), and halves of them: a tokenizer makes one token of what it knows.
_TAG = re.compile(r"<\|[^<>|\s]*\|>|<\||\|>|</?[A-Za-z_][\w.:-]*/?>|<fast_")
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

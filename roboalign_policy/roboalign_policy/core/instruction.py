"""What an instruction may be: words, and nothing that steers a model or its chat template."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# What chat templates, image processors and answers give a meaning to; a tokenizer makes one token
# of what it knows. Anything between <| and |>, also one half of it, with the wide bars of DeepSeek
# too; every <word> and </word>, double as in <<SYS>> or not; and in square brackets, where words
# may well stand, the names below: those of Llama, Mistral and Pixtral.
_BRACKETED = (
    "inst sys system system_prompt available_tools tool_calls tool_results tool_content args "
    "call_id model_settings img img_break img_end audio begin_audio think prefix middle suffix"
)
_TAG = re.compile(
    r"<[|｜][^<>|｜\s]*[|｜]>|<[|｜]|[|｜]>|<</?[a-z][\w.:/-]*\s*/?>>|</?[a-z][\w.:/-]*\s*/?>|"
    rf"</?fast_\w*>?|\[/?(?:{'|'.join(_BRACKETED.split())})\]",
    re.IGNORECASE,
)
# White space that becomes one blank in the prompt, by Unicode's White_Space.
_BLANKS = "\t\n\v\f\r\x85"
# They belong to texts that people write: joiners within words of Persian, Hindi and others, marks
# beside words of the other direction in Hebrew and Arabic (which turn nothing around), and places
# at which a word may be divided.
_MARKS = "\u200c\u200d\u200e\u200f\xad"
# A picture as text or in colour, right behind it; elsewhere they are seen no more than the others.
_SELECTORS = "\ufe0e\ufe0f"
_WITHOUT_MARKS = dict.fromkeys(map(ord, _MARKS + _SELECTORS))
_UNSEEN = {
    "Cc": "the control character",
    "Cf": "the invisible character",
    "Cs": "half a character,",
}
# Drawn as nothing though they are letters, marks or not assigned. Source: Unicode 16,
# Default_Ignorable_Code_Point without the category Cf; and the empty pattern of Braille.
_IGNORED = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U000e0000-\U000e0fff]"
)
_SHOWN = 120  # characters of an instruction in an error


def instruction_fault(text: str, special: Iterable[str] = ()) -> str | None:
    """Say why a text cannot be an instruction.

    Args:
        text: the instruction, as recorded, imported or asked for.
        special: further texts that must not be in it, such as a tokenizer's special tokens.

    Returns:
        What was found, with the tag or character, and what was expected; None where it is fine.
    """
    bare = text.translate(_WITHOUT_MARKS)
    if not bare.strip():
        return f"found {text!r}, expected words"
    shown = repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")
    shown = _IGNORED.sub(lambda match: match[0].encode("unicode_escape").decode(), shown)
    seen = re.sub(rf"(?<=[^\s{_MARKS}{_SELECTORS}])[{_SELECTORS}]", "", text)
    if (unseen := next(filter(_kind_of_unseen, seen), None)) is not None:
        kind, name = _kind_of_unseen(unseen), unicodedata.name(unseen, "")
        code = f"U+{ord(unseen):04X}{f' ({name})' if name else ''}"
        return f"found {kind} {code} in {shown}, expected words that all can see"
    match = _TAG.search(bare)  # they hide no tag
    held = (s for s in special if s and (s in text or s in bare))
    tag = match.group() if match else next(held, None)
    return f"found the tag {tag!r} in {shown}, expected words without tags" if tag else None


def _kind_of_unseen(character: str) -> str | None:
    """What a character that nobody sees is; None of all others, blanks and marks included.

    Such characters turn words around on the screen (U+202E), end texts in other programs (U+0000)
    or hold words that only the model reads (U+E0000 and the following).
    """
    if character in _BLANKS or character in _MARKS:
        return None
    if _IGNORED.match(character):
        return "the invisible character"
    return _UNSEEN.get(unicodedata.category(character))

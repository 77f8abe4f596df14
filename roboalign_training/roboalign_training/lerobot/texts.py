"""Texts of a JSON file that no other file can hold."""

from __future__ import annotations


def text_fault(text: str) -> str | None:
    """Why a text cannot be written in UTF-8: half a character, as JSON and a shell can give it.

    Returns:
        What was found and expected, itself in ASCII; None where the text is fine.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text[max(0, error.start - 40) : error.start + 40]
        return f"found {ascii(text[error.start])} in {ascii(shown)}, expected whole characters"
    return None

"""What each entry of a FAST vocabulary stands for: bytes, whole coefficients, or a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from roboalign_policy.fast.errors import FastFormatError

# The surrogates U+D800..U+DFFF are no characters; a tokenizer ends before them.
MAX_CODE = 0xD7FF


@lru_cache(maxsize=1)
def byte_characters() -> tuple[str, ...]:
    """The printable character that ByteLevel BPE writes for each byte 0..255 (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return tuple(table[byte] for byte in range(256))


@dataclass(frozen=True)
class Vocabulary:
    """The decoding table of a FAST tokenizer.

    Attributes:
        layout: "bytes" (ByteLevel BPE as in the universal tokenizer) or "characters" (BPE over
            the characters themselves, as `fit` makes it).
        spellings: The UTF-8 bytes of each token; may be a part of a character in "bytes".
        lengths: int64 (V,), whole characters (coefficients) of each token; 0 when the token
            alone is not a sequence of whole characters.
        codes: int64, the characters of all whole tokens one after the other.
        starts: int64 (V,), where each token's characters start in `codes`.
        encodable: bool (MAX_CODE + 1,), whether each character can be spelled.
    """

    layout: str
    spellings: tuple[bytes, ...]
    lengths: np.ndarray
    codes: np.ndarray
    starts: np.ndarray
    encodable: np.ndarray

    @classmethod
    def from_model(cls, model: dict, source: str) -> Vocabulary:
        """Reads the table out of a parsed tokenizer.json.

        Args:
            model: The whole JSON document.
            source: File name for messages.

        Raises:
            FastFormatError: Not a BPE that maps characters to tokens without loss.
        """
        layout = _layout(model, source)
        by_id = _ids(model["model"]["vocab"], source)
        unmap = {character: byte for byte, character in enumerate(byte_characters())}
        spellings, tokens = [], []
        for text in by_id:
            # As the ByteLevel decoder does it: a token with a foreign character is plain text.
            if layout == "bytes" and all(character in unmap for character in text):
                raw = bytes(unmap[character] for character in text)
            else:
                raw = text.encode("utf-8", errors="surrogatepass")
            spellings.append(raw)
            tokens.append(whole_codes(raw))
        lengths = np.array([0 if token is None else len(token) for token in tokens], np.int64)
        codes = np.concatenate([np.zeros(0, np.int64), *(t for t in tokens if t is not None)])
        starts = np.cumsum(lengths) - lengths
        encodable = (symbol_table(model["model"]["vocab"], layout)[0] >= 0).all(axis=1)
        for array in (lengths, codes, starts, encodable):
            array.setflags(write=False)
        return cls(layout, tuple(spellings), lengths, codes, starts, encodable)


def whole_codes(raw: bytes) -> np.ndarray | None:
    """The int64 code points of UTF-8 bytes; None unless all are whole and encodable."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4").astype(np.int64)
    return codes if codes.size and codes.max() <= MAX_CODE else None


def symbol_table(numbers: Mapping[str, int], layout: str) -> tuple[np.ndarray, np.ndarray]:
    """What every character is spelled with, before the first merge.

    Args:
        numbers: Number of each symbol that is known, 0 or more.
        layout: "bytes" or "characters" (see `Vocabulary`).

    Returns:
        int64 (MAX_CODE + 1, 3), numbers of the symbols of each character, -1 for one that is not
        known and 0 behind the last; and int64 (MAX_CODE + 1,), how many there are.
    """
    table = np.zeros((MAX_CODE + 1, 3), dtype=np.int64)
    codes = np.arange(MAX_CODE + 1)
    if layout == "characters":
        table[:, 0] = [numbers.get(chr(code), -1) for code in codes.tolist()]
        return table, np.ones(len(table), np.int64)
    of_byte = np.array([numbers.get(symbol, -1) for symbol in byte_characters()])
    last = of_byte[0x80 | codes & 0x3F]
    one, two, three = slice(0x80), slice(0x80, 0x800), slice(0x800, None)
    table[one, 0] = of_byte[codes[one]]
    table[two, 0], table[two, 1] = of_byte[0xC0 | codes[two] >> 6], last[two]
    table[three, 0], table[three, 2] = of_byte[0xE0 | codes[three] >> 12], last[three]
    table[three, 1] = of_byte[0x80 | codes[three] >> 6 & 0x3F]
    return table, 1 + (codes >= 0x80) + (codes >= 0x800)


def _layout(model: dict, source: str) -> str:
    bpe = model.get("model")
    if not isinstance(bpe, dict) or bpe.get("type", "BPE") != "BPE":
        raise FastFormatError(f"{source}: model: expected a BPE model")
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"):
        if bpe.get(key):
            raise FastFormatError(f"{source}: model.{key}: found {bpe[key]!r}, expected null")
    for key in ("byte_fallback", "ignore_merges"):
        if bpe.get(key):
            raise FastFormatError(f"{source}: model.{key}: found true, expected false")
    for key in ("normalizer", "added_tokens"):
        if model.get(key):
            raise FastFormatError(f"{source}: {key}: found {model[key]!r}, expected none")
    pre, decoder = model.get("pre_tokenizer"), model.get("decoder")
    kinds = tuple(part.get("type") if isinstance(part, dict) else part for part in (pre, decoder))
    if kinds == ("ByteLevel", "ByteLevel"):
        if pre.get("add_prefix_space"):
            raise FastFormatError(
                f"{source}: pre_tokenizer.add_prefix_space: found true, expected false"
                " (it would add a coefficient)"
            )
        return "bytes"
    if kinds == (None, "Fuse"):
        return "characters"
    raise FastFormatError(
        f"{source}: pre_tokenizer and decoder: found {kinds}, expected ByteLevel and ByteLevel,"
        " or null and Fuse"
    )


def _ids(vocab: object, source: str) -> list[str]:
    if not isinstance(vocab, dict) or not vocab:
        raise FastFormatError(f"{source}: model.vocab: expected a non-empty object")
    ids = list(vocab.values())
    if any(type(i) is not int for i in ids) or sorted(ids) != list(range(len(vocab))):
        raise FastFormatError(f"{source}: model.vocab: expected the ids 0..{len(vocab) - 1}")
    return sorted(vocab, key=vocab.__getitem__)

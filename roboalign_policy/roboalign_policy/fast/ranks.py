"""What the compiled encoder knows of a vocabulary, and the proof that its tokens are the BPE's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboalign_policy.fast.vocabulary import MAX_CODE, byte_characters

# Side of the table of first merges; a larger one would push the rest out of the caches.
_MOST_FIRST = 1 << 10
# With more tokens than this, hardly any factor fills a table of sensible size.
_MOST_TOKENS = 1 << 16
_TRIES = 20


@dataclass(frozen=True)
class Ranks:
    """A vocabulary in the order of its merges.

    Attributes:
        arrays: `spelling`, `powers`, `first`, `halves`, `factor` and `merges` of
            `compiled.encode_rows`.
        ids: object (V,), the id of each token as an `int`.
    """

    arrays: tuple[np.ndarray, ...]
    ids: np.ndarray

    @classmethod
    def prove(cls, model: dict, layout: str, plain: np.ndarray) -> Ranks | None:
        """The ranks of a vocabulary, or None where its merges need not happen in their order.

        They do where every token is made by one merge only, and this merge stands after those of
        its halves: what a merge makes can then only be wanted by later ones. A vocabulary of
        more than 65,536 tokens, or of more than a thousand symbols that merge, has None as well.

        Args:
            model: The `model` object of tokenizer.json.
            layout: "bytes" or "characters" (see `Vocabulary`).
            plain: bool (MAX_CODE + 1,), the characters that the pre-tokenizer never splits at.
        """
        merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in model["merges"]]
        later = {left + right for left, right in merges}
        symbols = _symbols(model, layout)
        if not symbols or len(later) < len(merges) or len(model["vocab"]) > _MOST_TOKENS:
            return None
        # Symbols that merge stand last, so that they and the powers are neighbours.
        wanted = {half for pair in merges for half in pair}
        symbols.sort(key=wanted.__contains__)
        origin = sum(symbol not in wanted for symbol in symbols)
        ranks = {symbol: rank for rank, symbol in enumerate(symbols)}
        pairs = [(rank, rank) for rank in ranks.values()]
        for left, right in merges:
            if left in later or right in later:
                return None
            later.discard(left + right)
            # A half that no merge makes never comes up, and so the token does not either.
            if left in ranks and right in ranks:
                ranks[left + right] = len(pairs)
                pairs.append((ranks[left], ranks[right]))
        bases = len(symbols)
        powers = _powers(symbols, pairs, layout)
        size = bases + len(powers) - 2 - origin
        if size > _MOST_FIRST:
            return None
        halves = np.array(pairs, dtype=np.uint32)
        first = np.zeros((size + 1, size + 2), dtype=np.uint32)
        first[0, -1] = origin
        for token, (left, right) in enumerate(pairs[bases:], bases):
            if 0 <= left - origin < size and 0 <= right - origin < size:
                first[left - origin + 1, right - origin + 1] = token
        factor, table = _table(halves, bases)
        spelling = _spelling(ranks, layout, plain)
        ids = np.array([model["vocab"][text] for text in ranks], dtype=object)
        return cls((spelling, powers, first, halves, factor, table), ids)


def _symbols(model: dict, layout: str) -> list[str]:
    """The single characters that a text is made of before the first merge."""
    if layout == "bytes":
        return [symbol for symbol in byte_characters() if symbol in model["vocab"]]
    return [text for text in model["vocab"] if len(text) == 1 and ord(text) <= MAX_CODE]


def _table(halves: np.ndarray, bases: int) -> tuple[int, np.ndarray]:
    """A factor and the hash table that it fills, as small as a few tries find."""
    # Here, because it imports numba.
    from roboalign_policy.fast.compiled import BUCKET, fill_merges

    rng = np.random.default_rng(0)
    size = 1 << (len(halves) - 1).bit_length()
    while True:
        for _ in range(_TRIES):
            factor = int(rng.integers(1 << 62)) * 2 + 1
            table = np.zeros((size, BUCKET), dtype=np.int64)
            if fill_merges(halves, bases, factor, table):
                return factor, table
        size *= 2


def _powers(symbols: list[str], pairs: list[tuple[int, int]], layout: str) -> np.ndarray:
    """A code and the tokens of 1, 2, 4, ... of it, where the first merges make just these."""
    merged = pairs[len(symbols) :]
    if layout == "bytes" or not merged or merged[0][0] != merged[0][1]:
        return np.full(2, -1, dtype=np.int64)
    powers = [merged[0][0]]
    for rank, pair in enumerate(merged, len(symbols)):
        if pair != (powers[-1], powers[-1]):
            break
        powers.append(rank)
    return np.array([ord(symbols[powers[0]]), *powers], dtype=np.int64)


def _spelling(ranks: dict[str, int], layout: str, plain: np.ndarray) -> np.ndarray:
    """Number of symbols of each code, and the symbols."""
    table = np.zeros((MAX_CODE + 1, 4), dtype=np.int64)
    codes = np.arange(MAX_CODE + 1)
    if layout == "characters":
        table[:, 1] = [ranks.get(chr(code), -1) for code in codes.tolist()]
        table[:, 0] = 1
    else:
        of_byte = np.array([ranks.get(symbol, -1) for symbol in byte_characters()])
        last = 0x80 | codes & 0x3F
        table[:0x80, 1] = of_byte[:0x80]
        two, three = slice(0x80, 0x800), slice(0x800, None)
        table[two, 1] = of_byte[0xC0 | codes[two] >> 6]
        table[two, 2] = of_byte[last[two]]
        table[three, 1] = of_byte[0xE0 | codes[three] >> 12]
        table[three, 2] = of_byte[0x80 | codes[three] >> 6 & 0x3F]
        table[three, 3] = of_byte[last[three]]
        table[:, 0] = 1 + (codes >= 0x80) + (codes >= 0x800)
    table[~plain | (table < 0).any(axis=1)] = 0
    return table.astype(np.uint32)

"""What the compiled encoder knows of a vocabulary, and the proof that its tokens are the BPE's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboalign_policy.fast.trie import token_trie
from roboalign_policy.fast.vocabulary import MAX_CODE, byte_characters

# With more tokens than this, hardly any factor fills a table of sensible size.
_MOST_TOKENS = 1 << 16
# Up to here there is a table of which token may follow which: 2 MB, and 0.3 s to make it.
_MOST_PAIRED = 1 << 12
_TRIES = 20


@dataclass(frozen=True)
class Ranks:
    """A vocabulary in the order of its merges.

    Attributes:
        arrays: `spelling`, `powers`, `trie`, `shorter`, `sizes`, `pairs`, `halves`, `bases`,
            `factor` and `merges` of `compiled.encode_rows`.
        ids: object (V,), the id of each token as an `int`.
    """

    arrays: tuple[np.ndarray, ...]
    ids: np.ndarray

    @classmethod
    def prove(cls, model: dict, layout: str, plain: np.ndarray) -> Ranks | None:
        """The ranks of a vocabulary, or None where its merges need not happen in their order.

        They do where every token is made by one merge only, and this merge stands after those of
        its halves: what a merge makes can then only be wanted by later ones. A vocabulary of
        more than 65,536 tokens has None as well.

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
        powers = _powers(symbols, pairs, layout)
        bases = len(symbols) + len(powers) - 2
        tables = _tables(np.array(pairs, dtype=np.uint32), bases)
        spelling = _spelling(ranks, layout, plain)
        ids = np.array([model["vocab"][text] for text in ranks], dtype=object)
        return cls((spelling, powers, *tables), ids)


def _symbols(model: dict, layout: str) -> list[str]:
    """The single characters that a text is made of before the first merge."""
    if layout == "bytes":
        return [symbol for symbol in byte_characters() if symbol in model["vocab"]]
    return [text for text in model["vocab"] if len(text) == 1 and ord(text) <= MAX_CODE]


def _tables(halves: np.ndarray, bases: int) -> tuple[np.ndarray | int, ...]:
    """What the encoder needs to know of tokens (V, 2) by their halves, from `trie` on."""
    # Here, because it imports numba.
    from roboalign_policy.fast.compiled import fill_own, fill_pairs

    total = len(halves)
    merges = _merges(halves, bases)
    own = np.ones(total, dtype=bool)
    fill_own(halves, bases, *merges, own)
    pairs = np.zeros((0, 0), dtype=np.uint32)
    if total <= _MOST_PAIRED:
        pairs = np.zeros((total + 1, total // 32 + 1), dtype=np.uint32)
        fill_pairs(halves, bases, *merges, pairs)
    return (*token_trie(halves, bases, own), pairs, halves, bases, *merges)


def _merges(halves: np.ndarray, bases: int) -> tuple[int, np.ndarray]:
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

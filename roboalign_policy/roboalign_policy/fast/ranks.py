"""What the compiled encoder knows of a vocabulary, and the proof that its tokens are the BPE's.

Import this file only where something is encoded: it loads numba.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from roboalign_policy.fast.compiled import (
    BASE,
    BUCKET,
    NONE,
    PARENT,
    TOKEN,
    fill_merges,
    fill_own,
    fill_pairs,
)
from roboalign_policy.fast.vocabulary import MAX_CODE, byte_characters, symbol_table

# With more tokens than this, hardly any factor fills a table of sensible size.
_MOST_TOKENS = 1 << 16
# Up to here there is a table of which token may follow which: 2 MB, and 0.3 s to make it.
_MOST_PAIRED = 1 << 12
_TRIES = 20  # factors that are tried for one size of table
# Places that are tried for the children of a node before the search begins further on: a bound
# for the time, at the price of some rows that stay empty.
_MOST_TRIES = 64


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
    total = len(halves)
    merges = _merges(halves, bases)
    own = np.ones(total, dtype=bool)
    fill_own(halves, bases, *merges, own)
    pairs = np.zeros((0, 0), dtype=np.uint32)
    if total <= _MOST_PAIRED:
        pairs = np.zeros((total + 1, total // 32 + 1), dtype=np.uint32)
        fill_pairs(halves, bases, *merges, pairs)
    return (*_token_trie(halves, bases, own), pairs, halves, bases, *merges)


def _merges(halves: np.ndarray, bases: int) -> tuple[int, np.ndarray]:
    """A factor and the hash table that it fills, as small as a few tries find."""
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
    symbols, counts = symbol_table(ranks, layout)
    table = np.column_stack([counts, symbols])
    table[~plain | (symbols < 0).any(axis=1)] = 0
    return table.astype(np.uint32)


def _token_trie(
    halves: np.ndarray, bases: int, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays `trie`, `shorter` and `sizes` of `compiled.encode_rows`: tokens by their symbols.

    Args:
        halves: uint32 (V, 2), the two tokens that each token is made of.
        bases: Number of symbols.
        own: bool (V,), the tokens that are put in; all symbols among them.
    """
    texts: list[tuple[int, ...]] = [(symbol,) for symbol in range(bases)]
    for left, right in halves[bases:].tolist():
        texts.append(texts[left] + texts[right])
    children: list[dict[int, int]] = [{}]
    tokens = [NONE]
    for token in np.flatnonzero(own).tolist():
        node = 0
        for symbol in texts[token]:
            if symbol not in children[node]:
                children[node][symbol] = len(children)
                children.append({})
                tokens.append(NONE)
            node = children[node][symbol]
        tokens[node] = token
    shorter = np.full(len(halves), NONE, dtype=np.uint32)
    for token in np.flatnonzero(own).tolist():
        node = 0
        for symbol in texts[token][:-1]:
            node = children[node][symbol]
            if tokens[node] != NONE:
                shorter[token] = tokens[node]
    sizes = np.array([len(text) for text in texts], dtype=np.uint32)
    return _double_array(children, tokens, bases), shorter, sizes


def _double_array(children: list[dict[int, int]], tokens: list[int], bases: int) -> np.ndarray:
    """A trie as rows of parent, base and token; every base + symbol up to `bases` is a row."""
    rows = np.full((2 * (len(children) + bases), 4), NONE, dtype=np.uint32)
    rows[0, PARENT] = 0  # the root's row is taken
    start, waiting = 1, [(0, 0)]
    for node, row in waiting:
        symbols = np.array(sorted(children[node]), dtype=np.int64)
        base, tries = max(0, start - int(symbols[0])) if len(symbols) else 0, 0
        while True:
            if base + bases >= len(rows):
                rows = np.concatenate([rows, np.full_like(rows, NONE)])
            if (rows[base + symbols, PARENT] == NONE).all():
                break
            base, tries = base + 1, tries + 1
        rows[row, BASE] = base
        rows[base + symbols, PARENT] = row
        for symbol, child in children[node].items():
            rows[base + symbol, TOKEN] = tokens[child]
            waiting.append((child, base + symbol))
        if tries > _MOST_TRIES:
            start += tries
        while start < len(rows) and rows[start, PARENT] != NONE:
            start += 1
    return rows[: int(rows[rows[:, BASE] != NONE, BASE].max()) + bases + 1].copy()

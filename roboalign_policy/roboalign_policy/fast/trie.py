"""Tokens by what they are made of, as a double array that the compiled encoder walks through."""

from __future__ import annotations

import numpy as np

# Places that are tried for the children of a node before the search begins further on: a bound
# for the time, at the price of some rows that stay empty.
_TRIES = 64


def token_trie(
    halves: np.ndarray, bases: int, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays `trie`, `shorter` and `sizes` of `compiled.encode_rows`.

    Args:
        halves: uint32 (V, 2), the two tokens that each token is made of.
        bases: Number of symbols.
        own: bool (V,), the tokens that are put in; all symbols among them.
    """
    # Here, because it imports numba.
    from roboalign_policy.fast.compiled import NONE

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
    from roboalign_policy.fast.compiled import BASE, NONE, PARENT, TOKEN

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
        if tries > _TRIES:
            start += tries
        while start < len(rows) and rows[start, PARENT] != NONE:
            start += 1
    return rows[: int(rows[rows[:, BASE] != NONE, BASE].max()) + bases + 1].copy()

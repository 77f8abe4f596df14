"""The compiled loop of the FAST encoder: rows of codes to BPE tokens.

Import this file only where something is encoded: it loads numba, and the very first time on a
machine the compiler takes some seconds (its result is kept on disk).

Tokens are numbered by rank: symbols first, then merged tokens in the order of their merges, so a
merge and the token it makes have one number. A token that is made can only take part in later
merges than its own (`Ranks.prove` sees to that). Then a sequence of tokens is what BPE makes of
its text if and only if BPE makes each token of its own text, and of the text of each two that
follow each other just these two. So nothing is merged here: the longest token that stands at a
place is taken if it may follow the one before, else a shorter one, and where none may, the one
before is given up. What BPE makes of the text up to a place is unique, so a place that was given
up is never tried again.

Source: github/rust-gems, crates/bpe, whose encoder has the proof.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

# Entries of the table of merges that are looked at together.
BUCKET = 4
# Bits of a left and a right token in the keys of the table of merges.
TOKEN_BITS = 20
_TOKEN_MASK = (1 << TOKEN_BITS) - 1
# Columns of the trie.
PARENT, BASE, TOKEN = range(3)
NONE = 0xFFFFFFFF


def _compile(*signature: str, **options: str) -> Callable:
    """Decorator: machine code that runs without the GIL, kept on disk where a folder is writable.

    The signature makes numba compile when this file is imported, so never during a call.
    """

    def decorate(function: Callable) -> Callable:
        try:
            return numba.njit(*signature, cache=True, nogil=True, **options)(function)
        except RuntimeError:  # numba found no folder that it may write to
            return numba.njit(*signature, nogil=True, **options)(function)

    return decorate


@_compile("boolean(float64[::1], float64, int64, int64, int64, int64[::1])")
def fill_codes(spectrum, scale, min_token, low, high, codes):
    """Scales, rounds half to even and shifts; returns whether all is within low..high.

    Args:
        spectrum: float64 (n,).
        scale: Coefficients per unit.
        min_token: What is taken from each coefficient.
        low: Least coefficient.
        high: Greatest coefficient.
        codes: int64 (n,), is overwritten; of no use if the result is False.
    """
    good = True
    for index in range(len(spectrum)):
        value = np.rint(spectrum[index] * scale)
        inside = (value >= low) & (value <= high)  # False for NaN
        good &= inside
        codes[index] = np.int64(value if inside else 0.0) - min_token
    return good


@_compile(inline="always")
def _bucket(key, factor, merges):
    """Where the merge of a pair stands, if there is one."""
    return np.uint32((key * factor >> 32) & (len(merges) - 1))


@_compile(inline="always")
def _merge_of(left, right, factor, merges):
    """The token that two make, or 0; without branches: no processor could foresee them."""
    key = np.int64(left) << TOKEN_BITS | np.int64(right)
    bucket = _bucket(key, factor, merges)
    token = np.int64(0)
    for index in range(BUCKET):
        entry = merges[bucket, np.uint32(index)]
        token |= (entry & _TOKEN_MASK) * np.int64(entry >> TOKEN_BITS == key)
    return np.uint32(token)


@_compile("boolean(uint32[:, ::1], int64, int64, int64[:, ::1])")
def fill_merges(halves, bases, factor, merges):
    """Makes the hash table of merges; returns whether they fit.

    Args:
        halves: uint32 (V, 2), the two tokens that each token is made of.
        bases: Number of symbols, at least 1; their halves are not looked at.
        factor: An odd number that spreads the keys.
        merges: int64 (a power of two, BUCKET), all 0; is overwritten.
    """
    for token in range(bases, len(halves)):
        key = np.int64(halves[token, 0]) << TOKEN_BITS | np.int64(halves[token, 1])
        bucket = _bucket(key, factor, merges)
        index = 0
        while index < BUCKET and merges[bucket, index] != 0:
            index += 1
        if index == BUCKET:
            return False
        merges[bucket, index] = key << TOKEN_BITS | token
    return True


@_compile("boolean(uint32, uint32, uint32, uint32[:, ::1], int64, int64, int64[:, ::1])")
def _border(left, right, before, halves, bases, factor, merges):
    """Whether BPE leaves the border between two tokens alone, in merges before one.

    Goes back through the merges, the last first, that made what stands at both sides of the
    border. Of equal ones the left happens first.
    """
    limit = np.int64(before)
    while True:
        made = _merge_of(left, right, factor, merges)
        if made != 0 and made < limit:
            return False
        if left >= bases and left > right:
            limit = np.int64(left)
            left = halves[left, 1]
        elif right >= bases:
            limit = np.int64(right) + 1
            right = halves[right, 0]
        else:
            return True


@_compile("void(uint32[:, ::1], int64, int64, int64[:, ::1], boolean[::1])")
def fill_own(halves, bases, factor, merges, own):
    """Finds the tokens that BPE makes of their own text.

    Args:
        halves: uint32 (V, 2), the two tokens that each token is made of.
        bases: Number of symbols.
        factor: As in `fill_merges`.
        merges: Hash table as `fill_merges` makes it.
        own: bool (V,), all True; is overwritten.
    """
    for token in range(bases, len(halves)):
        left, right = halves[token, 0], halves[token, 1]
        own[token] = own[left] and own[right]
        own[token] &= _border(left, right, np.uint32(token), halves, bases, factor, merges)


@_compile("void(uint32[:, ::1], int64, int64, int64[:, ::1], uint32[:, ::1])")
def fill_pairs(halves, bases, factor, merges, pairs):
    """Finds which token may follow which.

    Args:
        halves: uint32 (V, 2), the two tokens that each token is made of.
        bases: Number of symbols.
        factor: As in `fill_merges`.
        merges: Hash table as `fill_merges` makes it.
        pairs: uint32 (V + 1, at least V / 32), all 0; bit `right` of row `left` is set where it
            may; in row V, for the begin of a text, all are.
    """
    total = len(halves)
    for left in range(total + 1):
        for right in range(total):
            may = left == total or _border(
                np.uint32(left), np.uint32(right), np.uint32(NONE), halves, bases, factor, merges
            )
            pairs[left, right >> 5] |= np.uint32(may) << np.uint32(right & 31)


@_compile(
    "void(int64[:, ::1], uint32[:, ::1], int64[::1], uint32[:, ::1], uint32[::1], uint32[::1],"
    " uint32[:, ::1], uint32[:, ::1], int64, int64, int64[:, ::1], int64[::1], int64[::1])"
)
def encode_rows(
    codes, spelling, powers, trie, shorter, sizes, pairs, halves, bases, factor, merges,
    tokens, counts,
):  # fmt: skip
    """Writes the tokens of every row one after the other.

    Indices are unsigned because numba then leaves out the handling of negative ones.

    Args:
        codes: int64 (N, L), each a row of `spelling`.
        spelling: uint32 (C, 4): number of symbols of a code, 0 where the row must not be encoded
            here, and the symbols.
        powers: int64 (P,): a code, or -1; then the tokens for 1, 2, 4, ... of it in a row, which
            the first merges make before any other looks at them. They count as symbols.
        trie: uint32 (S, 4), the tokens that BPE makes of their own text, by symbols, as a double
            array; row 0 is the root, and the child of a row for a symbol is row BASE + symbol,
            if its PARENT says so. TOKEN is NONE where the symbols up to there are no token.
        shorter: uint32 (V,), the longest token that a token begins with, or NONE.
        sizes: uint32 (V,), symbols of each token.
        pairs: As `fill_pairs` makes it, or (0, 0): then it is found out each time.
        halves: uint32 (V, 2), the two tokens that each token is made of.
        bases: Number of symbols; the `halves` of these are not looked at.
        factor: As in `fill_merges`.
        merges: int64, hash table as `fill_merges` makes it.
        tokens: int64, room for every symbol; is overwritten.
        counts: int64 (N,), is overwritten: tokens of each row, -1 for a row that is not encoded.
    """
    room = codes.shape[1] * 3 + 1
    symbol = np.empty(room, dtype=np.uint32)
    given_up = np.zeros(room, dtype=np.int64)  # number of the row, from 1, in which it was
    nothing, start = np.uint32(len(halves)), np.uint32(trie[0, BASE])
    five, low, one = np.uint32(5), np.uint32(31), np.uint32(1)
    listed = len(pairs) > 0
    largest = len(powers) - 2
    begin = 0
    for row in range(len(codes)):
        end, column = 0, 0
        while column < codes.shape[1]:
            code = codes[row, column]
            column += 1
            if code == powers[0]:
                length = 1
                while column < codes.shape[1] and codes[row, column] == code:
                    length += 1
                    column += 1
                for _ in range(length >> largest):
                    symbol[end] = powers[largest + 1]
                    end += 1
                for power in range(largest - 1, -1, -1):
                    symbol[end] = powers[power + 1]
                    end += length >> power & 1
                continue
            index = np.uint32(code)
            symbols = spelling[index, 0]
            if symbols == 0:
                end = 0
                break
            symbol[end] = spelling[index, 1]
            if symbols > 1:
                symbol[end + 1] = spelling[index, 2]
                symbol[end + 2] = spelling[index, 3]
            end += np.int64(symbols)
        if end == 0:
            counts[row] = -1
            continue
        symbol[end] = bases  # no row of the trie has a child for it
        place, count, last = np.uint32(0), begin, nothing
        token, fresh = np.uint32(NONE), True
        while place != end:
            if fresh:
                at, node = place, np.uint32(start + symbol[place])
                token = np.uint32(trie[node, TOKEN])
                while True:
                    at = np.uint32(at + one)
                    child = np.uint32(trie[node, BASE] + symbol[at])
                    if trie[child, PARENT] != node:
                        break
                    node = child
                    found = trie[node, TOKEN]
                    token = np.uint32(token if found == NONE else found)
            after = np.uint32(place + sizes[token])
            fresh = given_up[after] != row + 1
            if fresh:
                if listed:
                    fresh = pairs[last, token >> five] >> (token & low) & one != 0
                elif last != nothing:
                    fresh = _border(last, token, np.uint32(NONE), halves, bases, factor, merges)
            if fresh:
                tokens[count] = token
                count += 1
                place, last = after, token
                continue
            token = np.uint32(shorter[token])
            if token == NONE:
                if count == begin:  # never, of a vocabulary that was proved
                    break
                given_up[place] = row + 1
                count -= 1
                token = np.uint32(tokens[count])
                place = np.uint32(place - sizes[token])
                last = np.uint32(tokens[count - 1]) if count > begin else nothing
        counts[row] = count - begin if place == end else -1
        begin = count

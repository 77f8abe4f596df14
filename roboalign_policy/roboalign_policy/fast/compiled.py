"""The compiled loop of the FAST encoder: rows of codes to BPE tokens.

Import this file only where something is encoded: it loads numba, and the very first time on a
machine the compiler takes some seconds (its result is kept on disk).

Tokens are numbered by rank: base symbols first, then merged tokens in the order of their merges,
so a merge and the token it makes have one number. A token that is made can only take part in later
merges than its own (`Ranks.prove` sees to that). The merges of a text hence happen in ascending
order, and the priority queue that BPE needs is one list of places for each merge and a set of bits
that says which lists hold something; nothing is ever sorted by a heap.
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
# The place of the only set bit of a 64-bit number, by the top six bits of its product with a
# De Bruijn sequence.
_SEQUENCE = 0x03F79D71B4CB0A89
_PLACES = np.zeros(64, dtype=np.int64)
for _bit in range(64):
    _PLACES[(_SEQUENCE << _bit) % (1 << 64) >> 58] = _bit


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
        bases: Number of base symbols, at least 1; their halves are not looked at.
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


@_compile(
    "void(int64[:, ::1], uint32[:, ::1], int64[::1], uint32[:, ::1], uint32[:, ::1], int64,"
    " int64[:, ::1], int64[::1], int64[::1])"
)
def encode_rows(codes, spelling, powers, first, halves, factor, merges, tokens, counts):
    """Writes the tokens of every row one after the other.

    Indices are unsigned because numba then leaves out the handling of negative ones. 0 is the end
    of a list and "no token" in the tables of merges: token 0 is a base symbol, which none makes.

    Args:
        codes: int64 (N, L), each a row of `spelling`.
        spelling: uint32 (C, 4): number of base symbols of a code, 0 where the row must not be
            encoded here, and the symbols.
        powers: int64 (P,): a code, or -1; then the tokens for 1, 2, 4, ... of it in a row, which
            the first merges make before any other looks at them.
        first: uint32 (F + 1, F + 2), in [i + 1, j + 1] the token that O + i and O + j make, or 0,
            and in [0, F + 1] O. Row and column 0 are for tokens below O, which make none. From
            O + F on are tokens that no text has before the first merge.
        halves: uint32 (V, 2), the two tokens that each token is made of.
        factor: As in `fill_merges`.
        merges: int64, hash table as `fill_merges` makes it.
        tokens: int64, room for every symbol; is overwritten.
        counts: int64 (N,), is overwritten: tokens of each row, -1 for a row that is not encoded.
    """
    room = codes.shape[1] * 3 + 2
    total = len(halves)
    # The text begins at place 1; `nothing` stands before it, after it, and within tokens.
    nothing = np.uint32(total)
    symbol = np.full(room, nothing, dtype=np.uint32)
    before = np.empty(room, dtype=np.uint32)
    after = np.empty(room, dtype=np.uint32)
    # Entry t is the head of the list of token t, and the entries from V on have places.
    places = np.empty(total + 3 * room, dtype=np.uint32)
    links = np.zeros(total + 3 * room, dtype=np.uint32)
    tails = np.arange(total).astype(np.uint32)
    waiting = np.zeros((total >> 6) + 1, dtype=np.uint64)
    one, six, low = np.uint64(1), np.uint32(6), np.uint32(63)
    origin = np.int64(first[0, len(first)]) - 1
    largest = len(powers) - 2
    begin = 0
    for row in range(len(codes)):
        end, column = 1, 0
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
        symbol[end] = nothing
        entries, tails[0] = np.uint32(total), 0
        left = np.uint32(0)
        for index in range(1, end):
            place = np.uint32(index)
            right = np.uint32(max(np.int64(symbol[place]) - origin, 0))
            before[place], after[place] = index - 1, index + 1
            token = first[left, right]
            places[entries], links[entries] = index - 1, 0
            links[tails[token]] = entries
            tails[token] = entries
            waiting[token >> six] |= one << np.uint64(token & low)
            entries = np.uint32(entries + 1)
            left = right
        before[np.uint32(end)] = end - 1
        for word in range(len(waiting)):
            while waiting[word] != 0:
                bits = waiting[word]
                waiting[word] = bits & (bits - one)
                bit = (bits ^ waiting[word]) * np.uint64(_SEQUENCE) >> np.uint64(58)
                made = np.uint32((word << 6) + _PLACES[bit])
                if made == 0:
                    continue  # the list of the pairs that make nothing
                entry = links[made]
                tails[made], links[made] = made, 0
                left_half, right_half = halves[made, 0], halves[made, 1]
                # The places ascend, as BPE wants it: all of a list come from the text or from one
                # earlier list, that of the later made half.
                while entry != 0:
                    place = places[entry]
                    entry = links[entry]
                    gone = after[place]
                    if symbol[place] != left_half or symbol[gone] != right_half:
                        continue
                    following = after[gone]
                    symbol[place], symbol[gone] = made, nothing
                    after[place] = following
                    before[following] = place
                    for side in range(2):
                        if side == 0:
                            at = before[place]
                            token = _merge_of(symbol[at], made, factor, merges)
                        else:
                            at = place
                            token = _merge_of(made, symbol[following], factor, merges)
                        places[entries], links[entries] = at, 0
                        links[tails[token]] = entries
                        tails[token] = entries
                        waiting[token >> six] |= one << np.uint64(token & low)
                        entries = np.uint32(entries + 1)
        place, count = np.uint32(1), begin
        while place < end:
            tokens[count] = symbol[place]
            count += 1
            place = after[place]
        counts[row] = count - begin
        begin = count

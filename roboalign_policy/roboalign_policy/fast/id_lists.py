"""Lists of ids as users pass them to one flat array, or a typed error that says what is wrong."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from itertools import chain

import numpy as np

from roboalign_policy.fast.errors import EmptyInputError, TokenLayoutError, UnknownTokenError


def flatten(tokens: object) -> tuple[np.ndarray, np.ndarray]:
    """All ids in one int64 array, and the number of ids of each chunk.

    Args:
        tokens: N sequences of ids, or an integer array (N, L).

    Returns:
        int64 (ids,) and int64 (N,).

    Raises:
        TokenLayoutError: Not a list of lists of integers.
        EmptyInputError: No sequence, or a sequence without tokens.
        UnknownTokenError: An id that does not fit 64 bits.
    """
    if isinstance(tokens, np.ndarray):
        if tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise TokenLayoutError(
                f"tokens are a {tokens.dtype} array of shape {tokens.shape}, expected integers"
                " (N, L) or a list of lists of ids; one chunk is [tokens]"
            )
        tokens = list(tokens)
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Sequence):
        raise TokenLayoutError(f"tokens are a {type(tokens).__name__}, expected a list of lists")
    if not tokens:
        raise EmptyInputError("no token sequence to decode")
    if all(type(row) is list and row for row in tokens):
        flat = list(chain.from_iterable(tokens))
        if set(map(type, flat)) == {int} and -1 <= min(flat) and max(flat) < 1 << 31:
            return np.array(flat, dtype=np.int64), np.fromiter(map(len, tokens), np.int64)
    # Anything else is looked at row by row, so that a fault is named with its chunk.
    arrays = []
    for chunk, row in enumerate(tokens):
        if isinstance(row, (numbers.Integral, np.integer)):
            raise TokenLayoutError(
                "tokens are one flat list of ids, expected a list of lists; one chunk is [tokens]"
            )
        if isinstance(row, (str, bytes)) or not isinstance(row, (Sequence, np.ndarray)):
            raise TokenLayoutError(
                f"a {type(row).__name__}, expected a sequence of integer ids", chunk=chunk
            )
        if len(row) == 0:
            raise EmptyInputError("no tokens: nothing was generated", chunk=chunk)
        arrays.append(_integers(row, chunk))
    sizes = np.array([len(array) for array in arrays])
    return np.concatenate(arrays), sizes


def _integers(row: Sequence[int] | np.ndarray, chunk: int) -> np.ndarray:
    try:
        array = np.asarray(row)
    except (ValueError, TypeError) as exc:
        raise TokenLayoutError(f"token ids do not form one list: {exc}", chunk=chunk) from exc
    if array.ndim != 1 or array.dtype.kind not in "iu":
        if array.dtype == object and all(type(i) is int for i in row):
            raise UnknownTokenError("a token id does not fit 64 bits", chunk=chunk)
        raise TokenLayoutError(
            f"token ids of dtype {array.dtype} and shape {array.shape}, expected a flat"
            " sequence of integers",
            chunk=chunk,
        )
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise UnknownTokenError(f"token {array.max()} is unknown", chunk=chunk)
    return array.astype(np.int64)

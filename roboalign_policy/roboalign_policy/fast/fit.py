"""Training a FAST tokenizer whose every coefficient is a token of its own, seen or not.

The reference trains a ByteLevel BPE: a coefficient above character 127 is two bytes, so tokens
that are half a coefficient exist, 128 or more entries of a small vocabulary go to lone bytes, and
coefficients whose bytes were never seen are dropped. Here the BPE works on the characters
themselves. Each coefficient of a range fixed beforehand is one token, merges are learned on top,
and every token is a whole number of coefficients.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from roboalign_policy.fast import dct
from roboalign_policy.fast.errors import EmptyInputError, FitError
from roboalign_policy.fast.vocabulary import MAX_CODE

MARGIN = 1.5
"""See `fit_parts`."""


def fit_parts(
    chunks: np.ndarray | Sequence[np.ndarray],
    *,
    vocab_size: int = 1024,
    scale: float = 10.0,
    margin: float = MARGIN,
    coefficient_limit: int | None = None,
    min_frequency: int = 2,
    progress: bool = False,
) -> tuple[dict, float, int]:
    """Trains the parts of a `FastTokenizer`; the same chunks and options give the same ones.

    The guaranteed range of coefficients is -B..B. An orthonormal DCT of T values within [-1, 1]
    stays within sqrt(T), so B is `ceil(margin * scale * sqrt(T))` with the longest T, or the
    largest coefficient seen where that is greater. Everything inside encodes and decodes without
    loss after rounding; outside, `encode` raises or clips as told.

    Args:
        chunks: Normalised actions: an array (N, T, D), or a sequence of (T, D) arrays whose
            shapes may differ.
        vocab_size: Most tokens to learn; fewer when no pair is seen `min_frequency` times.
        scale: Coefficients per unit of action: the rounding error of a coefficient is 0.5 / scale.
        margin: How far past [-1, 1] chunks may reach and still be guaranteed; quantile
            normalisation leaves 2 % of the values outside.
        coefficient_limit: Fixes B. Coefficients seen beyond it are clipped to it while training,
            and `encode` needs out_of_range="clip" for them.
        min_frequency: Least number of times a pair must be seen to be merged.
        progress: Shows a progress bar of the BPE training.

    Returns:
        The BPE model as the tokenizers library writes it, the scale, the least coefficient.

    Raises:
        ActionInputError, EmptyInputError, NonFiniteActionError: As `FastTokenizer.encode`.
        FitError: An option is out of its range, or the guaranteed range does not fit `vocab_size`.
    """
    _check_options(vocab_size, scale, margin, coefficient_limit, min_frequency)
    groups = _quantised(chunks, float(scale))
    seen = max(int(np.abs(group).max()) for group in groups)
    longest = max(group.shape[-2] for group in groups)
    bound = coefficient_limit
    if bound is None:
        bound = max(_bound(longest, scale, margin), seen)
    size = 2 * bound + 1
    if size > min(vocab_size, MAX_CODE + 1):
        raise FitError(
            f"the coefficients -{bound}..{bound} (largest seen {seen}, horizon {longest}) need"
            f" {size} tokens, more than vocab_size {vocab_size}: clip the normalised actions, pass"
            " coefficient_limit, or choose a larger vocab_size or a smaller scale or margin"
        )
    tokenizer = Tokenizer(BPE())
    tokenizer.decoder = decoders.Fuse()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        show_progress=progress,
        special_tokens=[],
        initial_alphabet=[chr(code) for code in range(size)],
    )
    texts = (
        row.tobytes().decode("utf-32-le")
        for group in groups
        for row in (np.clip(group, -bound, bound) + bound).astype("<u4")
    )
    tokenizer.train_from_iterator(texts, trainer=trainer, length=sum(map(len, groups)))
    return json.loads(tokenizer.to_str()), scale, -bound


def least_vocabulary(horizon: int, scale: float) -> int:
    """Tokens that `fit_parts` needs at least, whatever the actions: one a coefficient."""
    return 2 * _bound(horizon, scale, MARGIN) + 1


def _bound(horizon: int, scale: float, margin: float) -> int:
    """Greatest coefficient that is guaranteed."""
    return math.ceil(margin * scale * math.sqrt(horizon))


def _check_options(
    vocab_size: object, scale: object, margin: object, limit: object, min_frequency: object
) -> None:
    for name, value in (("vocab_size", vocab_size), ("min_frequency", min_frequency)):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise FitError(f"{name} is {value!r}, expected an integer of at least 1")
    for name, value in (("scale", scale), ("margin", margin)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < 1e9:
            raise FitError(f"{name} is {value!r}, expected a positive number")
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, numbers.Integral) or limit < 1
    ):
        raise FitError(
            f"coefficient_limit is {limit!r}, expected None or an integer of at least 1"
        )


def _quantised(chunks: object, scale: float) -> list[np.ndarray]:
    """Coefficients in groups (N, T, D) of one shape, in the order in which shapes first come."""
    if isinstance(chunks, np.ndarray):
        return [dct.quantise(dct.check_actions(chunks), scale)]
    if isinstance(chunks, (str, bytes)) or not isinstance(chunks, Sequence):
        raise FitError(
            f"chunks are a {type(chunks).__name__}, expected an array (N, T, D) or a list of"
            " arrays (T, D)"
        )
    if not chunks:
        raise EmptyInputError("no chunks to fit a tokenizer on")
    groups: dict[tuple[int, ...], list[np.ndarray]] = {}
    for index, chunk in enumerate(chunks):
        array = dct.check_actions(chunk, ndim=2, chunk=index)
        groups.setdefault(array.shape, []).append(array)
    return [dct.quantise(np.stack(group), scale) for group in groups.values()]

"""FAST on the chunks of an episode: tokens, what decoding gives back, and how far off that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.fast import FastError, FastTokenizer
from roboalign_training.look.budget import Budget

MOST_FAULTS = 20


@dataclass(frozen=True)
class ChunkTokens:
    """The chunks of N frames, T steps of A dimensions, in the contract's units.

    Attributes:
        tokens: Of each chunk its ids, or None where it has none.
        faults: Frame -> why its chunk has no tokens.
        decoded: (N, T, A) float32, NaN where there are no tokens.
        rms: (N, A) float64, root of the mean squared error over the chunk's steps; NaN likewise.
        greatest: (N, A) float64, greatest absolute error.
    """

    tokens: list[list[int] | None]
    faults: dict[int, str]
    decoded: np.ndarray
    rms: np.ndarray
    greatest: np.ndarray


@dataclass(frozen=True)
class TokenFigures:
    """What is shown of the tokens of an episode with N chunks.

    Attributes:
        chunks: N.
        faults: (frame, reason) of chunks without tokens, the first `MOST_FAULTS`.
        fault_count: How many chunks have none.
        lengths: Tokens in a chunk -> chunks.
        ids: Token id -> how often it stands in the chunks.
        rms, greatest: (A,) float64, error over all steps of all chunks; NaN without one.
        greatest_frame: (A,) int, the frame whose chunk has the greatest error.
        step: Every so many-th chunk is shown with its tokens and reconstruction.
        tokens: Of those their ids, or None.
        decoded: (ceil(N / step), T, A) float32 of those.
    """

    chunks: int
    faults: list[tuple[int, str]]
    fault_count: int
    lengths: Counter[int]
    ids: Counter[int]
    rms: np.ndarray
    greatest: np.ndarray
    greatest_frame: np.ndarray
    step: int
    tokens: list[list[int] | None]
    decoded: np.ndarray


def chunk_tokens(
    tokenizer: FastTokenizer, stats: QuantileStats, chunks: np.ndarray, usable: np.ndarray
) -> ChunkTokens:
    """Encodes and decodes every chunk of an episode as training does.

    Args:
        tokenizer: Of the data set.
        stats: Likewise.
        chunks: (N, T, A) float32, in the contract's units.
        usable: (N,) bool; chunks with a missing frame inside are not encoded.
    """
    count, horizon, dims = chunks.shape
    tokens: list[list[int] | None] = [None] * count
    faults = {int(i): "a frame is missing inside the chunk" for i in np.flatnonzero(~usable)}
    normalised = stats.normalise(chunks).astype(np.float64)
    good = np.flatnonzero(usable).tolist()
    try:
        for i, ids in zip(good, tokenizer.encode(normalised[good]) if good else [], strict=True):
            tokens[i] = ids
    except FastError:  # one chunk without tokens fails all of them: find out which
        for i in good:
            try:
                (tokens[i],) = tokenizer.encode(normalised[i : i + 1])
            except FastError as error:
                faults[i] = str(error)
    decoded = np.full(chunks.shape, np.nan)
    have = [i for i in range(count) if tokens[i] is not None]
    if have:
        values = tokenizer.decode([tokens[i] for i in have], horizon=horizon, dims=dims)
        decoded[have] = stats.denormalise(values)
    error = np.abs(decoded - chunks)
    return ChunkTokens(
        tokens,
        dict(sorted(faults.items())),
        decoded.astype(np.float32),
        np.sqrt((error**2).mean(axis=1)),
        error.max(axis=1),
    )


def token_figures(found: ChunkTokens, budget: Budget) -> TokenFigures:
    """Reduces the chunks of an episode to what is shown of them."""
    count, horizon, dims = found.decoded.shape
    lengths = Counter(len(ids) for ids in found.tokens if ids is not None)
    total = sum(length * number for length, number in lengths.items())
    step = max(
        1,
        -(-count * horizon * dims // max(budget.chunk_values, 1)),
        -(-total // max(budget.token_ids, 1)),
    )
    known = np.flatnonzero(~np.isnan(found.greatest).any(axis=1))
    nothing = np.full(dims, np.nan)
    return TokenFigures(
        chunks=count,
        faults=list(found.faults.items())[:MOST_FAULTS],
        fault_count=len(found.faults),
        lengths=lengths,
        ids=Counter(i for ids in found.tokens if ids is not None for i in ids),
        rms=np.sqrt((found.rms[known] ** 2).mean(axis=0)) if len(known) else nothing,
        greatest=found.greatest[known].max(axis=0) if len(known) else nothing,
        greatest_frame=known[found.greatest[known].argmax(axis=0)]
        if len(known)
        else np.zeros(dims, int),
        step=step,
        tokens=found.tokens[::step],
        decoded=found.decoded[::step],
    )


def overall(figures: Iterable[TokenFigures]) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Chunks with tokens of several episodes, their error (A,): RMS, greatest. None without."""
    parts = [(f.lengths.total(), f.rms, f.greatest) for f in figures if f.lengths]
    if not parts:
        return None
    counts = np.array([n for n, _, _ in parts], np.float64)
    squares = np.stack([rms**2 for _, rms, _ in parts])
    rms = np.sqrt((squares * counts[:, None]).sum(axis=0) / counts.sum())
    return int(counts.sum()), rms, np.stack([greatest for _, _, greatest in parts]).max(axis=0)

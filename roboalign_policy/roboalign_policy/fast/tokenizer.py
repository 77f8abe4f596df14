"""The FAST tokenizer: batches of action chunks to BPE ids and back, exact or with a typed error.

Same algorithm, folder format, tokens and values as the reference implementation (Hugging Face
`physical-intelligence/fast`), without its faults: shapes are arguments and never remembered, and
whatever cannot be encoded or decoded raises a `FastError` instead of giving zeros.
"""

from __future__ import annotations

import hashlib
import json
import numbers
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from roboalign_policy.fast import dct, folder
from roboalign_policy.fast.bpe import BatchBpe
from roboalign_policy.fast.errors import (
    CoefficientCountError,
    CoefficientRangeError,
    FastFormatError,
    UndecodableTokensError,
    UnknownTokenError,
)
from roboalign_policy.fast.fit import fit_parts
from roboalign_policy.fast.id_lists import flatten
from roboalign_policy.fast.threads import cores, spread
from roboalign_policy.fast.vocabulary import MAX_CODE, Vocabulary, whole_codes

# Coefficients worked on at a time, few enough for the caches, and the least that threads share.
_BLOCK = 1 << 16
_WORTH_SHARING = 1 << 17


class FastTokenizer:
    """A FAST vocabulary with its scale and smallest coefficient; immutable.

    Make one with `load` or `fit`. All methods may be called from several threads.

    Attributes:
        scale: DCT coefficients per unit of normalised action.
        min_token: Coefficient of character 0.
        token_lengths: int64 (V,), coefficients each token stands for; 0 for a token that is only a
            part of one (it decodes beside the right neighbours, never alone).
    """

    def __init__(
        self, model: dict, scale: float, min_token: int, source: str = "tokenizer.json"
    ) -> None:
        if isinstance(scale, bool) or not isinstance(scale, numbers.Real) or not 0 < scale < 1e9:
            raise FastFormatError(f"{source}: scale: found {scale!r}, expected a positive number")
        if isinstance(min_token, bool) or not isinstance(min_token, numbers.Integral):
            raise FastFormatError(f"{source}: min_token: found {min_token!r}, expected an integer")
        self.scale = float(scale)
        self.min_token = int(min_token)
        self._model = model
        self._vocabulary = Vocabulary.from_model(model, source)
        self._bpe = BatchBpe(model, self._vocabulary.layout, source)
        self.token_lengths = self._vocabulary.lengths

    @classmethod
    def load(cls, path: str | Path) -> FastTokenizer:
        """Reads a folder in the Hugging Face layout (tokenizer.json, processor_config.json).

        Raises:
            FastFormatError: A file is missing, malformed, or not of a FAST tokenizer.
        """
        model, config = folder.read(Path(path))
        return cls(model, config["scale"], config["min_token"], source=str(path))

    @classmethod
    def fit(cls, chunks: np.ndarray | Sequence[np.ndarray], **options: object) -> FastTokenizer:
        """Trains a tokenizer on normalised chunks; arguments as `fast.fit.fit_parts`."""
        model, scale, min_token = fit_parts(chunks, **options)
        return cls(model, scale, min_token, source="fit")

    def save(self, path: str | Path) -> None:
        """Writes the folder that `load` and the reference implementation read."""
        folder.write(Path(path), self._model, self.scale, self.min_token, self.vocab_size)

    @property
    def vocab_size(self) -> int:
        """Number of tokens; ids are 0..vocab_size-1."""
        return len(self.token_lengths)

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) of everything that decides tokens and values."""
        document = {"model": self._model, "scale": self.scale, "min_token": self.min_token}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def coefficient_range(self) -> tuple[int, int]:
        """The widest range of coefficients around 0, ends included, that encodes without loss."""
        encodable = self._vocabulary.encodable
        zero = min(max(-self.min_token, 0), MAX_CODE)
        if not encodable[zero]:
            raise FastFormatError(f"the vocabulary cannot spell character {zero}")
        gaps = np.flatnonzero(~encodable)
        low = gaps[gaps < zero].max(initial=-1) + 1
        high = gaps[gaps > zero].min(initial=MAX_CODE + 1) - 1
        return int(low) + self.min_token, int(high) + self.min_token

    def quantise(self, actions: object) -> np.ndarray:
        """Rounded DCT coefficients, int64 (N, T, D), of actions (N, T, D); errors as `encode`."""
        return dct.quantise(dct.check_actions(actions), self.scale)

    def encode(self, actions: object, *, out_of_range: str = "raise") -> list[list[int]]:
        """Tokens of a batch of chunks of one shape.

        Args:
            actions: Float or integer array (N, T, D), normalised to about [-1, 1].
            out_of_range: What to do with a coefficient outside `coefficient_range`: "raise", or
                "clip" to hold it at the end of the range (as the reference does at its lower end).

        Returns:
            N lists of ids, the same whatever else is in the batch.

        Raises:
            ActionInputError: Wrong type, dtype or number of axes.
            EmptyInputError: N, T or D is 0.
            NonFiniteActionError: NaN or infinity.
            CoefficientRangeError: With "raise", a coefficient the tokenizer cannot represent.
        """
        if out_of_range not in ("raise", "clip"):
            raise ValueError(f"out_of_range is {out_of_range!r}, expected 'raise' or 'clip'")
        actions = dct.check_actions(actions)
        limits = self.coefficient_range

        def encode_from(start: int) -> list[list[int]]:
            part = actions[start : start + step]
            codes = self._bpe.codes(part, self.scale, self.min_token, limits)
            if codes is None:
                codes = dct.quantise(part, self.scale)
                if out_of_range == "clip":
                    np.clip(codes, *limits, out=codes)
                codes -= self.min_token
                self._check_codes(codes, start)
            return self._bpe.encode(codes.reshape(len(codes), -1))

        few = cores() if actions.size >= _WORTH_SHARING else 1
        step = -(-len(actions) // max(few, -(-actions.size // _BLOCK)))
        return list(chain(*spread(encode_from, range(0, len(actions), step))))

    def decode(
        self, tokens: Sequence[Sequence[int]] | np.ndarray, *, horizon: int, dims: int
    ) -> np.ndarray:
        """Actions of a batch of token sequences.

        Args:
            tokens: N sequences of ids (a list of lists, or an integer array (N, L)).
            horizon: Steps T of each chunk.
            dims: Dimensions D of each step.

        Returns:
            float64 (N, T, D), normalised actions.

        Raises:
            TokenLayoutError: Not a list of lists of integers.
            EmptyInputError: No sequence, or a sequence without tokens.
            UnknownTokenError: An id outside 0..vocab_size-1.
            UndecodableTokensError: Parts of characters that do not make whole ones.
            CoefficientCountError: Not exactly horizon x dims coefficients.
        """
        horizon, dims = dct.check_size(horizon, "horizon"), dct.check_size(dims, "dims")
        ids, sizes = flatten(tokens)
        self._check_ids(ids, sizes)
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        actions = np.empty((len(sizes), horizon, dims))
        step = max(1, _BLOCK // (horizon * dims))
        for first in range(0, len(sizes), step):
            last = min(first + step, len(sizes))
            part = ids[bounds[first] : bounds[last]]
            codes = self._codes(part, sizes[first:last], horizon * dims, first)
            coefficients = (codes + self.min_token).reshape(-1, horizon, dims)
            actions[first:last] = dct.dequantise(coefficients, self.scale)
        return actions

    def _check_codes(self, codes: np.ndarray, start: int) -> None:
        low, high = self.coefficient_range
        if low <= codes.min() + self.min_token and codes.max() + self.min_token <= high:
            return
        legal = (codes >= 0) & (codes <= MAX_CODE)
        legal &= self._vocabulary.encodable[np.where(legal, codes, 0)]
        if legal.all():
            return
        chunk, frequency, dim = (int(i) for i in np.argwhere(~legal)[0])
        value = int(codes[chunk, frequency, dim]) + self.min_token
        raise CoefficientRangeError(
            f"DCT coefficient {value} (frequency {frequency}, dimension {dim}) is outside"
            f" {low}..{high}, what this tokenizer represents; normalise or clip the actions, fit"
            " with a wider range, or pass out_of_range='clip'",
            chunk=start + chunk,
        )

    def _check_ids(self, ids: np.ndarray, sizes: np.ndarray) -> None:
        unknown = (ids < 0) | (ids >= self.vocab_size)
        if unknown.any():
            first = int(np.argmax(unknown))
            raise UnknownTokenError(
                f"token {ids[first]} is unknown, expected 0..{self.vocab_size - 1}",
                chunk=int(np.searchsorted(np.cumsum(sizes), first, side="right")),
            )

    def _codes(self, ids: np.ndarray, sizes: np.ndarray, expected: int, first: int) -> np.ndarray:
        """Characters (N, expected), int64, of checked ids; `first` is the index of chunk 0."""
        vocabulary = self._vocabulary
        lengths = vocabulary.lengths[ids]
        ends = np.cumsum(sizes)
        if (lengths == 0).any():
            rows = [
                self._codes_of_bytes(ids[end - size : end], chunk)
                for chunk, (end, size) in enumerate(zip(ends, sizes, strict=True), first)
            ]
            found = np.array([len(row) for row in rows])
            codes = np.concatenate(rows)
        else:
            found = np.add.reduceat(lengths, ends - sizes)
            # Positions in `vocabulary.codes`: each token's start, counted up over its length.
            shift = np.cumsum(lengths) - lengths
            offset = np.repeat(vocabulary.starts[ids] - shift, lengths)
            codes = vocabulary.codes[offset + np.arange(len(offset))]
        if (found != expected).any():
            chunk = int(np.argmax(found != expected))
            amount = int(found[chunk])
            raise CoefficientCountError(
                f"{amount} coefficients, expected horizon x dims = {expected}:"
                f" {abs(amount - expected)} too {'many' if amount > expected else 'few'}",
                chunk=first + chunk,
                expected=expected,
                found=amount,
            )
        return codes.reshape(-1, expected)

    def _codes_of_bytes(self, ids: np.ndarray, chunk: int) -> np.ndarray:
        codes = whole_codes(b"".join(map(self._vocabulary.spellings.__getitem__, ids.tolist())))
        if codes is None:
            parts = [int(i) for i in ids if self.token_lengths[i] == 0]
            raise UndecodableTokensError(
                f"tokens {parts} are parts of characters and do not join to whole coefficients",
                chunk=chunk,
            )
        return codes

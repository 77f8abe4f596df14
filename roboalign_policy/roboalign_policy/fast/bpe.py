"""Characters to BPE ids for a batch in one call, without what FAST never needs of the pipeline.

The published pipeline hands every chunk to a ByteLevel tokenizer that aligns each byte with the
text, splits by a regular expression, runs a general BPE and keeps offsets. FAST wants only the
ids: a compiled loop makes them for the whole batch where `Ranks.prove` has shown that they are the
same. A chunk that the regular expression could split (characters that are not letters) goes
through the full pipeline, so the ids are the published ones in every case.
"""

from __future__ import annotations

import json
import unicodedata
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import dct
from tokenizers import Tokenizer

from roboalign_policy.fast.errors import FastFormatError
from roboalign_policy.fast.vocabulary import MAX_CODE

if TYPE_CHECKING:
    from roboalign_policy.fast.ranks import Ranks

# A batch of fewer characters does not load the compiled loop; later ones of any size use it.
_WORTH_LOADING = 1500


class BatchBpe:
    """The BPE of one tokenizer.json, batched.

    Args:
        model: The parsed tokenizer.json.
        layout: "bytes" or "characters" (see `Vocabulary`).
        source: File name for messages.

    Raises:
        FastFormatError: The BPE library refuses the file.
    """

    def __init__(self, model: dict, layout: str, source: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(model))
        except Exception as exc:  # the library raises nothing more specific
            raise FastFormatError(f"{source}: not a usable tokenizer.json: {exc}") from exc
        self._model, self._layout = model["model"], layout
        self._plain = np.ones(MAX_CODE + 1, dtype=bool)
        if layout == "bytes" and model["pre_tokenizer"].get("use_regex", True):
            # Of the two-byte characters, letters whose class is the same in every Unicode version.
            letters = [unicodedata.category(chr(code))[0] == "L" for code in range(0x80, 0x250)]
            self._plain[:] = False
            self._plain[0x80:0x250] = letters

    def codes(
        self, actions: np.ndarray, scale: float, min_token: int, limits: tuple[int, int]
    ) -> np.ndarray | None:
        """What `quantise` gives, less `min_token`, in one pass.

        Args:
            actions: float64 (N, T, D), finite.
            scale: Coefficients per unit of action.
            min_token: Coefficient of character 0.
            limits: Least and greatest coefficient.

        Returns:
            int64 (N, T, D); None if a coefficient is outside, or before the compiled loop is
            loaded.
        """
        if self.__dict__.get("_ranks") is None:
            return None
        from roboalign_policy.fast.compiled import fill_codes

        spectrum = np.ascontiguousarray(dct(actions, axis=-2, norm="ortho"))
        codes = np.empty(spectrum.shape, np.int64)
        good = fill_codes(spectrum.reshape(-1), scale, min_token, *limits, codes.reshape(-1))
        return codes if good else None

    def encode(self, codes: np.ndarray) -> list[list[int]]:
        """Ids of every row.

        Args:
            codes: int64 (N, L) code points that the vocabulary spells.

        Returns:
            N lists of ids.
        """
        if "_ranks" not in self.__dict__ and codes.size < _WORTH_LOADING:
            return self._library(codes)
        if self._ranks is None:
            return self._library(codes)
        from roboalign_policy.fast.compiled import encode_rows

        symbols = codes.size * (1 if self._layout == "characters" else 3)
        tokens, counts = np.empty(symbols, np.int64), np.empty(len(codes), np.int64)
        encode_rows(np.ascontiguousarray(codes), *self._ranks.arrays, tokens, counts)
        left = np.flatnonzero(counts < 0)
        counts[left] = 0
        ends = counts.cumsum().tolist()
        # Every occurrence of an id is the same object: several times faster than new integers.
        flat = self._ranks.ids[tokens[: ends[-1]]].tolist()
        rows, begin = [], 0
        for end in ends:
            rows.append(flat[begin:end])
            begin = end
        if len(left):
            for row, ids in zip(left.tolist(), self._library(codes[left]), strict=True):
                rows[row] = ids
        return rows

    @cached_property
    def _ranks(self) -> Ranks | None:
        # Here, because it imports numba.
        from roboalign_policy.fast.ranks import Ranks

        return Ranks.prove(self._model, self._layout, self._plain)

    def _library(self, codes: np.ndarray) -> list[list[int]]:
        """The same ids from the BPE library."""
        text = codes.astype("<u4").tobytes().decode("utf-32-le")
        width = codes.shape[1]
        rows = [text[i : i + width] for i in range(0, len(text), width)]
        encodings = self._tokenizer.encode_batch_fast(rows, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

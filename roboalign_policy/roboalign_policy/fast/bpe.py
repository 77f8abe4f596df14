"""Characters to BPE ids for a batch in one call, without what FAST never needs of the pipeline.

The published pipeline hands every chunk to a ByteLevel tokenizer that aligns each byte with the
text, splits by a regular expression and keeps offsets. FAST wants only the ids, so the byte
mapping and the first merges are done by numpy on the whole batch and the bare BPE gets the rest.
Where the regular expression could split a chunk (characters that are not letters) the full
pipeline is used instead, so the ids are the published ones in every case.
"""

from __future__ import annotations

import json
import unicodedata

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import BPE

from roboalign_policy.fast.errors import FastFormatError
from roboalign_policy.fast.reduction import LEADS, TRAILS, Reduction

# Fewer characters than this are encoded faster without the reduction's forty numpy calls.
_WORTH_REDUCING = 1500
# The table of run lengths grows with the square of the chunk.
_LONGEST_CHUNK = 1 << 13


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
        bare = {**model, "pre_tokenizer": None, "post_processor": None, "decoder": None}
        try:
            self._full = Tokenizer.from_str(json.dumps(model))
            self._bare = Tokenizer.from_str(json.dumps(bare))
        except Exception as exc:  # the library raises nothing more specific
            raise FastFormatError(f"{source}: not a usable tokenizer.json: {exc}") from exc
        self._characters = layout == "characters"
        self._reduction = Reduction.prove(model["model"], layout)
        if self._reduction is not None:
            # A cache of whole words never hits: no two chunks are alike.
            self._reduced = Tokenizer(
                BPE(self._reduction.vocab, self._reduction.merges, cache_capacity=0)
            )
        splits = not self._characters and model["pre_tokenizer"].get("use_regex", True)
        # Two-byte characters; of those, letters whose class is the same in every Unicode version.
        codes = np.arange(0x80, 0x250 if splits else 0x800)
        self._plain = np.zeros(0x800, dtype=bool)
        self._plain[codes] = [not splits or unicodedata.category(chr(c))[0] == "L" for c in codes]
        self._pairs = np.stack([LEADS, TRAILS], axis=-1)

    def encode(self, codes: np.ndarray) -> list[list[int]]:
        """Ids of every row.

        Args:
            codes: int64 (N, L) code points that the vocabulary spells.

        Returns:
            N lists of ids.
        """
        if not self._characters and (codes.max() >= 0x800 or not self._plain[codes].all()):
            return _ids(self._full, _rows(codes))
        worth = codes.size >= _WORTH_REDUCING and codes.shape[1] <= _LONGEST_CHUNK
        if worth and self._reduction is not None:
            return _ids(self._reduced, self._reduction.rows(codes))
        if self._characters:
            return _ids(self._bare, _rows(codes))
        return _ids(self._bare, _rows(self._pairs[codes].reshape(len(codes), -1)))


def _rows(codes: np.ndarray) -> list[str]:
    """One string a row."""
    text = codes.astype("<u4").tobytes().decode("utf-32-le")
    width = codes.shape[1]
    return [text[i : i + width] for i in range(0, len(text), width)]


def _ids(tokenizer: Tokenizer, rows: list[str]) -> list[list[int]]:
    return [e.ids for e in tokenizer.encode_batch_fast(rows, add_special_tokens=False)]

"""Actions written as FAST tokens: the answer is generated as text, and decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from transformers import BatchFeature, LogitsProcessor

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.policy.accept import Bounds, ChunkError, accept
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.core.policy.prompt import parse_answer
from roboalign_policy.fast import FastError, FastTokenizer
from roboalign_policy.fast.dct import quantisation_bound
from roboalign_policy.models.answer import Answer
from roboalign_policy.models.generation import (
    FiniteLogits,
    GrammarLogitsProcessor,
    GrammarMasks,
    NonFiniteLogitsError,
    generate,
    longest_answer,
    make_answer_grammar,
)
from roboalign_policy.models.loading import MLLM, ModelError, count_fast_tokens, read_record

FOLDER, STATS = "fast", "stats.json"


class FastDecoder:
    """Reads a chunk of actions from the FAST tokens of an answer.

    Attributes:
        hashes: SHA-256 of what it was made of, by the names of `roboalign.json`.
    """

    def __init__(
        self, contract: Contract, fast: FastTokenizer, stats: QuantileStats, stats_hash: str = ""
    ) -> None:
        """Take the parts; see `read`.

        Args:
            contract: of the actions.
            fast: tokenizer of normalised chunks.
            stats: of the actions, (A,) each, in the contract's units.
            stats_hash: of the file that they stand in.
        """
        self.contract, self._fast, self._stats = contract, fast, stats
        self._horizon, self._dims = contract.action.horizon, len(contract.action.dims)
        self.hashes: Mapping[str, str] = {"tokenizer": fast.hash, "stats": stats_hash}
        rounding = quantisation_bound(self._horizon, fast.scale) * (stats.q99 - stats.q01) / 2
        self._bounds = Bounds.of(contract, rounding)
        self._masks: GrammarMasks | None = None

    @classmethod
    def read(cls, folder: Path, contract: Contract) -> FastDecoder:
        """Read what a checkpoint holds of it.

        Raises:
            ModelError: a file is missing, malformed, or does not fit the contract.
        """
        for name in (FOLDER, STATS):
            if not (folder / name).exists():
                raise ModelError(f"{folder}: found no {name}, expected it beside FAST actions")
        document = read_record(folder / STATS)
        try:
            stats = QuantileStats.from_dict(document["action"])
            fast = FastTokenizer.load(folder / FOLDER)
        except FastError as error:
            raise ModelError(str(error)) from error
        except KeyError as error:
            raise ModelError(f"{folder / STATS}: found no {error}, expected it") from error
        except ValueError as error:
            raise ModelError(f"{folder / STATS}: action: {error}") from error
        if stats.dims != len(contract.action.dims):
            raise ModelError(
                f"{folder / STATS}: action: found {stats.dims} dimensions, expected "
                f"{len(contract.action.dims)} as in the contract"
            )
        return cls(contract, fast, stats, sha256_json(document))

    def prepare(self, mllm: MLLM, options: PolicyOptions) -> None:
        """Get ready to answer with a model.

        Raises:
            ModelError: its vocabulary is not that of the tokenizer.
        """
        found = count_fast_tokens(mllm.tokenizer)
        if found != self._fast.vocab_size:
            found = f"found {found} FAST tokens in the vocabulary"
            raise ModelError(f"{mllm.name}: {found}, expected {self._fast.vocab_size}")
        self._grammar = make_answer_grammar(
            mllm.tokenizer,
            self._fast.token_lengths,
            self._horizon,
            self._dims,
            think=options.think,
            max_think_tokens=options.max_think_tokens,
        )
        self._masks = GrammarMasks(self._grammar) if options.grammar else None
        self._longest = longest_answer(self._grammar, mllm.tokenizer)

    def answer(self, mllm: MLLM, inputs: BatchFeature, attempt: int) -> Answer:
        """Generate an answer to a prompt and read it.

        Args:
            mllm: the model of `prepare`.
            inputs: of one prompt, from the processor, on the model's device.
            attempt: 0: greedy; above: sampled, with this number as seed.
        """
        rule = self._rule(inputs["input_ids"].shape[1])
        try:
            ids = generate(mllm, inputs, rule, self._longest, attempt)
        except NonFiniteLogitsError as error:
            return Answer(status=ChunkStatus.NON_FINITE, detail=str(error))
        parsed = parse_answer(mllm.tokenizer.decode(ids, skip_special_tokens=True))
        written = {"tokens": tuple(parsed.tokens), "reasoning": parsed.reasoning or ""}
        try:
            if not parsed.well_formed:
                raise ChunkError(ChunkStatus.UNDECODABLE, parsed.fault)
            return Answer(self.actions_of(parsed.tokens), **written)
        except ChunkError as error:
            return Answer(status=error.kind, detail=error.detail, **written)

    def actions_of(self, tokens: list[int]) -> np.ndarray:
        """Actions (T, A) float32, in the contract's units, of a sequence of FAST tokens.

        Raises:
            ChunkError: they do not decode, or leave the limits by more than their rounding and
                what the contract saturates.
        """
        try:
            chunk = self._fast.decode([tokens], horizon=self._horizon, dims=self._dims)[0]
        except FastError as error:
            raise ChunkError(ChunkStatus.UNDECODABLE, str(error)) from error
        return accept(self._stats.denormalise(chunk), self._bounds)

    def tokens_of(self, chunks: np.ndarray) -> list[list[int]]:
        """FAST tokens of chunks (N, T, A) in the contract's action units: a perfect answer's.

        Raises:
            FastError: a chunk cannot be written in the tokens of this decoder.
        """
        return self._fast.encode(self._stats.normalise(np.asarray(chunks, np.float64)))

    def _rule(self, prompt_length: int) -> LogitsProcessor:
        if self._masks is None:
            return FiniteLogits()
        return GrammarLogitsProcessor(self._grammar, prompt_length, self._masks)

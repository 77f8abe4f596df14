"""Actions written as FAST tokens: the answer is generated as text, and decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.hashing import sha256_json
from roboalign_policy.core.policy.accept import Bounds, ChunkError, accept
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.options import FRESH, PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.core.policy.prompt import build_prompt, parse_answer
from roboalign_policy.fast import FastError, FastTokenizer
from roboalign_policy.fast.dct import quantisation_bound
from roboalign_policy.fast.grammar import AnswerGrammar
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
from roboalign_policy.models.hidden_states import with_tokens
from roboalign_policy.models.loading import MLLM, ModelError, count_fast_tokens, read_record
from roboalign_policy.models.question import Question
from roboalign_policy.models.thought import generate_thoughts, thought_ids, thought_tokens

FOLDER, STATS = "fast", "stats.json"


class FastDecoder:
    """Reads a chunk of actions from the FAST tokens of an answer.

    Attributes:
        hashes: SHA-256 of what it was made of, by the names of `roboalign.json`.
    """

    weights: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    replan_after_steps = 0

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
            ModelError: its vocabulary is not that of the tokenizer, or a chunk is to continue
                another one.
        """
        if options.chunking != FRESH:
            raise ModelError(
                f"{mllm.name}: chunking: found {options.chunking}, expected fresh: tokens cannot "
                "continue half a chunk, an action head can (decoder flow)"
            )
        found = count_fast_tokens(mllm.tokenizer)
        if found != self._fast.vocab_size:
            found = f"found {found} FAST tokens in the vocabulary"
            raise ModelError(f"{mllm.name}: {found}, expected {self._fast.vocab_size}")
        self.thinks, self._most = options.think, options.max_think_tokens
        self._ids = thought_ids(mllm.tokenizer, tagged=True)
        grammar = self._grammar_of(mllm, options.think)
        self._longest = longest_answer(grammar, mllm.tokenizer)
        self._masks = self._masks_after_thought = None
        if options.grammar:
            self._masks = GrammarMasks(grammar)
            self._masks_after_thought = GrammarMasks(self._grammar_of(mllm, think=False))

    def _grammar_of(self, mllm: MLLM, think: bool) -> AnswerGrammar:
        return make_answer_grammar(
            mllm.tokenizer,
            self._fast.token_lengths,
            self._horizon,
            self._dims,
            think=think,
            max_think_tokens=self._most,
        )

    def answer(self, mllm: MLLM, question: Question, attempt: int) -> Answer:
        """Generate an answer and read it.

        Args:
            mllm: the model of `prepare`.
            question: what is asked; autoregressive tokens cannot continue half a chunk, so what
                remains of the running one is ignored.
            attempt: 0: greedy; above: sampled, with this number as seed.
        """
        inputs = question.ask(build_prompt(question.instruction, question.state, self.thinks))
        given, masks = [], self._masks
        if question.thought is not None and self.thinks:
            given = thought_tokens(mllm.tokenizer, question.thought, tagged=True)
            inputs = with_tokens(inputs, [given], mllm.tokenizer.pad_token_id)
            masks = self._masks_after_thought
        rule = (
            FiniteLogits()
            if masks is None
            else GrammarLogitsProcessor(masks.grammar, inputs["input_ids"].shape[1], masks)
        )
        try:
            ids = generate(mllm, inputs, rule, self._longest, attempt)
        except NonFiniteLogitsError as error:
            return Answer(status=ChunkStatus.NON_FINITE, detail=str(error))
        parsed = parse_answer(mllm.tokenizer.decode([*given, *ids], skip_special_tokens=True))
        written = {"tokens": tuple(parsed.tokens), "reasoning": parsed.reasoning or ""}
        try:
            if not parsed.well_formed:
                raise ChunkError(ChunkStatus.UNDECODABLE, parsed.fault)
            return Answer(self.actions_of(parsed.tokens), **written)
        except ChunkError as error:
            return Answer(status=error.kind, detail=error.detail, **written)

    def think(self, mllm: MLLM, question: Question) -> str:
        """The model's thought alone; empty where it answers without one.

        Raises:
            NonFiniteLogitsError: the model's scores are NaN or infinite.
        """
        if not self.thinks:
            return ""
        inputs = question.ask(build_prompt(question.instruction, question.state, think=True))
        return generate_thoughts(mllm, inputs, self._ids, self._most)[0]

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

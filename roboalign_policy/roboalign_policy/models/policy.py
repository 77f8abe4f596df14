"""The Policy: observation and instruction in, a chunk of actions (or why there is none) out."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from transformers import LogitsProcessorList

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.prediction import (
    NON_FINITE,
    OK,
    OUT_OF_LIMITS,
    UNDECODABLE,
    Prediction,
)
from roboalign_policy.core.policy.prompt import build_prompt, parse_answer, state_text
from roboalign_policy.fast import FastError, FastTokenizer
from roboalign_policy.fast.dct import quantisation_bound
from roboalign_policy.models.checkpoint import check_same_robot, read_checkpoint
from roboalign_policy.models.generation import (
    FiniteLogits,
    GrammarLogitsProcessor,
    GrammarMasks,
    NonFiniteLogitsError,
    longest_answer,
    make_answer_grammar,
)
from roboalign_policy.models.loading import MLLM, ModelError, count_fast_tokens, load_mllm

_SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0}


class Policy(Protocol):
    """The seam between nodes and models."""

    contract: Contract
    hash: str
    horizon: int
    dims: int

    def act(
        self,
        values: Mapping[str, np.ndarray],
        instruction: str,
        remaining: np.ndarray | None = None,
    ) -> Prediction:
        """Predict the chunk that follows an observation.

        ``remaining``: (R, A) float32, the rest of the running chunk that is not executed yet, in
        the contract's action units, which real-time chunking continues; a policy may ignore it.
        """


class MLLMPolicy:
    """A checkpoint of this project as a Policy. Make one with `load`.

    Attributes:
        contract: robot contract it was trained with.
        hash: SHA-256 of weights, FAST tokenizer, statistics and contract.
        horizon: steps of a chunk, T.
        dims: dimensions of an action, A.
    """

    def __init__(
        self,
        mllm: MLLM,
        contract: Contract,
        fast: FastTokenizer,
        stats: QuantileStats,
        *,
        hash: str,
        grammar: bool = True,
        think: bool = True,
        max_think_tokens: int = 48,
        attempts: int = 3,
    ):
        if attempts < 1:
            raise ValueError(f"attempts: found {attempts}, expected 1 or more")
        self.contract, self.hash, self._attempts = contract, hash, attempts
        self.horizon, self.dims = contract.action.horizon, len(contract.action.dims)
        self._mllm, self._fast, self._stats, self._think = mllm, fast, stats, think
        if not contract.images:
            raise ModelError(f"contract {contract.name}: found no image stream, expected one")
        self._image = contract.images[0]
        # Of the states, what the prompt shows is all that the model sees.
        shown = {part.stream for part in contract.prompt_state}
        self._states = [stream for stream in contract.states if stream.key in shown]
        # Qwen-VL models keep the offset of their positions in themselves while they generate.
        self._lock = threading.Lock()
        mllm.model.eval()
        found = count_fast_tokens(mllm.tokenizer)
        if found != fast.vocab_size:
            found = f"found {found} FAST tokens in the vocabulary"
            raise ModelError(f"{mllm.name}: {found}, expected {fast.vocab_size}")
        self._grammar = make_answer_grammar(
            mllm.tokenizer,
            fast.token_lengths,
            self.horizon,
            self.dims,
            think=think,
            max_think_tokens=max_think_tokens,
        )
        self._masks = GrammarMasks(self._grammar) if grammar else None
        self._max_new_tokens = longest_answer(self._grammar, mllm.tokenizer)
        slack = quantisation_bound(self.horizon, fast.scale) * (stats.q99 - stats.q01) / 2
        slack = slack + np.array([dim.saturate for dim in contract.action.dims])
        self._low, self._high = contract.action.low - slack, contract.action.high + slack

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        contract: Contract | None = None,
        grammar: bool = True,
        think: bool = True,
        max_think_tokens: int = 48,
        attempts: int = 3,
        device: str = "auto",
        dtype: str = "auto",
        num_threads: int = 0,
    ) -> MLLMPolicy:
        """Load a checkpoint folder written by `roboalign sft` or `roboalign grpo`.

        Args:
            checkpoint: the folder.
            contract: the robot's contract; what it says of observations the policy sees, of the
                action and of the prompt must equal the checkpoint's own. None: the checkpoint's.
            grammar: keep generation inside the grammar of answers.
            think: reason before acting.
            max_think_tokens: longest thought.
            attempts: answers asked for until one is valid.
            device: see `load_mllm`.
            dtype: see `load_mllm`.
            num_threads: torch's threads in this process; 0 leaves them as they are.

        Raises:
            ModelError: a file is missing, changed since it was written, or does not fit the
                contract.
        """
        if num_threads:
            torch.set_num_threads(num_threads)
        parts = read_checkpoint(checkpoint)
        if contract is not None:
            check_same_robot(parts.folder, parts.contract, contract)
        return cls(
            load_mllm(parts.folder, device, dtype),
            contract or parts.contract,
            parts.fast,
            parts.stats,
            hash=parts.hash,
            grammar=grammar,
            think=think,
            max_think_tokens=max_think_tokens,
            attempts=attempts,
        )

    @property
    def on_cpu(self) -> bool:
        """Whether the model computes on the processor's cores."""
        return self._mllm.model.device.type == "cpu"

    @torch.inference_mode()
    def act(
        self,
        values: Mapping[str, np.ndarray],
        instruction: str,
        remaining: np.ndarray | None = None,
    ) -> Prediction:
        """Predict the chunk that follows an observation, greedily.

        An answer that does not decode or leaves the limits is thrown away and asked again,
        sampled, `attempts` times in all; the last one's fault is told when none was valid.

        Args:
            values: images (H, W, 3) uint8 rgb and states (D,) float32 by stream key, as in
                `Frame.values`.
            instruction: the task in words.
            remaining: ignored: autoregressive tokens cannot continue half a chunk.

        Raises:
            KeyError: a stream that the model sees is missing.
            ValueError: an image or a state has another shape or dtype than the contract says, a
                state is not finite, or the instruction is empty or cannot stand in a prompt.
        """
        started = time.perf_counter()
        self._check_values(values)
        prompt = build_prompt(instruction, state_text(self.contract, values), self._think)
        for attempt in range(self._attempts):
            answer = self._answer(values[self._image.key], prompt, attempt)
            if answer[3] in (OK, NON_FINITE):
                break
        return Prediction(*answer, time.perf_counter() - started)

    def _answer(self, image: np.ndarray, prompt: str, attempt: int) -> tuple:
        """Actions, tokens, reasoning, status and detail of one answer."""
        try:
            ids = self._generate(image, prompt, attempt)
        except NonFiniteLogitsError as error:
            return None, [], "", NON_FINITE, str(error)
        reasoning, tokens, fault = self._read(ids)
        actions, status, detail = (None, UNDECODABLE, fault) if fault else self._decode(tokens)
        return actions, tokens, reasoning, status, detail

    def tokens_of(self, chunks: np.ndarray) -> list[list[int]]:
        """FAST tokens of chunks (N, T, A) in the contract's action units: a perfect answer's.

        Raises:
            FastError: a chunk cannot be written in the tokens of this policy.
        """
        return self._fast.encode(self._stats.normalise(np.asarray(chunks, np.float64)))

    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Check the streams that the model sees before any of it is computed."""
        for stream in (self._image, *self._states):
            if stream.key not in values:
                raise KeyError(
                    f"{stream.key}: not in the values, found {', '.join(values) or 'none'}"
                )
            value = np.asarray(values[stream.key])
            if value.shape != stream.value_shape:
                raise ValueError(
                    f"{stream.key}: found shape {value.shape}, expected {stream.value_shape}"
                )
            if stream.is_image and value.dtype != np.uint8:
                raise ValueError(f"{stream.key}: found dtype {value.dtype}, expected uint8")
            if not stream.is_image and value.dtype.kind not in "fiu":
                raise ValueError(f"{stream.key}: found dtype {value.dtype}, expected float32")

    def _generate(self, image: np.ndarray, prompt: str, attempt: int) -> list[int]:
        """Ids of the answer: greedy at the first attempt, then sampled with a seed of its own.

        Raises:
            NonFiniteLogitsError: the model's scores are NaN or infinite.
        """
        processor, model = self._mllm.processor, self._mllm.model
        message = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}
        ]
        text = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        inputs = processor(images=[image], text=[text], return_tensors="pt").to(model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
        length = inputs["input_ids"].shape[1]
        rule = (
            GrammarLogitsProcessor(self._grammar, length, self._masks)
            if self._masks
            else FiniteLogits()
        )
        cuda = [model.device] if model.device.type == "cuda" else []
        with self._lock, torch.random.fork_rng(devices=cuda):
            torch.manual_seed(attempt)
            out = model.generate(
                **inputs,
                max_new_tokens=self._max_new_tokens,
                do_sample=attempt > 0,
                **(_SAMPLING if attempt else {}),
                # A checkpoint's defaults are for chat: Qwen2.5-VL's penalise what repeats.
                repetition_penalty=1.0,
                logits_processor=LogitsProcessorList([rule]),
                use_cache=True,
            )
        return out[0, length:].tolist()

    def _read(self, ids: list[int]) -> tuple[str, list[int], str]:
        """Reasoning, tokens and what is wrong with an answer (empty: nothing)."""
        parsed = parse_answer(self._mllm.tokenizer.decode(ids, skip_special_tokens=True))
        return (
            parsed.reasoning or "",
            list(parsed.tokens),
            "" if parsed.well_formed else parsed.fault,
        )

    def _decode(self, tokens: list[int]) -> tuple[np.ndarray | None, str, str]:
        """Actions, status and detail of a token sequence; never actions unless all is well."""
        try:
            normalised = self._fast.decode([tokens], horizon=self.horizon, dims=self.dims)[0]
        except FastError as error:
            return None, UNDECODABLE, str(error)
        actions = self._stats.denormalise(normalised)
        if not np.isfinite(actions).all():
            return (
                None,
                NON_FINITE,
                "actions: found a value that is not finite, expected finite values",
            )
        outside = (actions < self._low) | (actions > self._high)
        if outside.any():
            step, dim = (int(i) for i in np.argwhere(outside)[0])
            spec = self.contract.action.dims[dim]
            return (
                None,
                OUT_OF_LIMITS,
                f"step {step} {spec.name}: found {actions[step, dim]:.3f}, expected {spec.limits}",
            )
        # Left outside is the tokenizer's rounding at the limit, and what the contract saturates.
        clipped = np.clip(actions, self.contract.action.low, self.contract.action.high)
        return clipped.astype(np.float32), OK, ""

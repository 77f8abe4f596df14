"""The decoders that a checkpoint may name: how actions come out of the model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.models.answer import Answer
from roboalign_policy.models.fast_decoder import FastDecoder
from roboalign_policy.models.flow_decoder import FlowDecoder
from roboalign_policy.models.loading import MLLM
from roboalign_policy.models.question import Question


class Decoder(Protocol):
    """What `MLLMPolicy` asks of a decoder.

    Attributes:
        hashes: SHA-256 of what it was made of, by the names of `roboalign.json`, in an order that
            does not change: they are part of the policy's hash.
        weights: file names of weights of its own, beside the model's.
        streams: keys of the states that it reads itself, beside those of the prompt.
        replan_after_steps: how many of a chunk's steps to drive before the next one; 0: all.
        thinks: whether the model thinks before it acts; known once prepared.
    """

    hashes: Mapping[str, str]
    weights: tuple[str, ...]
    streams: tuple[str, ...]
    replan_after_steps: int
    thinks: bool

    @classmethod
    def read(cls, folder: Path, contract: Contract) -> Decoder:
        """Read what a checkpoint holds of it; ModelError names what is wrong."""

    def prepare(self, mllm: MLLM, options: PolicyOptions) -> None:
        """Get ready to answer with a model; ModelError where it does not fit."""

    def answer(self, mllm: MLLM, question: Question, attempt: int) -> Answer:
        """Answer: at attempt 0 as well as it can, above with this number as seed."""

    def think(self, mllm: MLLM, question: Question) -> str:
        """The model's thought alone; empty where it answers without one."""

    def tokens_of(self, chunks: np.ndarray) -> list[list[int]] | None:
        """Tokens of chunks (N, T, A) in the contract's units; None: actions are no tokens here."""


FAST, FLOW = "fast", "flow"
#: By the name that stands in `roboalign.json`; checkpoints without one are from before the others.
DECODERS: dict[str, type[Decoder]] = {FAST: FastDecoder, FLOW: FlowDecoder}


def name_of(decoder: Decoder) -> str:
    """The name by which a checkpoint chooses it."""
    return next(name for name, kind in DECODERS.items() if isinstance(decoder, kind))

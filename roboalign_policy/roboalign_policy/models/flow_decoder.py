"""Actions by the flow-matching head: the model thinks, the head reads its hidden states."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.hashing import sha256_file, sha256_json
from roboalign_policy.core.policy.accept import Bounds, ChunkError, accept
from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.options import FRESH, GUIDED, PREFIX, PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.core.policy.prompt import build_prompt, build_question
from roboalign_policy.core.policy.state_vector import (
    normalised_state,
    state_bounds,
    state_fields,
    state_vectors,
)
from roboalign_policy.models.answer import Answer
from roboalign_policy.models.flow_head import chunking
from roboalign_policy.models.flow_head.config import PROMPT, THOUGHT, FlowHeadConfig
from roboalign_policy.models.flow_head.flow import Velocity, solve, velocity_of
from roboalign_policy.models.flow_head.network import FlowHead, Modulation
from roboalign_policy.models.generation import NonFiniteLogitsError
from roboalign_policy.models.hidden_states import depth, hidden_states, with_tokens
from roboalign_policy.models.loading import MLLM, ModelError, read_record
from roboalign_policy.models.question import Question
from roboalign_policy.models.thought import generate_thoughts, thought_ids, thought_tokens

HEAD, WEIGHTS, STATS = "flow_head.json", "flow_head.safetensors", "stats.json"


class FlowDecoder:
    """A head that makes actions of the model's hidden states and of the state.

    Attributes:
        hashes: SHA-256 of what it was made of, by the names of `roboalign.json`.
        weights: file names of weights of its own.
        streams: keys of the states that it reads.
        replan_after_steps: how many of a chunk's steps to drive before the next one; 0: all.
    """

    weights: tuple[str, ...] = (WEIGHTS,)

    def __init__(
        self,
        contract: Contract,
        head: FlowHead,
        actions: QuantileStats,
        states: Mapping[str, QuantileStats],
        hashes: Mapping[str, str],
    ) -> None:
        """Take the parts; see `read`.

        Args:
            contract: of the robot; the head's config has its name.
            head: with its weights.
            actions: of the actions, (A,) each, in the contract's units.
            states: of each state stream.
            hashes: of the files that they stand in.

        Raises:
            ValueError: they do not fit each other.
        """
        self.contract, self.head, self.hashes = contract, head.eval(), hashes
        self._actions = actions
        self._low, self._high = state_bounds(contract, states)
        self._bounds = Bounds.of(contract)
        self.streams = tuple(dict.fromkeys(item.stream for item in state_fields(contract)))
        names = [robot.name for robot in head.config.robots]
        if contract.name not in names:
            found = ", ".join(names)
            raise ValueError(f"robots: found {found}, expected {contract.name} among them")
        self._robot = names.index(contract.name)
        self.replan_after_steps = head.config.replan_after_steps
        shape, config = head.config.robots[self._robot], head.config
        for name, found, expected in (
            ("horizon", config.horizon, contract.action.horizon),
            ("state_dims", shape.state_dims, len(self._low)),
            ("action_dims", shape.action_dims, len(contract.action.dims)),
            ("action statistics", actions.dims, len(contract.action.dims)),
        ):
            if found != expected:
                raise ValueError(f"{name}: found {found}, expected {expected} as in the contract")

    @classmethod
    def read(cls, folder: Path, contract: Contract) -> FlowDecoder:
        """Read what a checkpoint holds of it.

        Raises:
            ModelError: a file is missing, malformed, or does not fit the contract.
        """
        for name in (HEAD, WEIGHTS, STATS):
            if not (folder / name).is_file():
                raise ModelError(f"{folder}: found no {name}, expected it beside an action head")
        record, stats = read_record(folder / HEAD), read_record(folder / STATS)
        try:
            head = FlowHead(FlowHeadConfig.from_dict(record))
            head.load_state_dict(load_file(folder / WEIGHTS))
        except (ValueError, TypeError, RuntimeError, SafetensorError, OSError) as error:
            text = " ".join(str(error).split())
            raise ModelError(f"{folder / HEAD}: {text}") from error
        hashes = {
            "stats": sha256_json(stats),
            "head": sha256_json([record, sha256_file(folder / WEIGHTS)]),
        }
        try:
            actions = QuantileStats.from_dict(stats["action"])
            states = {key: QuantileStats.from_dict(own) for key, own in stats["state"].items()}
        except (KeyError, AttributeError, ValueError) as error:
            raise ModelError(f"{folder / STATS}: found no statistics: {error}") from error
        try:
            return cls(contract, head, actions, states, hashes)
        except ValueError as error:
            raise ModelError(f"{folder / HEAD}: {error}") from error

    def prepare(self, mllm: MLLM, options: PolicyOptions) -> None:
        """Get ready to answer with a model.

        Raises:
            ModelError: its hidden states are not those that the head reads, it may not think and
                the head reads thoughts, or it was not taught to continue chunks so.
        """
        config, model = self.head.config, mllm.model
        if not options.think and config.condition != PROMPT:
            raise ModelError(
                f"{mllm.name}: think: found false, expected true: the action head reads the "
                f"model's thought (condition {config.condition} in {HEAD})"
            )
        width = model.get_input_embeddings().weight.shape[1]
        if config.context_width != width:
            raise ModelError(
                f"{mllm.name}: found hidden states of width {width}, expected "
                f"{config.context_width} as in {HEAD}"
            )
        try:
            self._layer = config.layer_of(depth(model))
        except ValueError as error:
            raise ModelError(f"{mllm.name}: {error}") from error
        if options.chunking == PREFIX and not config.given_prefix:
            raise ModelError(
                f"{mllm.name}: chunking: found prefix, but given_prefix is 0 in {HEAD}; expected "
                "a head trained with it (roboalign vla --given_prefix), guided or constant"
            )
        self._chunking, self.thinks = options.chunking, config.condition != PROMPT
        self._most = options.max_think_tokens
        self._ids = thought_ids(mllm.tokenizer, config.condition == THOUGHT)
        # The head computes in float32 on any device: it is small, and so are its steps.
        self.head.to(model.device)
        self._modulations: dict[float, Modulation] = {}

    def answer(self, mllm: MLLM, question: Question, attempt: int) -> Answer:
        """Think, read the hidden states, and follow the flow.

        Args:
            mllm: the model of `prepare`.
            question: what is asked.
            attempt: seed of the noise; above 0 the thought is sampled, too.
        """
        try:
            thought = question.thought
            if thought is None:
                thought = self.think(mllm, question, attempt)
        except NonFiniteLogitsError as error:
            return Answer(status=ChunkStatus.NON_FINITE, detail=str(error))
        try:
            actions = self._act(mllm, question, thought, attempt)
        except ChunkError as error:
            return Answer(status=error.kind, detail=error.detail, reasoning=thought)
        return Answer(actions, reasoning=thought)

    def tokens_of(self, chunks: np.ndarray) -> None:
        """None: actions are no tokens here."""
        return None

    def think(self, mllm: MLLM, question: Question, attempt: int = 0) -> str:
        """The model's thought alone; empty where the head reads none.

        Raises:
            NonFiniteLogitsError: the model's scores are NaN or infinite.
        """
        condition = self.head.config.condition
        if condition == PROMPT:
            return ""
        inputs = question.ask(words_of(condition, question.instruction, question.state))
        return generate_thoughts(mllm, inputs, self._ids, self._most, attempt)[0]

    def _act(self, mllm: MLLM, question: Question, thought: str, attempt: int) -> np.ndarray:
        config, device = self.head.config, mllm.model.device
        inputs = question.ask(words_of(config.condition, question.instruction, question.state))
        hidden, mask = read_hidden(mllm, inputs, [thought], config.condition, self._layer)
        # Guided chunks ask for the head's Jacobian, which there is none of in inference mode.
        with torch.inference_mode(self._chunking == FRESH), torch.no_grad():
            vector = state_vectors(self.contract, question.values)
            state = torch.from_numpy(normalised_state(self._low, self._high, vector))
            padded = torch.zeros(1, config.state_dims)
            padded[0, : len(state)] = state
            robot = torch.tensor([self._robot], device=device)
            generator = torch.Generator().manual_seed(attempt)
            shape = (1, 1, config.horizon, config.action_dims)
            noise = torch.randn(*shape, generator=generator).to(device)
            context = self.head.read(hidden.float().clone(), mask.clone())
            velocity = velocity_of(self.head, context, padded.to(device), robot, self._modulations)
            if self._chunking == FRESH or not len(self._remaining(question)):
                chunk = solve(velocity, noise, config.steps, config.solver)
            else:
                chunk = self._continued(velocity, noise, question)
        normal = chunk[0, 0, :, : len(self.contract.action.dims)].cpu().numpy()
        return accept(self._actions.denormalise(normal), self._bounds)

    def _continued(
        self, velocity: Velocity, noise: torch.Tensor, question: Question
    ) -> torch.Tensor:
        """A chunk (1, 1, T, A) that goes on with what remains of the running one."""
        config, remaining = self.head.config, self._remaining(question)
        padded = torch.zeros(len(remaining), config.action_dims, device=noise.device)
        normal = self._actions.normalise(np.asarray(remaining, np.float64))
        padded[:, : normal.shape[1]] = torch.from_numpy(normal).to(padded)
        frozen = min(question.frozen, len(remaining))
        if self._chunking == PREFIX:
            # What the head was not taught to be given it is free to choose.
            given = padded[: min(frozen, config.given_prefix, config.horizon - 1)]
            return chunking.solve_after(velocity, noise, given, config.steps, config.solver)
        guidance = chunking.JACOBIAN if self._chunking == GUIDED else chunking.CONSTANT
        guide = chunking.make_guide(padded, config.horizon, min(frozen, config.horizon))
        led = chunking.guided(velocity, guide, guidance)
        return solve(led, noise, config.steps, config.solver)

    def _remaining(self, question: Question) -> np.ndarray:
        """(R, A) actions, R 0 where nothing remains."""
        remaining = question.remaining
        dims = len(self.contract.action.dims)
        return np.empty((0, dims), np.float32) if remaining is None else np.asarray(remaining)


def words_of(condition: str, instruction: str, state: str) -> str:
    """The prompt of a condition: a request for an action, or the question for a thought.

    Args:
        condition: one of `flow_head.config.CONDITIONS`.
        instruction: the task in words.
        state: of `core.policy.prompt.state_text`.
    """
    if condition in (THOUGHT, PROMPT):
        return build_prompt(instruction, state, think=condition == THOUGHT)
    return build_question(instruction, state)


@torch.no_grad()
def read_hidden(
    mllm: MLLM, inputs: Any, thoughts: list[str], condition: str, layer: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden states that a head reads: of the prompt, and of the thought behind it.

    Args:
        mllm: the model.
        inputs: of B prompts of `words_of`, padded on the left, on the model's device.
        thoughts: of each; not read where the condition is the prompt alone.
        condition: one of `flow_head.config.CONDITIONS`.
        layer: how many of the model's layers are behind them.

    Returns:
        (B, L, hidden size) in the model's dtype, and (B, L) int64, where there is a token.
    """
    if condition != PROMPT:
        tagged = condition == THOUGHT
        ids = [thought_tokens(mllm.tokenizer, text, tagged) for text in thoughts]
        inputs = with_tokens(inputs, ids, mllm.tokenizer.pad_token_id)
    return hidden_states(mllm.model, inputs, layer), inputs["attention_mask"]

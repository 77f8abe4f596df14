"""A checkpoint as a policy: the model, and the decoder that makes actions of what it answers."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from transformers import BatchFeature

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.instruction import instruction_fault
from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus, Prediction
from roboalign_policy.core.policy.prompt import camera_names, state_text, user_content
from roboalign_policy.models.decoders import FAST, Decoder, name_of
from roboalign_policy.models.loading import MLLM, ModelError
from roboalign_policy.models.question import Question


class MLLMPolicy:
    """A `core.policy.protocol.Policy` around a vision-language model; `open_policy` makes one.

    Attributes:
        contract: robot contract it was trained with.
        hash: SHA-256 of weights, decoder and contract.
        decoder: name of what makes its actions, one of `models.decoders.DECODERS`.
        horizon: steps of a chunk, T.
        dims: dimensions of an action, A.
        images: keys of the image streams that it sees, in order.
        thinks: whether it has a thought before it acts.
        replan_after_steps: how many of a chunk's steps to drive before the next one, where nobody
            says otherwise; 0: all.
        chunking: how its chunks continue the running one, one of `core.policy.options.CHUNKING`.
        threads: torch's threads, of every thread that asks it.
    """

    def __init__(
        self,
        mllm: MLLM,
        contract: Contract,
        decoder: Decoder,
        *,
        hash: str,
        images: Sequence[str],
        options: PolicyOptions | None = None,
    ) -> None:
        """Join the parts.

        Args:
            mllm: the model.
            contract: of the robot that it drives.
            decoder: makes actions of what the model answers.
            hash: of everything that decides its answers.
            images: keys of the image streams that it was trained to see, in order.
            options: how it is to answer; None: the defaults.

        Raises:
            ModelError: they do not fit each other.
        """
        options = options or PolicyOptions()
        self.contract, self.hash = contract, hash
        self.decoder = name_of(decoder)
        self.horizon, self.dims = contract.action.horizon, len(contract.action.dims)
        self._mllm, self._decoder = mllm, decoder
        self._attempts = options.attempts
        self.images = tuple(images)
        self._images = [contract.stream(key) for key in images]
        if not self._images:
            raise ModelError(f"contract {contract.name}: found no image stream, expected one")
        self._cameras = camera_names(images)
        # Of the states, what the prompt shows and what the decoder reads is all that counts.
        shown = {part.stream for part in contract.prompt_state} | set(decoder.streams)
        self._states = [stream for stream in contract.states if stream.key in shown]
        # Qwen-VL models keep the offset of their positions in themselves while they generate.
        self._lock, self._thinking = threading.Lock(), threading.Lock()
        self._thinker: MLLM | None = None
        self.threads = torch.get_num_threads()
        mllm.model.eval()
        decoder.prepare(mllm, options)
        self.thinks, self.chunking = decoder.thinks, options.chunking
        self.replan_after_steps = decoder.replan_after_steps

    def describe(self) -> str:
        """How it makes actions, for logs: decoder, thought and steps of a chunk."""
        what = "tokens" if self.decoder == FAST else "an action head"
        thinks = "after a thought" if self.thinks else "without a thought"
        steps = self.replan_after_steps or self.horizon
        return (
            f"decoder {self.decoder}: {what} {thinks}; {steps} of a chunk's {self.horizon} steps "
            "are driven unless replan_after_steps says otherwise"
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
        thought: str | None = None,
        frozen: int = 0,
    ) -> Prediction:
        """Predict the chunk that follows an observation, greedily.

        An answer that does not decode or leaves the limits is thrown away and asked again,
        sampled, `attempts` times in all; the last one's fault is told when none was valid.

        Args:
            values: images (H, W, 3) uint8 rgb and states (D,) float32 by stream key, as in
                `Frame.values`.
            instruction: the task in words.
            remaining: (R, A) float32, the rest of the running chunk; a decoder may ignore it.
            thought: to act on, such as an earlier one of `think`; None: it thinks for itself.
            frozen: how many actions of ``remaining`` will have been executed when the answer is
                there.

        Raises:
            KeyError: a stream that the model sees is missing.
            ValueError: an image or a state has another shape or dtype than the contract says, a
                state is not finite, or the instruction is empty or cannot stand in a prompt.
        """
        started = time.perf_counter()
        question = self._question(self._mllm, values, instruction, remaining, thought, frozen)
        for attempt in range(self._attempts):
            with self._lock:
                answer = self._decoder.answer(self._mllm, question, attempt)
            if answer.status in (ChunkStatus.OK, ChunkStatus.NON_FINITE):
                break
        return Prediction(
            answer.actions,
            list(answer.tokens),
            answer.reasoning,
            answer.status,
            answer.detail,
            time.perf_counter() - started,
        )

    @torch.inference_mode()
    def think(self, values: Mapping[str, np.ndarray], instruction: str) -> str:
        """The thought alone, greedily; empty where the policy acts without one.

        It may be called from another thread while `act` runs: it has a model of its own around
        the same weights.

        Args:
            values: as for `act`.
            instruction: the task in words.

        Raises:
            KeyError: as `act`.
            ValueError: as `act`; also where the model's scores are not finite.
        """
        with self._thinking:
            if self._thinker is None:
                with self._lock:  # while nobody has a hook in it
                    self._thinker = _twin(self._mllm)
            # Each thread of this process has a number of its own.
            if torch.get_num_threads() != self.threads:
                torch.set_num_threads(self.threads)
            question = self._question(self._thinker, values, instruction)
            return self._decoder.think(self._thinker, question)

    def tokens_of(self, chunks: np.ndarray) -> list[list[int]] | None:
        """Tokens of chunks (N, T, A) in the contract's action units: a perfect answer's.

        None where the decoder has none.

        Raises:
            FastError: a chunk cannot be written in the tokens of this policy.
        """
        return self._decoder.tokens_of(chunks)

    def _question(
        self,
        mllm: MLLM,
        values: Mapping[str, np.ndarray],
        instruction: str,
        remaining: np.ndarray | None = None,
        thought: str | None = None,
        frozen: int = 0,
    ) -> Question:
        self._check_values(values)
        if fault := instruction_fault(instruction):
            raise ValueError(f"instruction: {fault}")
        images = [values[stream.key] for stream in self._images]
        return Question(
            instruction,
            state_text(self.contract, values),
            values,
            lambda words: model_inputs(mllm, self._cameras, images, words),
            remaining,
            thought,
            frozen,
        )

    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Check the streams that the model sees before any of it is computed."""
        for stream in (*self._images, *self._states):
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


def model_inputs(
    mllm: MLLM, cameras: Sequence[str], images: Sequence[np.ndarray], prompt: str
) -> BatchFeature:
    """What the model sees and reads of a prompt."""
    processor, model = mllm.processor, mllm.model
    message = [{"role": "user", "content": user_content(prompt, cameras)}]
    text = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    inputs = processor(images=list(images), text=[text], return_tensors="pt").to(model.device)
    inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return inputs


def _twin(mllm: MLLM) -> MLLM:
    """The same model with the same weights in memory, and a state of its own."""
    tensors = (*mllm.model.parameters(), *mllm.model.buffers())
    model = copy.deepcopy(mllm.model, {id(tensor): tensor for tensor in tensors})
    return replace(mllm, model=model, processor=copy.deepcopy(mllm.processor))

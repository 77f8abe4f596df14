"""What an action head is trained to read: hidden states of frames and the thoughts before them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from roboalign_policy.core.policy.prompt import state_text
from roboalign_policy.models.flow_decoder import read_hidden, words_of
from roboalign_policy.models.flow_head.config import PROMPT, THOUGHT
from roboalign_policy.models.loading import MLLM
from roboalign_policy.models.thought import generate_thoughts, thought_ids
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.source import request


@dataclass(frozen=True)
class ReadFrame:
    """What the head reads of one frame.

    Attributes:
        frame: of the demonstrations.
        thought: that was read; empty where the head reads the prompt alone.
        hidden: (L, hidden size), in the model's dtype, on the CPU.
    """

    frame: int
    thought: str
    hidden: torch.Tensor


class HiddenReader:
    """Reads frames with a model that is not trained any more.

    Attributes:
        width: hidden size.
    """

    def __init__(
        self, mllm: MLLM, data: Demonstrations, condition: str, layer: int, most: int, batch: int
    ) -> None:
        """Take the parts.

        Args:
            mllm: the model; put in evaluation mode.
            data: the demonstrations.
            condition: one of `flow_head.config.CONDITIONS`.
            layer: how many of the model's layers are behind the hidden states.
            most: longest thought of the model's own, tokens.
            batch: frames read at once.
        """
        self._mllm, self._data, self._condition = mllm, data, condition
        self._layer, self._most, self._batch = layer, most, batch
        self._collator = PromptCollator(mllm.processor)
        self._ids = thought_ids(mllm.tokenizer, condition == THOUGHT)
        self.width = int(mllm.model.get_input_embeddings().weight.shape[1])
        mllm.model.eval()

    def read(
        self,
        frames: Sequence[int],
        own: Callable[[int], bool],
        tell: Callable[[int], None] = lambda done: None,
    ) -> Iterator[ReadFrame]:
        """Read frames, in order.

        Args:
            frames: of the demonstrations.
            own: of a frame, whether the model's own thought is read; else the demonstration's.
            tell: is told how many more have been read.
        """
        for start in range(0, len(frames), self._batch):
            part = [int(frame) for frame in frames[start : start + self._batch]]
            # Prompts with and without generation apart: else every prompt waits for the longest.
            thoughts = {frame: self.demonstrated(frame) for frame in part if not own(frame)}
            if mine := [frame for frame in part if own(frame)]:
                thoughts |= dict(zip(mine, self._own(mine), strict=True))
            yield from self._read(part, [thoughts[frame] for frame in part])
            tell(len(part))

    def demonstrated(self, frame: int) -> str:
        """The thought that the demonstration itself would have had."""
        return demonstrated_thought(self._data, frame, self._condition)

    def own_thoughts(self, frames: Sequence[int]) -> list[str]:
        """The model's own thoughts on frames; empty where the head reads the prompt alone."""
        parts = range(0, len(frames), self._batch)
        return [text for at in parts for text in self._own(frames[at : at + self._batch])]

    def _own(self, frames: Sequence[int]) -> list[str]:
        if self._condition == PROMPT:
            return [""] * len(frames)
        with torch.inference_mode():
            return generate_thoughts(self._mllm, self._inputs(frames), self._ids, self._most)

    def _read(self, frames: Sequence[int], thoughts: list[str]) -> Iterator[ReadFrame]:
        hidden, mask = read_hidden(
            self._mllm, self._inputs(frames), thoughts, self._condition, self._layer
        )
        hidden, mask = hidden.cpu(), mask.cpu().bool()
        for row, (frame, thought) in enumerate(zip(frames, thoughts, strict=True)):
            yield ReadFrame(frame, thought, hidden[row][mask[row]].clone())

    def _inputs(self, frames: Sequence[int]) -> dict[str, torch.Tensor]:
        samples = [asked(self._data, frame, self._condition) for frame in frames]
        batch, model = self._collator.prompts(samples), self._mllm.model
        moved = {name: value.to(model.device) for name, value in batch.items()}
        moved["pixel_values"] = moved["pixel_values"].to(model.dtype)
        return moved


def asked(data: Demonstrations, frame: int, condition: str) -> dict:
    """A frame's pictures and prompt, as `PromptCollator` takes them.

    Args:
        data: the demonstrations.
        frame: of them.
        condition: one of `flow_head.config.CONDITIONS`.
    """
    state = state_text(data.contract, data.values(frame))
    words = words_of(condition, data.instruction(frame), state)
    return {"images": data.images(frame), "prompt": request(words, data.cameras)}


def demonstrated_thought(data: Demonstrations, frame: int, condition: str) -> str:
    """The thought that a demonstration would have had; empty where the head reads none."""
    if condition == PROMPT:
        return ""
    return data.thought(frame)


def own_frames(frames: np.ndarray, share: float, seed: int) -> set[int]:
    """The frames that are read with the model's own thought: a share of them, drawn at random."""
    rng = np.random.default_rng(seed)
    count = round(share * len(frames))
    return set(rng.choice(frames, size=count, replace=False).tolist())

"""An action head in training on hidden states that are computed in every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BatchFeature, Trainer

from roboalign_policy.models.flow_head.config import PROMPT, THOUGHT
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_policy.models.hidden_states import with_tokens
from roboalign_policy.models.thought import thought_tokens
from roboalign_training.learning.augmentation import Augmentation
from roboalign_training.learning.backbone import Backbone
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.flow_training import HeadInTraining
from roboalign_training.learning.hidden_reader import asked, demonstrated_thought


class LiveHead(HeadInTraining):
    """A head with the model that it reads, as a `Trainer` takes them.

    The averages are of the head's weights and of those of the model that are trained: what was
    averaged together drives together. What of the model does not change is in no checkpoint.

    Attributes:
        backbone: the model.
    """

    def __init__(
        self, head: FlowHead, draws: int, longest_prefix: int, backbone: Backbone
    ) -> None:
        """Take the parts; arguments as in `HeadInTraining`."""
        super().__init__(head, draws, longest_prefix)
        self.backbone = backbone
        self.backbone_average = nn.ParameterList(
            p.detach().clone().requires_grad_(False) for p in backbone.parameters_trained
        )
        self.register_state_dict_post_hook(_only_trained)
        self.register_load_state_dict_post_hook(_expect_only_trained)

    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        state: torch.Tensor,
        actions: torch.Tensor,
        robot: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The loss of a batch of `LiveBatches`."""
        hidden = self.backbone(inputs).float()
        return super().forward(hidden, inputs["attention_mask"].bool(), state, actions, robot)

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the averages towards what is trained: `decay` of them stays."""
        super().update_average(decay)
        fast = self.backbone.parameters_trained
        for slow, new in zip(self.backbone_average, fast, strict=True):
            slow.lerp_(new, 1.0 - decay)

    @torch.no_grad()
    def take_average(self) -> None:
        """Give the model its averaged weights: the end of training."""
        fast = self.backbone.parameters_trained
        for slow, new in zip(self.backbone_average, fast, strict=True):
            new.copy_(slow)

    def gradient_checkpointing_enable(self, **given: Any) -> None:
        """Compute activations of the model again instead of keeping them; a `Trainer` asks."""
        self.backbone.model.gradient_checkpointing_enable(**given)


def _is_frozen(module: LiveHead, name: str) -> bool:
    """Whether an entry of the state is a weight of the model that does not change."""
    start = "backbone.model."
    return name.startswith(start) and name[len(start) :] not in module.backbone.trained


def _only_trained(module: LiveHead, state: dict, prefix: str, metadata: Any) -> None:
    for name in [n for n in state if _is_frozen(module, n.removeprefix(prefix))]:
        del state[name]


def _expect_only_trained(module: LiveHead, found: Any) -> None:
    found.missing_keys[:] = [n for n in found.missing_keys if not _is_frozen(module, n)]


class LiveTrainer(Trainer):
    """A `Trainer` of a `LiveHead` with a learning rate of its own for the model's weights."""

    def __init__(self, *args: Any, backbone_rate: float, **kwargs: Any) -> None:
        """Take what a `Trainer` takes, and that learning rate."""
        self._backbone_rate = backbone_rate
        super().__init__(*args, **kwargs)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """The trainer's own optimiser; the model's weights in groups of their own, behind."""
        optimizer = super().create_optimizer(*args, **kwargs)
        own = {id(p) for p in self.model.backbone.parameters_trained}
        for group in list(optimizer.param_groups):
            params = group["params"]
            group["params"] = [p for p in params if id(p) not in own]
            if mine := [p for p in params if id(p) in own]:
                optimizer.add_param_group({**group, "params": mine, "lr": self._backbone_rate})
        return optimizer


class LiveSamples(torch.utils.data.Dataset):
    """Frames with pictures and prompt, thought, state and chunk, by index."""

    def __init__(
        self,
        data: Demonstrations,
        frames: np.ndarray,
        condition: str,
        thoughts: Mapping[int, str],
        targets: tuple[np.ndarray, np.ndarray],
        augment: Augmentation | None,
    ) -> None:
        """Take the columns.

        Args:
            data: the demonstrations.
            frames: (F,) int, of them.
            condition: one of `flow_head.config.CONDITIONS`.
            thoughts: of frames that are read with another thought than the demonstration's.
            targets: states (F, S) and actions (F, T, A), float32, normalised.
            augment: changes the pictures.
        """
        self._data, self._frames, self._condition = data, frames, condition
        self._thoughts, self._augment = thoughts, augment
        self._states, self._actions = map(torch.from_numpy, targets)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> dict:
        frame = int(self._frames[index])
        found = asked(self._data, frame, self._condition)
        if self._augment is not None:
            found["images"] = self._augment(found["images"], frame)
        thought = self._thoughts.get(frame)
        if thought is None:
            thought = demonstrated_thought(self._data, frame, self._condition)
        return {
            **found,
            "thought": thought,
            "state": self._states[index],
            "actions": self._actions[index],
            "robot": 0,
        }


class LiveBatches:
    """Makes batches of `LiveSamples`: what the model takes, and what the head is to do."""

    def __init__(self, processor: Any, condition: str) -> None:
        """Take the model's processor, and one of `flow_head.config.CONDITIONS`."""
        self._collator, self._condition = PromptCollator(processor), condition

    def __call__(self, samples: Sequence[dict]) -> dict[str, Any]:
        """A batch.

        Returns:
            inputs: of the model, B prompts padded on the left with their thoughts behind, padded
            on the right; state (B, S) and actions (B, T, A) float32, robot (B,) int64.
        """
        inputs, tokenizer = BatchFeature(self._collator.prompts(samples)), self._collator.tokenizer
        if self._condition != PROMPT:
            tagged = self._condition == THOUGHT
            ids = [thought_tokens(tokenizer, sample["thought"], tagged) for sample in samples]
            inputs = with_tokens(inputs, ids, tokenizer.pad_token_id)
        return {
            "inputs": dict(inputs),
            "state": torch.stack([sample["state"] for sample in samples]),
            "actions": torch.stack([sample["actions"] for sample in samples]),
            "robot": torch.tensor([sample["robot"] for sample in samples]),
        }

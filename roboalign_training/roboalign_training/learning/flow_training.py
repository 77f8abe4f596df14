"""The action head in training: batches of frames, its loss, and the average of its weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback

from roboalign_policy.models.flow_head.flow import draw, flow_loss
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_training.learning.features import Features


class HeadInTraining(nn.Module):
    """A head with the moving average of its weights, as a `Trainer` takes it.

    Attributes:
        head: what is trained.
        average: exponential moving average of its weights; what drives.
    """

    def __init__(self, head: FlowHead, draws: int, longest_prefix: int = 0) -> None:
        """Take the head.

        Args:
            head: the action head, freshly initialised.
            draws: of noise on each frame.
            longest_prefix: of given actions, see `flow.draw`.
        """
        super().__init__()
        self.head, self._draws, self._prefix = head, draws, longest_prefix
        self.average = copy.deepcopy(head).requires_grad_(False).eval()

    def forward(
        self,
        hidden: torch.Tensor,
        mask: torch.Tensor,
        state: torch.Tensor,
        actions: torch.Tensor,
        robot: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The loss of a batch; arguments as in `flow.flow_loss`."""
        drawn = draw(self.head.config, len(actions), self._draws, self._prefix)
        return {"loss": flow_loss(self.head, hidden, mask, state, actions, robot, drawn)}

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Move the average towards the head: `decay` of it stays."""
        for slow, fast in zip(self.average.parameters(), self.head.parameters(), strict=True):
            slow.lerp_(fast, 1.0 - decay)


class MovingAverage(TrainerCallback):
    """Updates the average after every step.

    In the first steps it forgets faster, so that it is not one of the initial weights.
    """

    def __init__(self, training: HeadInTraining, decay: float) -> None:
        self._training, self._decay = training, decay

    def on_step_end(self, args, state, control, **kwargs):
        """Update."""
        step = state.global_step
        self._training.update_average(min(self._decay, (1 + step) / (10 + step)))


class FlowSamples(torch.utils.data.Dataset):
    """Frames with their hidden states, states and chunks, by index."""

    def __init__(
        self, features: Features, states: np.ndarray, actions: np.ndarray, robot: int = 0
    ) -> None:
        """Take the columns.

        Args:
            features: of F frames.
            states: (F, S) float32, normalised.
            actions: (F, T, A) float32, normalised.
            robot: index into the head's robots.
        """
        self._features, self._robot = features, robot
        self._states, self._actions = torch.from_numpy(states), torch.from_numpy(actions)

    def __len__(self) -> int:
        return len(self._features)

    def __getitem__(self, index: int) -> dict:
        return {
            "hidden": self._features.hidden(index),
            "state": self._states[index],
            "actions": self._actions[index],
            "robot": self._robot,
        }


def flow_batch(samples: Sequence[dict]) -> dict[str, torch.Tensor]:
    """Samples as `HeadInTraining.forward` takes them; hidden states padded on the right."""
    lengths = torch.tensor([len(sample["hidden"]) for sample in samples])
    hidden = nn.utils.rnn.pad_sequence([s["hidden"] for s in samples], batch_first=True).float()
    return {
        "hidden": hidden,
        "mask": torch.arange(hidden.shape[1]) < lengths.unsqueeze(1),
        "state": torch.stack([sample["state"] for sample in samples]),
        "actions": torch.stack([sample["actions"] for sample in samples]),
        "robot": torch.tensor([sample["robot"] for sample in samples]),
    }

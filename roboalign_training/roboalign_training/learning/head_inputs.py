"""Where the hidden states come from that a head is trained on: from disk, or from the model.

A frozen model that sees pictures as they were recorded is read once, and its hidden states are
kept. One that is trained, or sees other pictures in every epoch, is read in every step; then only
its own thoughts are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.console import Console

from roboalign_policy.core.policy.normalise import QuantileStats
from roboalign_policy.core.policy.state_vector import (
    normalised_state,
    state_bounds,
    state_vectors,
)
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_policy.models.loading import MLLM
from roboalign_training.learning.arguments import VlaArguments
from roboalign_training.learning.augmentation import Augmentation
from roboalign_training.learning.backbone import Backbone
from roboalign_training.learning.demonstrations import Demonstrations, load_state_stats
from roboalign_training.learning.features import (
    FeaturePlan,
    Features,
    ReadFeatures,
    check_features,
    make_features,
)
from roboalign_training.learning.flow_training import FlowSamples, HeadInTraining, flow_batch
from roboalign_training.learning.hidden_reader import HiddenReader
from roboalign_training.learning.live_training import LiveBatches, LiveHead, LiveSamples
from roboalign_training.learning.own_thoughts import make_thoughts
from roboalign_training.shared.progress import Shown

Stop = Callable[[], bool]


def flow_targets(data: Demonstrations, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """States (F, S) and actions (F, T, A) of frames, float32, both normalised."""
    contract = data.contract
    stats: Mapping[str, QuantileStats] = load_state_stats(data.folder)
    states = state_vectors(contract, {key: column[frames] for key, column in data.states.items()})
    actions = np.stack([data.chunk(int(frame)) for frame in frames])
    return (
        normalised_state(*state_bounds(contract, stats), states),
        data.stats.normalise(actions).astype(np.float32),
    )


def flow_samples(data: Demonstrations, features: Features | ReadFeatures) -> FlowSamples:
    """Frames with what the head reads and what it is to do, both normalised."""
    return FlowSamples(features, *flow_targets(data, features.frames))


class KeptInputs:
    """Hidden states on disk, of training frames and of held-out ones."""

    def __init__(
        self,
        data: Demonstrations,
        reader: HiddenReader,
        training: FeaturePlan,
        held_out: FeaturePlan,
    ) -> None:
        """Take the parts; nothing is read yet."""
        self._data, self._reader, self._plans = data, reader, (training, held_out)
        self.collate: Callable[..., Any] = flow_batch

    def check(self, given_up: bool) -> None:
        """Refuse what cannot be, see `check_features`."""
        for plan in self._plans:
            check_features(plan, self._reader, given_up)

    def read(self, stop: Stop) -> bool:
        """Compute what is missing; False when it was stopped."""
        self._found = [_features(plan, self._reader, stop) for plan in self._plans]
        self._reader = None
        return None not in self._found

    def model(self, head: FlowHead, draws: int, longest_prefix: int) -> HeadInTraining:
        """What is trained."""
        return HeadInTraining(head, draws, longest_prefix)

    def samples(self) -> FlowSamples:
        """What it is trained on."""
        return flow_samples(self._data, self._found[0])

    def held_out(self, model: HeadInTraining) -> Features:
        """What it is scored on when it has been trained."""
        return self._found[1]


@dataclass
class LiveInputs:
    """Frames that the model reads in every step of the training.

    Attributes:
        data: the demonstrations.
        mllm: the model.
        reader: of the model.
        frames: (F,) int64, trained on.
        scored: (G,) int64, held out.
        layer: how many of the model's layers are behind the hidden states.
        arguments: of the run.
        augmentation: changes the pictures that are trained on; None: as they were recorded.
        thoughts: that the model has itself; None where none are read.
        kept: hidden states of held-out frames; None where the model is trained.
    """

    data: Demonstrations
    mllm: MLLM
    reader: HiddenReader
    frames: np.ndarray
    scored: np.ndarray
    layer: int
    arguments: VlaArguments
    augmentation: Augmentation | None
    thoughts: FeaturePlan | None
    kept: FeaturePlan | None

    def __post_init__(self) -> None:
        self.collate = LiveBatches(self.mllm.processor, self.arguments.condition)
        self._own: dict[int, str] = {}
        self._held: Features | None = None

    def check(self, given_up: bool) -> None:
        """Say what it costs, and refuse what cannot be; changes nothing."""
        why = "it is trained" if self.arguments.trains_backbone else "pictures are augmented"
        print(
            f"vla: the model reads its frames anew in every step, since {why}: hidden states of "
            "the training frames are not kept, and a step takes longer by a reading",
            flush=True,
        )
        if self.thoughts is not None and not given_up:
            self.thoughts.check_owner()
        if self.kept is not None:
            check_features(self.kept, self.reader, given_up)

    def read(self, stop: Stop) -> bool:
        """Have the model think, and read what does not change; False when it was stopped."""
        if self.thoughts is not None:
            with Shown("vla: own thoughts", Console()) as shown:
                own = make_thoughts(self.thoughts, self.reader, stop, shown.update)
            if own is None:
                return False
            self._own = own
        if self.kept is not None:
            self._held = _features(self.kept, self.reader, stop)
            return self._held is not None
        return True

    def model(self, head: FlowHead, draws: int, longest_prefix: int) -> LiveHead:
        """What is trained; changes the model."""
        total = sum(p.numel() for p in self.mllm.model.parameters())
        backbone = Backbone(self.mllm.model, self.layer, self.arguments)
        if self.arguments.trains_backbone:
            trained = sum(p.numel() for p in backbone.parameters_trained)
            print(
                f"vla: backbone {self.arguments.backbone}: {trained:,} numbers are trained, at a "
                f"learning rate of up to {self.arguments.backbone_rate:g}; the model has "
                f"{total:,}. The policy is driven by its head alone, without FAST tokens",
                flush=True,
            )
        return LiveHead(head, draws, longest_prefix, backbone)

    def samples(self) -> LiveSamples:
        """What it is trained on."""
        return LiveSamples(
            self.data,
            self.frames,
            self.arguments.condition,
            self._own,
            flow_targets(self.data, self.frames),
            self.augmentation,
        )

    def held_out(self, model: LiveHead) -> Features | ReadFeatures:
        """What it is scored on: read, with thoughts of its own, by the model as it is saved.

        Of a trained model the averaged weights are merged into it; nothing can be trained after.
        """
        if self._held is not None:
            return self._held
        model.take_average()
        self.mllm.model = model.backbone.merged()
        with torch.no_grad():
            read = list(self.reader.read(self.scored.tolist(), lambda frame: True))
        return ReadFeatures(read)


def _features(plan: FeaturePlan, reader: HiddenReader, stop: Stop) -> Features | None:
    with Shown("vla: hidden states", Console()) as shown:
        return make_features(plan, reader, stop, shown.update)

"""Open-loop evaluation: a checkpoint's chunks against the demonstrator's in the same frames."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from roboalign_policy.core.policy.options import PolicyOptions
from roboalign_policy.core.policy.prediction import ChunkStatus
from roboalign_policy.models.checkpoint import RECORD, check_same_robot
from roboalign_policy.models.loading import read_record
from roboalign_policy.models.open_policy import open_policy
from roboalign_policy.models.policy import MLLMPolicy
from roboalign_training.data.frame_dataset import FrameDataset, load_frames
from roboalign_training.learning.reasoning import episode_progress, reasoning_text
from roboalign_training.learning.rewards import prefix_accuracy
from roboalign_training.learning.thought_error import ThoughtErrors, thought_unit
from roboalign_training.shared.progress import counted
from roboalign_training.shared.statistics import mean_interval
from roboalign_training.thoughts.style import PLACE, style_of


@dataclass
class OpenLoopResult:
    """Figures over the frames.

    Attributes:
        prefix_accuracy: of each frame, length of the common token prefix over the target's length,
            0 .. 1.
        action_l1: (n_valid, A) mean absolute error over the chunk by dimension, in action units;
            valid chunks only.
        action_square: (n_valid, A) mean squared error over the chunk, in action units squared.
        valid: chunks that decoded and were within limits.
        faults: of the others, how many by the reason.
        n: frames.
        names: dimension names.
        thoughts: beside those of the demonstrations.
        unit: of the places in them.
    """

    prefix_accuracy: list[float] = field(default_factory=list)
    action_l1: list[np.ndarray] = field(default_factory=list)
    action_square: list[np.ndarray] = field(default_factory=list)
    valid: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    n: int = 0
    names: tuple[str, ...] = ()
    thoughts: ThoughtErrors = field(default_factory=ThoughtErrors)
    unit: str = ""

    def record(self) -> dict:
        """As it stands in reports: means with 95 % intervals (normal theory over frames)."""
        errors = np.array(self.action_l1).reshape(len(self.action_l1), len(self.names))
        squares = np.array(self.action_square).reshape(errors.shape)
        l1, rmse = (
            (errors.mean(axis=0), np.sqrt(squares.mean(axis=0))) if len(errors) else ((), ())
        )
        return {
            "prefix_accuracy": float(np.mean(self.prefix_accuracy))
            if self.prefix_accuracy
            else None,
            "prefix_accuracy_interval": mean_interval(self.prefix_accuracy),
            "action_l1": float(errors.mean()) if len(errors) else None,
            "action_l1_interval": mean_interval(errors.mean(axis=1)) if len(errors) else None,
            "action_l1_by_dimension": dict(zip(self.names, map(float, l1), strict=False)),
            "action_rmse_by_dimension": dict(zip(self.names, map(float, rmse), strict=False)),
            "valid": self.valid,
            "faults": dict(self.faults),
            "n": self.n,
            "thoughts": self.thoughts.record(self.unit) if self.thoughts.events else None,
        }


def evaluate_open_loop(
    policy: MLLMPolicy, frames: FrameDataset, count: int, seed: int = 0, style: str = PLACE
) -> OpenLoopResult:
    """Ask the policy in frames of recorded episodes.

    Args:
        policy: the checkpoint.
        frames: a data set that no training saw.
        count: frames, drawn without replacement among those with a whole chunk.
        seed: of the draw.
        style: of the policy's thoughts, one of `thoughts.style.STYLES`.

    Raises:
        ModelError: the data set is of another robot.
        ValueError: it has no whole chunk.
    """
    check_same_robot(frames.folder, policy.contract, frames.contract, policy.images)
    usable = np.flatnonzero(frames.usable)
    if count < 1 or not len(usable):
        raise ValueError(
            f"{frames.folder}: found {len(usable)} frames with a whole chunk and count {count}, "
            "expected 1 or more of both"
        )
    chosen = np.sort(
        np.random.default_rng(seed).choice(usable, min(count, len(usable)), replace=False)
    )
    result = OpenLoopResult(names=policy.contract.action.names, unit=thought_unit(frames.contract))
    for index in counted(chosen.tolist(), "open loop"):
        sample = frames[index]
        prediction = policy.act({**sample.images, **sample.states}, sample.instruction)
        if (targets := policy.tokens_of(sample.action_chunk[None])) is not None:
            result.prefix_accuracy.append(prefix_accuracy(prediction.tokens, targets[0]))
        if prediction.reasoning and frames.contract.prompt_state:
            result.thoughts.add(
                sample.episode_id,
                prediction.reasoning,
                demonstrated_thought(frames, index),
                demonstrated_thought(frames, index, style),
            )
        result.n += 1
        if prediction.status != ChunkStatus.OK:
            result.faults[prediction.status.value] += 1
        else:
            result.valid += 1
            error = prediction.actions - sample.action_chunk
            result.action_l1.append(np.abs(error).mean(axis=0))
            result.action_square.append(np.square(error, dtype=np.float64).mean(axis=0))
    return result


def demonstrated_thought(frames: FrameDataset, index: int, style: str = PLACE) -> str:
    """What the rest of a frame's demonstration says that its thought should be."""
    episode = frames.episode(index)
    states = {key: own[episode.start : episode.stop] for key, own in frames.states.items()}
    at, progress = index - episode.start, None
    if style != PLACE:
        of_episode = episode_progress(frames.contract, states, episode.instruction)
        progress = of_episode[at] if of_episode else None
    return reasoning_text(frames.contract, states, at, style, progress)


def open_loop_of(
    checkpoint: Path,
    dataset: Path,
    count: int,
    seed: int = 0,
    think: bool = True,
    decoder: str = "auto",
) -> dict:
    """`evaluate_open_loop` of a checkpoint folder on a data set folder, as a record."""
    policy = open_policy(checkpoint, options=PolicyOptions(think=think, decoder=decoder))
    style = style_of(read_record(checkpoint / RECORD))
    return evaluate_open_loop(policy, load_frames(dataset), count, seed, style).record()

"""Episodes that a policy drives in the simulator: what is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MOVED_M = 0.02


@dataclass(frozen=True)
class RolloutJob:
    """One episode to run."""

    suite: str
    task: str
    seed: int
    action_noise: float = 0.0


@dataclass(frozen=True, eq=False)
class RolloutResult:
    """What came of one episode.

    Attributes:
        job: what was run.
        instruction: what the policy was told.
        success: the simulator's judgement.
        steps: control steps.
        chunks: answers of the policy.
        valid_chunks: those of them that decoded and were accepted.
        faults: kinds of the others.
        reasonings: reasoning text of every answer.
        mean_inference_s: s; mean over the answers, NaN without any.
        wall_s: s; from reset to outcome.
        end: what policy_node said about the end of its run.
        limit: steps after which the episode is over without success.
        refused_run: whether policy_node gave up since too many chunks in a row were invalid.
        answer_steps: step at which each answer's observation was made, as ``reasonings``.
        answer_faults: kind of fault of each answer, "" for a valid chunk, as ``reasonings``.
        goals: what the task asks for, and whether it was so at the end.
        moved: objects that were elsewhere at the end, by more than `MOVED_M`.
        frames: (128, 128, 3) uint8 rgb images, every k-th step, with their steps.
    """

    job: RolloutJob
    instruction: str
    success: bool
    steps: int
    chunks: int
    valid_chunks: int
    faults: tuple[str, ...]
    reasonings: tuple[str, ...]
    mean_inference_s: float
    wall_s: float
    end: str
    frames: tuple[tuple[int, np.ndarray], ...] = ()
    limit: int = 0
    refused_run: bool = False
    answer_steps: tuple[int, ...] = ()
    answer_faults: tuple[str, ...] = ()
    goals: dict[str, bool] = field(default_factory=dict)
    moved: tuple[str, ...] = ()

"""The values that `drive.Drive` takes and gives: settings, requests, steps, ends, counters."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from roboalign_policy.core.drive.chunk_buffer import ChunkAction
from roboalign_policy.core.drive.thoughts import Thought, ThoughtRequest, ThoughtSettings

SYNC, ASYNC_BLEND = "sync", "async_blend"
MODES = (SYNC, ASYNC_BLEND)
AUTO = "auto"  #: of a setting: one of the modes, by what the actions are


class State(Enum):
    """What the drive is doing; the names are those of PolicyStatus.STATE_*."""

    INACTIVE = "inactive"
    IDLE = "idle"
    RUNNING = "running"
    OBSERVATION_HOLD = "observation_hold"
    CHUNK_HOLD = "chunk_hold"
    FAULT = "fault"
    GATE_HOLD = "gate_hold"


@dataclass(frozen=True)
class DriveSettings:
    """How the drive behaves; the values are the policy node's parameters of the same names.

    Attributes:
        lockstep: one step per observation frame, the world waits for the command.
        step_s: s; the contract's period.
        mode: `sync`: the next chunk is asked for when this one is used up, and nothing is
            commanded until it is there; `async_blend`: it is asked for early, and this one is
            commanded meanwhile. Lock step is always `sync`.
        replan_after_steps: steps executed of a chunk before the next one is wanted; 0 = all of
            them.
        overtake_steps: `async_blend`: steps of the old chunk that may be commanded after the
            observation that the next one answers; then the arm rests until it is there.
        max_chunk_age_s: s; greatest age of a chunk's observation while it is executed.
        max_invalid_chunks: invalid chunks in a row after which the run ends.
        observation_timeout_s: s (steady clock); a run without any usable frame for this long ends,
            and so does one that waits for the safety gate.
        inference_timeout_s: s (steady clock); in real time a model that has not answered after
            this long counts as hung.
        reasoning: how long a thought is kept.
    """

    lockstep: bool
    step_s: float
    mode: str = ASYNC_BLEND
    replan_after_steps: int = 0
    overtake_steps: int = 1
    max_chunk_age_s: float = 3.0
    max_invalid_chunks: int = 3
    observation_timeout_s: float = 2.0
    inference_timeout_s: float = 5.0
    reasoning: ThoughtSettings = field(default_factory=ThoughtSettings)

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names field, value and range."""
        if self.mode not in MODES:
            raise ValueError(f"mode: found {self.mode!r}, expected one of {', '.join(MODES)}")
        for name in ("step_s", "max_chunk_age_s", "observation_timeout_s", "inference_timeout_s"):
            if not (value := getattr(self, name)) > 0:
                raise ValueError(f"{name}: found {value}, expected a positive number")
        for name, low in (
            ("replan_after_steps", 0),
            ("overtake_steps", 0),
            ("max_invalid_chunks", 1),
        ):
            if (value := getattr(self, name)) < low:
                raise ValueError(f"{name}: found {value}, expected {low} or more")

    @property
    def sync(self) -> bool:
        """Whether the arm waits for the model at the end of every chunk."""
        return self.lockstep or self.mode == SYNC


@dataclass(frozen=True)
class ModelRequest:
    """One question to the model.

    Attributes:
        epoch: number of the run, or of its restart; answers to an earlier one go.
        place: steps commanded before the observation was taken.
        observation_ns: stamp of the frame.
        values: of the frame.
        instruction: the task in words.
        remaining: (R, A) float32, units of the contract; what the arm does from the observation
            on: what was commanded since it was taken, then the rest of the running chunk. A
            policy may continue it (real-time chunking) or ignore it.
        frozen: how many actions of these will have been commanded when the answer is there, by
            the times that answers have taken.
        thought: to act on; None: the policy thinks for itself, or not at all.
    """

    epoch: int
    place: int
    observation_ns: int
    values: dict[str, np.ndarray]
    instruction: str
    remaining: np.ndarray
    frozen: int = 0
    thought: Thought | None = None


@dataclass(frozen=True)
class Asked:
    """What to ask the model now: for a chunk, for a thought; None: not."""

    chunk: ModelRequest | None = None
    thought: ThoughtRequest | None = None

    def __bool__(self) -> bool:
        """Whether anything is asked."""
        return self.chunk is not None or self.thought is not None


@dataclass(frozen=True)
class Decision:
    """What to do now: command ``action``, None: nothing; and ask the model."""

    action: ChunkAction | None = None
    asked: Asked = Asked()

    @property
    def request(self) -> ModelRequest | None:
        """The chunk that is asked for."""
        return self.asked.chunk


@dataclass(frozen=True)
class End:
    """How a run ended.

    Attributes:
        reason: name of a RunPolicy.Result.REASON_* constant in lower case, without the prefix.
        message: what happened.
        chunks: chunks of which at least one action was commanded.
        steps: actions commanded.
    """

    reason: str
    message: str
    chunks: int
    steps: int


@dataclass
class DriveCounters:
    """What happened since activation."""

    chunks: int = 0
    commands: int = 0
    refused: int = 0
    undecodable: int = 0
    stale: int = 0

"""The values that `drive.Drive` takes and gives: settings, requests, steps, ends, counters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from roboalign_policy.core.executor import Action


class State(Enum):
    """What the drive is doing; the names are those of PolicyStatus.STATE_*."""

    INACTIVE = "inactive"
    IDLE = "idle"
    RUNNING = "running"
    OBSERVATION_HOLD = "observation_hold"
    CHUNK_HOLD = "chunk_hold"
    FAULT = "fault"


@dataclass(frozen=True)
class DriveSettings:
    """How the drive behaves; the values are the policy node's parameters of the same names.

    Attributes:
        lockstep: one step per observation frame, the world waits for the command.
        step_s: s; control period.
        replan_after_steps: steps executed of a chunk before the next one is wanted; 0 = all of
            them.
        max_chunk_age_s: s; greatest age of a chunk's observation while it is executed.
        max_invalid_chunks: invalid chunks in a row after which the run ends.
        observation_timeout_s: s (steady clock); a run without any usable frame for this long ends.
    """

    lockstep: bool
    step_s: float
    replan_after_steps: int = 0
    max_chunk_age_s: float = 3.0
    max_invalid_chunks: int = 3
    observation_timeout_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names field, value and range."""
        for name in ("step_s", "max_chunk_age_s", "observation_timeout_s"):
            if not (value := getattr(self, name)) > 0:
                raise ValueError(f"{name}: found {value}, expected a positive number")
        for name, low in (("replan_after_steps", 0), ("max_invalid_chunks", 1)):
            if (value := getattr(self, name)) < low:
                raise ValueError(f"{name}: found {value}, expected {low} or more")


@dataclass(frozen=True)
class Request:
    """One question to the model: values, instruction, and what it takes to place the answer."""

    epoch: int
    place: int
    observation_ns: int
    values: dict[str, np.ndarray]
    instruction: str


@dataclass(frozen=True)
class Step:
    """What to do now: command ``action`` and ask the model ``request``; None: neither."""

    action: Action | None = None
    request: Request | None = None


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
class Counters:
    """What happened since activation."""

    chunks: int = 0
    commands: int = 0
    refused: int = 0
    undecodable: int = 0
    stale: int = 0

"""The frames of an episode as arrays, whoever made them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Frames:
    """Frames of one episode that have every observation and an action.

    Attributes:
        indices: (N,) int64, position on the grid of frame times; a missing frame leaves a hole.
        stamps_ns: (N,) int64, frame times.
        values: Stream key -> (N, H, W, 3) uint8 RGB, or (N, D) float32 in the contract's units.
        actions: (N, A) float32, in the contract's units.
        dropped: Reason -> number of frame times left out between the first and the last frame.
        trimmed: The same before the first and after the last frame.
        ages_s: State stream key -> (N,) s, how much older than its frame each state is; empty
            where that is not known.
        notes: What is worth knowing of their messages' times.
        pictures: Image stream key -> (N,) int64, which message of the stream each frame shows;
            empty where that is not known.
    """

    indices: np.ndarray
    stamps_ns: np.ndarray
    values: dict[str, np.ndarray]
    actions: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    trimmed: dict[str, int] = field(default_factory=dict)
    ages_s: dict[str, np.ndarray] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stamps_ns)

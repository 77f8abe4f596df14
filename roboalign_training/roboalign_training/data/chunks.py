"""Actions of an episode to chunks of a fixed horizon, and how an episode's end is padded."""

from __future__ import annotations

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.keys import EE_DELTA

GRIPPER = "gripper"


def safe_action(contract: Contract, last: np.ndarray) -> np.ndarray:
    """The action that keeps the robot as `last` left it.

    Deltas become zero, the gripper keeps its command; a joint position command is repeated.

    Args:
        contract: Says what the dimensions mean.
        last: (A,) float, the last action of an episode.

    Returns:
        (A,) float32.
    """
    safe = np.array(last, dtype=np.float32)
    if contract.action.control_mode == EE_DELTA:
        names = [dim.name for dim in contract.action.dims]
        safe[[name != GRIPPER for name in names]] = 0.0
    return safe


def make_chunks(actions: np.ndarray, horizon: int, padding: np.ndarray) -> np.ndarray:
    """The chunk that starts at every frame of an episode.

    Args:
        actions: (N, A) float32, one action a frame.
        horizon: Steps in a chunk, T.
        padding: (A,) float32, the action of every step after the last frame.

    Returns:
        (N, T, A) float32.
    """
    padded = np.concatenate([actions, padding[None]]).astype(np.float32)
    steps = np.arange(len(actions))[:, None] + np.arange(horizon)[None]
    return padded[np.minimum(steps, len(actions))]


def unbroken(indices: np.ndarray, horizon: int) -> np.ndarray:
    """Tells which frames start a chunk without a missing frame inside.

    A chunk that runs past the episode's end is whole: its rest is padding.

    Args:
        indices: (N,) int, position of each frame on the grid of frame times, increasing.
        horizon: Steps in a chunk.

    Returns:
        (N,) bool.
    """
    count = len(indices)
    last = np.minimum(np.arange(count) + horizon - 1, count - 1)
    return indices[last] - indices == last - np.arange(count)

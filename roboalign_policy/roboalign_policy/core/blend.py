"""Joining a new chunk to the rest of the old one, so that the arm does not jump between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from roboalign_policy.core import keys


@dataclass(frozen=True, eq=False)
class CrossFade:
    """Fades linearly from the steps that the old chunk still held into the new chunk's.

    Attributes:
        steps: steps that are faded, at most.
        switches: (A,) bool; dimensions that change over at once where old and new differ in sign:
            half way between open and closed a gripper drops what it holds.
    """

    steps: int
    switches: np.ndarray

    def __post_init__(self) -> None:
        """Refuse impossible values; ValueError names field, value and range."""
        if self.steps < 0:
            raise ValueError(f"steps: found {self.steps}, expected 0 or more")

    def join(self, old: np.ndarray, new: np.ndarray, index: int) -> np.ndarray:
        """Return the new chunk with its steps from ``index`` on faded in.

        Args:
            old: (R, A) float32; what the old chunk holds for this step and the next ones.
            new: (T, A) float32; the new chunk.
            index: place in ``new`` of the step that ``old`` begins with.

        Returns:
            (T, A) float32. Of K faded steps the i-th, from 1, is i / (K + 1) new: never more than
            the old chunk has, so the fade ends where the old chunk does.
        """
        joined = np.array(new, np.float32)
        count = min(self.steps, len(old), len(new) - index)
        if count > 0:
            weight = (np.arange(1, count + 1) / (count + 1))[:, None]
            before, after = old[:count], joined[index : index + count].copy()
            mixed = (1.0 - weight) * before + weight * after
            switch = self.switches & (np.sign(before) != np.sign(after))
            joined[index : index + count] = np.where(switch, after, mixed)
        return joined


def make_cross_fade(names: Sequence[str], control_mode: str, steps: int) -> CrossFade:
    """Make the cross-fade of a contract's action; ``names``: A dimension names in its order."""
    switching = control_mode == keys.EE_DELTA
    return CrossFade(steps, np.array([switching and keys.is_gripper(name) for name in names]))

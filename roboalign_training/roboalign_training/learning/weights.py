"""Shares of the kinds of samples in the SFT mixture."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Weights:
    """Relative share of each kind of sample.

    Attributes:
        act: prompt, then action tokens.
        think: prompt, then a thought, then action tokens.
        scene: a question about a rendered scene, from the grounding source.
        grasp: where the demonstration at hand next closes its gripper.
    """

    act: float = 0.25
    think: float = 0.35
    scene: float = 0.3
    grasp: float = 0.1

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if not 0.0 <= value < math.inf:
                raise ValueError(
                    f"weight_{item.name}: found {value}, expected a finite number, 0 or more"
                )
        if sum(self.shares()) == 0.0:
            raise ValueError("weights: found only zeros, expected at least one above zero")

    def shares(self) -> list[float]:
        """The weights in the order of the fields."""
        return [float(getattr(self, item.name)) for item in fields(self)]


KINDS = tuple(item.name for item in fields(Weights))

"""What the demo does: episodes, seeds, times. Seeds of different purposes never meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from roboalign_training.evaluate.seeds import MOST_SEEDS, MOST_WORKERS
from roboalign_training.shared.fields import require

STAGE_NAMES = (
    "record", "dataset", "base", "sft", "grpo", "open_loop", "closed_loop", "report",
)  # fmt: skip
"""In order; `demo.stages` does them."""
ARMS = ("base", "sft", "grpo")
GRPO_SAMPLES = 240


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass
class DemoConfig:
    """Options of `roboalign demo`; the help of each field says what it is."""

    out: str = _option("out/demo", "Folder of everything the demo makes.")
    episodes: int = _option(
        1000, "Demonstrations recorded for training, over the four suites in turn."
    )
    open_loop_episodes: int = _option(
        24, "Demonstrations recorded for open-loop evaluation alone."
    )
    action_noise: float = _option(
        0.05,
        "Noise between the expert's command and the arm, in action units; it makes the arm stray, "
        "so that the demonstrations hold recovery motions under clean labels.",
    )
    vocab_size: int = _option(256, "Entries of the FAST tokenizer at most.")
    scale: float = _option(5.0, "DCT coefficients per unit.")
    sft_seconds: float = _option(580.0, "SFT ends after these, s.")
    sft_steps: int = _option(2100, "Optimiser steps of SFT at most.")
    grpo_seconds: float = _option(120.0, "GRPO ends after these, s.")
    grpo_samples: int = _option(
        GRPO_SAMPLES, "Prompts of GRPO; less than 1 % of the SFT samples.",
        shown=f"{GRPO_SAMPLES}, or all frames where there are fewer",
    )  # fmt: skip
    open_loop_frames: int = _option(120, "Frames of open-loop evaluation.")
    closed_loop_episodes: int = _option(25, "Unseen seeds a suite and arm.")
    replan_after_steps: int = _option(0, "Steps executed of each chunk; 0: the whole chunk.")
    workers: int = _option(2, "Pairs of nodes side by side.")
    threads: int = _option(0, "Torch threads of training; 0: torch's own choice.")
    redo: list[str] = field(
        default_factory=list,
        metadata={
            "help": f"Stages to do again ({', '.join(STAGE_NAMES)}), with all that follow; "
            "removes what they made.",
            "choices": STAGE_NAMES,
            "metavar": "STAGE",
        },
    )

    def __post_init__(self) -> None:
        at_least_1 = (
            "open_loop_episodes", "vocab_size", "sft_steps", "grpo_samples", "open_loop_frames",
            "closed_loop_episodes", "workers",
        )  # fmt: skip
        for name in at_least_1:
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("episodes", self.episodes, self.episodes >= 2, "at least 2: one is held out")
        for name in ("sft_seconds", "grpo_seconds", "scale"):
            value = getattr(self, name)
            require(name, value, 0 < value < math.inf, "a number above 0")
        for name in ("replan_after_steps", "threads"):
            require(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        require("action_noise", self.action_noise, 0 <= self.action_noise <= 1, "0 to 1")
        for name in ("episodes", "open_loop_episodes", "closed_loop_episodes"):
            value = getattr(self, name)
            require(name, value, value <= MOST_SEEDS, f"at most {MOST_SEEDS}, the seeds there are")
        domains = f"at most {MOST_WORKERS}: each pair of nodes has a ROS domain of its own"
        require("workers", self.workers, self.workers <= MOST_WORKERS, domains)

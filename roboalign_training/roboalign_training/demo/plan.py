"""Options of `roboalign demo` and of experiments: data, evaluation, and how they are run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from roboalign_training.evaluate.seeds import MOST_SEEDS, MOST_WORKERS
from roboalign_training.evaluate.simulated_arm import SIMULATED
from roboalign_training.shared.fields import require

GRPO_SAMPLES = 240
HEADS = ("sft_head", "grpo_head")
"""Arms of the packaged demo that put an action head on the policy of another one."""


def _option(default: Any, text: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": text, **more})


@dataclass
class Call:
    """Options of a call that change no result; the help of each field says what it is."""

    out: str = _option("out/demo", "Folder of everything that is made.")
    workers: int = _option(2, "Pairs of nodes side by side.")
    threads: int = _option(0, "Torch threads of training; 0: torch's own choice.")
    redo: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Stages to do again, with all that need them; removes what they made.",
            "metavar": "STAGE",
        },
    )

    def __post_init__(self) -> None:
        require("workers", self.workers, self.workers >= 1, "at least 1")
        domains = f"at most {MOST_WORKERS}: each pair of nodes has a ROS domain of its own"
        require("workers", self.workers, self.workers <= MOST_WORKERS, domains)
        require("threads", self.threads, self.threads >= 0, "0 or more")


@dataclass
class Settings:
    """Data and evaluation of an experiment; the help of each field says what it is."""

    contract: str = _option(
        "sim_panda", "Robot contract of the simulated arm; sim_panda_wrist has two cameras."
    )
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
    open_loop_frames: int = _option(120, "Frames of open-loop evaluation.")
    closed_loop_episodes: int = _option(25, "Unseen seeds a suite and arm.")
    develop_episodes: int = _option(
        0, "Development seeds a suite, by which one of the trained arms is chosen; 0: none is."
    )
    replan_after_steps: int = _option(
        0, "Steps executed of each chunk where an arm says nothing else; 0: as many as the policy "
        "says, else the whole chunk.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        known = " or ".join(SIMULATED)
        require("contract", repr(self.contract), self.contract in SIMULATED, known)
        at_least_1 = (
            "open_loop_episodes", "vocab_size", "open_loop_frames", "closed_loop_episodes"
        )  # fmt: skip
        for name in at_least_1:
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        require("episodes", self.episodes, self.episodes >= 2, "at least 2: one is held out")
        require("scale", self.scale, 0 < self.scale < math.inf, "a number above 0")
        steps = self.replan_after_steps
        require("replan_after_steps", steps, steps >= 0, "0 or more")
        require("action_noise", self.action_noise, 0 <= self.action_noise <= 1, "0 to 1")
        require("develop_episodes", self.develop_episodes, self.develop_episodes >= 0, "0 or more")
        for name in (
            "episodes", "open_loop_episodes", "closed_loop_episodes", "develop_episodes"
        ):  # fmt: skip
            value = getattr(self, name)
            require(name, value, value <= MOST_SEEDS, f"at most {MOST_SEEDS}, the seeds there are")


@dataclass
class DemoConfig(Settings, Call):
    """Options of `roboalign demo`; the help of each field says what it is."""

    sft_seconds: float = _option(580.0, "SFT ends after these, s.")
    sft_steps: int = _option(2100, "Optimiser steps of SFT at most.")
    grpo_seconds: float = _option(120.0, "GRPO ends after these, s.")
    grpo_samples: int = _option(
        GRPO_SAMPLES, "Prompts of GRPO; less than 1 % of the SFT samples.",
        shown=f"{GRPO_SAMPLES}, or all frames where there are fewer",
    )  # fmt: skip
    head_seconds: float = _option(
        240.0, "Training of an action head ends after these, s; hidden states are read before."
    )
    head_steps: int = _option(1500, "Optimiser steps of an action head at most.")
    develop_episodes: int = _option(
        16, "Development seeds a suite, by which GRPO's policy or SFT's is kept, and with others "
        "the arm that drives by default."
    )  # fmt: skip

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        Call.__post_init__(self)
        for name in ("sft_steps", "grpo_samples", "head_steps", "develop_episodes"):
            require(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        for name in ("sft_seconds", "grpo_seconds", "head_seconds"):
            value = getattr(self, name)
            require(name, value, 0 < value < math.inf, "a number above 0")


ARM_OPTIONS = {
    ("sft", "max_seconds"): "sft_seconds",
    ("sft", "max_steps"): "sft_steps",
    ("grpo", "max_seconds"): "grpo_seconds",
    ("grpo", "samples"): "grpo_samples",
    ("grpo", "develop_episodes"): "develop_episodes",
    **{(head, "max_seconds"): "head_seconds" for head in HEADS},
    **{(head, "max_steps"): "head_steps" for head in HEADS},
}
"""Arm of the packaged demo and key of its options, and the option of `roboalign demo` for it."""

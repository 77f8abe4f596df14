"""What the demo does: episodes, seeds, times. Seeds of different purposes never meet."""

from __future__ import annotations

from dataclasses import dataclass, field

RECORD_SEED = 0
OPEN_LOOP_SEED = 1_000_000
DEVELOPMENT_SEED = 2_000_000
"""Driven while the recipe was chosen; never in the report."""
CLOSED_LOOP_SEED = 3_000_000

ARMS = ("base", "sft", "grpo")


@dataclass
class DemoConfig:
    """Options of `roboalign demo`.

    Attributes:
        out: folder of everything the demo makes.
        episodes: demonstrations recorded for training, over the four suites in turn.
        open_loop_episodes: demonstrations recorded for open-loop evaluation alone.
        action_noise: noise between the expert's command and the arm, in action units; it makes the
            arm stray, so that the demonstrations hold recovery motions under clean labels.
        vocab_size: entries of the FAST tokenizer.
        scale: DCT coefficients per unit.
        sft_seconds: s; SFT ends after these.
        sft_steps: optimiser steps of SFT at most.
        grpo_seconds: s; GRPO ends after these.
        grpo_samples: prompts of GRPO; less than 1 % of the SFT samples.
        open_loop_frames: frames of open-loop evaluation.
        closed_loop_episodes: unseen seeds a suite and arm.
        replan_after_steps: steps executed of each chunk; 0: the whole chunk.
        workers: pairs of nodes side by side.
        threads: torch threads of training; 0 leaves torch's default.
        redo: stages to do again, with all that follow.
    """

    out: str = "out/demo"
    episodes: int = 1000
    open_loop_episodes: int = 24
    action_noise: float = 0.05
    vocab_size: int = 256
    scale: float = 5.0
    sft_seconds: float = 580.0
    sft_steps: int = 2100
    grpo_seconds: float = 120.0
    grpo_samples: int = 240
    open_loop_frames: int = 120
    closed_loop_episodes: int = 25
    replan_after_steps: int = 0
    workers: int = 2
    threads: int = 0
    redo: list[str] = field(default_factory=list)

"""Which step of a GRPO run is kept: the best on held-out frames, the base as step 0 among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from transformers import TrainerCallback
from trl import GRPOTrainer

from roboalign_training.learning.arguments import GrpoArguments
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import Demonstrations
from roboalign_training.learning.dev_score import DevScore, dev_frames, score_frames
from roboalign_training.learning.run_folder import RunFolder
from roboalign_training.learning.run_record import save_policy


class KeepBest(TrainerCallback):
    """Scores the model on held-out frames and writes the policy when it is the best so far."""

    def __init__(
        self,
        run: RunFolder,
        data: Demonstrations,
        held_out: np.ndarray,
        arguments: GrpoArguments,
    ) -> None:
        self.run, self.data, self.held_out, self.arguments = run, data, held_out, arguments
        self.frames = dev_frames(held_out, arguments.dev_frames)
        scored = [
            line for line in run.metrics() if "dev_score" in line
        ]  # of before an interruption
        found = {int(line["step"]): float(line["dev_score"]) for line in scored}
        self.scores = agreeing(found, run.policy_record())
        self.trainer: GRPOTrainer | None = None
        self.collator: PromptCollator | None = None

    @property
    def best_step(self) -> int:
        """The first step with the highest score."""
        return max(self.scores, key=lambda step: (self.scores[step], -step))

    def on_train_begin(self, args, state, control, **kwargs):
        """Score the base."""
        if state.global_step == 0:
            self._score(0)

    def on_step_end(self, args, state, control, **kwargs):
        """Score every `dev_every` steps."""
        if state.global_step % self.arguments.dev_every == 0:
            self._score(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        """Score what came out."""
        if state.global_step not in self.scores:
            self._score(state.global_step)

    def _score(self, step: int) -> None:
        score = score_frames(
            self.trainer.model,
            self.collator,
            self.data,
            self.frames,
            think=self.arguments.think,
            max_new_tokens=self.trainer.args.max_completion_length,
            weights=self.arguments.rewards,
        )
        self.run.append(step=step, **score.record())
        if score.score <= self.scores.get(step, -math.inf):
            return  # of this step the policy of before an interruption is kept
        self.scores[step] = score.score
        if self.best_step == step:
            save_policy(
                self.run,
                self.trainer,
                self.collator.processor,
                self.data,
                self._facts(step, score),
                self.held_out,
            )

    def _facts(self, step: int, score: DevScore) -> dict:
        return {
            "kind": "grpo",
            "base": self.arguments.base,
            "steps": step,
            "think": self.arguments.think,
            "rewards": dict(score.weights),
            **score.record(),
        }


def agreeing(scores: Mapping[int, float], kept: Mapping[str, Any]) -> dict[int, float]:
    """The scores of which the policy that is kept is the best.

    A kill may lose the score of a policy that is there, behind the last checkpoint, or the policy
    of a score that is written down.

    Args:
        scores: of before an interruption, by step.
        kept: `roboalign.json` of the policy that is there; empty without one.
    """
    if "dev_score" not in kept:
        return {}
    step, best = int(kept["steps"]), float(kept["dev_score"])
    less = {at: score for at, score in scores.items() if (score, -at) < (best, -step)}
    return dict(sorted({**less, step: best}.items()))

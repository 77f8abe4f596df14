"""The two policies that a GRPO run keeps one of: the base, and the best step as candidate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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
from roboalign_training.shared.outputs import OutputError
from roboalign_training.shared.run_layout import CANDIDATE, POLICY


class KeepBest(TrainerCallback):
    """Scores the model on held-out frames; writes the base, and the best step as candidate.

    The best step is the only candidate: what decides between two policies takes time, or is as
    noisy as what would choose between more of them.
    """

    def __init__(
        self,
        run: RunFolder,
        data: Demonstrations,
        held_out: np.ndarray,
        arguments: GrpoArguments,
    ) -> None:
        self.run, self.data, self.held_out, self.arguments = run, data, held_out, arguments
        self.frames = dev_frames(held_out, arguments.dev_frames)
        self._episodes = [data.episode(int(frame)).id for frame in self.frames]
        lines = {int(line["step"]): line for line in run.metrics() if "dev_score" in line}
        base = {step: float(line["dev_score"]) for step, line in lines.items() if step == 0}
        found = {step: float(line["dev_score"]) for step, line in lines.items() if step > 0}
        candidate = run.candidate_record()
        self.scores = {**base, **agreeing(found, candidate)}
        self.by_episode = {s: lines[s]["dev_episodes"] for s in self.scores.keys() & lines.keys()}
        if self.scores.keys() - {0}:
            self.by_episode[self.best_step] = candidate["dev_episodes"]
        self.is_cut_short: Callable[[], bool] = lambda: False
        self.trainer: GRPOTrainer | None = None
        self.collator: PromptCollator | None = None

    @property
    def episodes(self) -> int:
        """How many held-out episodes are scored."""
        return len(set(self._episodes))

    @property
    def best_step(self) -> int:
        """The first of the trained steps with the highest score."""
        trained = self.scores.keys() - {0}
        return max(trained, key=lambda step: (self.scores[step], -step))

    def on_train_begin(self, args, state, control, **kwargs):
        """Score the base, and keep it as the policy until another one has its place.

        Raises:
            OutputError: of an interrupted run the base's score or policy is gone, or another
                policy has its place.
        """
        if state.global_step == 0:
            self._score(0)
        elif 0 not in self.scores or not (self.run.path / POLICY).is_dir():
            raise OutputError(
                f"{self.run.path}: found no score of step 0, or no {POLICY}/, expected both: the "
                "base that the steps are compared with; add --overwrite to train anew"
            )
        elif (steps := self.run.policy_record().get("steps")) != 0:
            raise OutputError(
                f"{self.run.path / POLICY}: steps: found {steps}, expected 0, the base that the "
                "steps are compared with; add --overwrite to train anew"
            )

    def on_step_end(self, args, state, control, **kwargs):
        """Score every `dev_every` steps."""
        if state.global_step % self.arguments.dev_every == 0:
            self._score(state.global_step)

    def on_train_end(self, args, state, control, **kwargs):
        """Score what came out; where a signal cut it short, that is no end."""
        if self.is_cut_short():
            return  # else an interrupted run would have a candidate more than one in one piece
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
        figures = {**score.record(), "dev_episodes": self._means(score)}
        self.run.append(step=step, **figures)
        if score.score <= self.scores.get(step, -math.inf):
            return  # of this step the policy of before an interruption is kept
        self.scores[step], self.by_episode[step] = score.score, figures["dev_episodes"]
        if step == 0 or self.best_step == step:
            save_policy(
                self.run,
                self.trainer,
                self.collator.processor,
                self.data,
                {
                    "kind": "grpo",
                    "base": self.arguments.base,
                    "steps": step,
                    "think": self.arguments.think,
                    "rewards": dict(score.weights),
                    **figures,
                },
                self.held_out,
                CANDIDATE if step else POLICY,
            )

    def _means(self, score: DevScore) -> list[float]:
        """Mean score of each held-out episode, in the order of their frames."""
        scores: dict[str, list[float]] = {}
        for episode, one in zip(self._episodes, score.values, strict=True):
            scores.setdefault(episode, []).append(one)
        return [float(np.mean(of)) for of in scores.values()]


def agreeing(scores: Mapping[int, float], kept: Mapping[str, Any]) -> dict[int, float]:
    """The scores of which the candidate that is there is the best.

    A kill may lose the score of a policy that is there, behind the last checkpoint, or the policy
    of a score that is written down.

    Args:
        scores: of trained steps before an interruption, by step.
        kept: `roboalign.json` of the candidate that is there; empty without one.
    """
    if "dev_score" not in kept:
        return {}
    step, best = int(kept["steps"]), float(kept["dev_score"])
    less = {at: score for at, score in scores.items() if (score, -at) < (best, -step)}
    return dict(sorted({**less, step: best}.items()))

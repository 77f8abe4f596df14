"""Stage 2 of RoboAlign: GRPO on recorded data, rewarded by format and by prefix accuracy.

Rollouts are sampled without the decoding grammar: keeping the format is part of what is rewarded.
At this size a higher sampled reward does not mean a better greedy policy, so held-out frames
decide which step is kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from roboalign_policy.models.loading import count_fast_tokens, load_mllm
from roboalign_training.arguments import (
    ConfigError,
    RunArguments,
    Stopped,
    parse_arguments,
    require,
    run_main,
)
from roboalign_training.collate import PromptCollator
from roboalign_training.demonstrations import (
    Demonstrations,
    check_instructions,
    load_demonstrations,
)
from roboalign_training.dev_score import DevScore, dev_frames, score_frames
from roboalign_training.mixture import grpo_dataset, split_episodes
from roboalign_training.rewards import format_reward, prefix_accuracy_reward
from roboalign_training.run_callback import RunCallback, is_quiet, stop_on_signal
from roboalign_training.run_layout import POLICY
from roboalign_training.run_record import RunFolder, save_policy, write_json

KIND = "grpo"
REWARDS = (format_reward, prefix_accuracy_reward)
REWARD_WEIGHTS = [0.5, 0.5]
"""r = (r_f + r_a) / 2, Source: RoboAlign (arXiv 2603.21341), Eq. 2."""


@dataclass
class GrpoArguments(RunArguments):
    """Which frames are prompts, and when the model is scored."""

    base: str = field(
        default="out/sft/policy", metadata={"help": "Folder of the SFT policy to start from."}
    )
    samples: int = field(
        default=128,
        metadata={"help": "Number of prompts: frames drawn from the training episodes."},
    )
    think: bool = field(
        default=True, metadata={"help": "Whether the prompts ask for a thought before the answer."}
    )
    dev_every: int = field(
        default=5, metadata={"help": "Optimiser steps between two scorings on held-out frames."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require("samples", self.samples, self.samples >= 1, "at least 1")
        require("dev_every", self.dev_every, self.dev_every >= 1, "at least 1")


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
        self.scores = {int(line["step"]): float(line["dev_score"]) for line in scored}
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
        )
        self.scores[step] = score.score
        self.run.append(step=step, **score.record())
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
            "kind": KIND,
            "base": self.arguments.base,
            "steps": step,
            "think": self.arguments.think,
            **score.record(),
        }


def train(argv: Sequence[str]) -> Path:
    """Runs GRPO.

    Args:
        argv: the command line, e.g. ["--config", "grpo.yaml", "--base", "out/sft/policy"].

    Returns:
        The folder of the policy that scored best on the held-out frames.

    Raises:
        ConfigError: a configuration that cannot be run.
        DataError: bags or a data set that cannot be read.
        Stopped: the run was asked to stop; it can be resumed.
    """
    arguments, training = parse_arguments(KIND, (GrpoArguments, GRPOConfig), argv)
    run = RunFolder(training.output_dir)
    checkpoint, elapsed_s = run.start(arguments.resume)
    run.append(stage="preparing", step=0, total_steps=max(training.max_steps, 0))

    data = load_demonstrations(
        arguments.dataset or run.path / "data", arguments.bags, arguments.contract
    )
    train_frames, held_out = split_episodes(data, arguments.held_out_episodes, training.seed)
    check_base(arguments.base, data)
    rng = np.random.default_rng(training.seed)
    require(
        "samples",
        arguments.samples,
        arguments.samples <= len(train_frames),
        f"at most {len(train_frames)}",
    )
    batch = training.generation_batch_size // training.num_generations
    require(
        "samples",
        arguments.samples,
        arguments.samples >= batch,
        f"at least {batch}, the prompts of one batch of generations "
        "(generation_batch_size / num_generations)",
    )
    prompts = np.sort(rng.choice(train_frames, size=arguments.samples, replace=False))

    mllm = load_mllm(arguments.base)
    check_instructions(data, mllm.tokenizer.get_added_vocab())
    present, wanted = count_fast_tokens(mllm.tokenizer), data.fast.vocab_size
    found = f"{arguments.base} with {present} FAST tokens"
    require("base", found, present == wanted, f"the {wanted} of {data.folder}: run SFT first")
    training.reward_weights = list(REWARD_WEIGHTS)
    training.disable_tqdm = True  # RunCallback shows progress
    run.write_config(
        KIND, {"grpo": arguments, "trainer": training}, data.hashes, samples=arguments.samples
    )

    with stop_on_signal() as stop:
        clock = RunCallback(
            run,
            stop,
            max_seconds=arguments.max_seconds,
            save_minutes=arguments.save_minutes,
            elapsed_before_s=elapsed_s,
            quiet=is_quiet(),
        )
        best = KeepBest(run, data, held_out, arguments)
        trainer = GRPOTrainer(
            model=mllm.model,
            reward_funcs=list(REWARDS),
            args=training,
            train_dataset=grpo_dataset(data, prompts, arguments.think),
            processing_class=mllm.processor,
            callbacks=[clock, best],
        )
        trainer.remove_callback(PrinterCallback)
        best.trainer, best.collator = trainer, PromptCollator(mllm.processor)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if clock.ended_by == "signal":
        raise Stopped(
            f"after step {trainer.state.global_step}; go on with --resume true ({run.path})"
        )

    policy, seconds = run.path / POLICY, round(clock.elapsed_s, 3)
    logged = [line["reward"] for line in run.metrics() if "reward" in line]
    result = {
        "kind": KIND,
        "base": arguments.base,
        "samples": arguments.samples,
        "steps": trainer.state.global_step,
        "best_step": best.best_step,
        "dev_scores": best.scores,
        "reward": logged[-1] if logged else None,
        "ended_by": clock.ended_by,
        "seconds": seconds,
        "policy": str(policy),
    }
    write_json(run.path / "result.json", result)
    run.append(
        stage="finished",
        step=trainer.state.global_step,
        elapsed_s=seconds,
        best_step=best.best_step,
    )
    return policy


def check_base(base: str, data: Demonstrations) -> None:
    """Refuses a base trained with other tokens than the data set's: they mean other motions.

    Raises:
        ConfigError: when the base is no policy folder or the hashes differ.
    """
    path = Path(base, "roboalign.json")
    if not path.is_file():
        raise ConfigError(
            f"base: found {base!r}, expected a policy folder of roboalign sft ({path} is missing)"
        )
    hashes = json.loads(path.read_text(encoding="utf-8"))["hashes"]
    for name in ("tokenizer", "stats", "contract"):
        if hashes[name] != data.hashes[name]:
            raise ConfigError(
                f"base: {path}: hash of the {name}: found {hashes[name][:12]}, expected "
                f"{data.hashes[name][:12]} as in {data.folder}: SFT and GRPO need the same {name}"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_main(train, argv)


if __name__ == "__main__":
    sys.exit(main())

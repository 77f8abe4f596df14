"""Stage 1 of RoboAlign: SFT of an MLLM on actions, reasoned actions and grounding questions.

Where this deviates from the paper (docs/training.md says why): reasoning texts come from the
demonstration's own motion instead of a GRPO-trained model, and the language part is questions
about rendered scenes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PrinterCallback
from trl import SFTConfig, SFTTrainer

from roboalign_policy.models.loading import extend_vocabulary, load_mllm
from roboalign_training.arguments import RunArguments, Stopped, parse_arguments, require, run_main
from roboalign_training.collate import PromptCollator
from roboalign_training.demonstrations import check_instructions, load_demonstrations
from roboalign_training.dev_score import dev_frames, score_frames
from roboalign_training.mixture import (
    Mixture,
    QuestionSource,
    Weights,
    sft_dataset,
    split_episodes,
)
from roboalign_training.muon import MuonAdamW
from roboalign_training.run_callback import RunCallback, is_quiet, stop_on_signal
from roboalign_training.run_record import RunFolder, save_policy, write_json

KIND = "sft"


@dataclass
class SftArguments(RunArguments):
    """What is learnt from what."""

    weight_act: float = field(
        default=0.05, metadata={"help": "Share of action samples without a thought."}
    )
    weight_think: float = field(
        default=0.7, metadata={"help": "Share of action samples after a thought."}
    )
    weight_scene: float = field(
        default=0.15, metadata={"help": "Share of questions about rendered scenes."}
    )
    weight_grasp: float = field(
        default=0.1, metadata={"help": "Share of questions about the demonstration's grasp."}
    )
    scene_questions: int = field(
        default=4096, metadata={"help": "How many different scene questions there are."}
    )
    freeze_vision: bool = field(
        default=True, metadata={"help": "Keep the vision encoder as it is."}
    )
    muon_learning_rate: float = field(
        default=2e-3,
        metadata={"help": "Learning rate of Muon on the weight matrices; 0: AdamW for all."},
    )
    max_answer_tokens: int = field(
        default=160, metadata={"help": "Longest answer when the result is scored, tokens."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require("scene_questions", self.scene_questions, self.scene_questions >= 0, "at least 0")
        require(
            "muon_learning_rate",
            self.muon_learning_rate,
            0 <= self.muon_learning_rate < 1,
            "0 or a learning rate below 1",
        )
        require(
            "max_answer_tokens", self.max_answer_tokens, self.max_answer_tokens >= 1, "at least 1"
        )
        self.weights()

    def weights(self) -> Weights:
        """The shares of the mixture."""
        return Weights(self.weight_act, self.weight_think, self.weight_scene, self.weight_grasp)


def train(argv: Sequence[str]) -> Path:
    """Runs SFT.

    Args:
        argv: the command line, e.g. ["--config", "sft.yaml", "--dataset", "out/data"].

    Returns:
        The folder of the finished policy.

    Raises:
        ConfigError: a configuration that cannot be run.
        DataError: bags or a data set that cannot be read.
        Stopped: the run was asked to stop; it can be resumed.
    """
    arguments, training = parse_arguments(KIND, (SftArguments, SFTConfig), argv)
    require(
        "max_steps",
        training.max_steps,
        training.max_steps > 0,
        "the number of optimiser steps, above 0",
    )
    run = RunFolder(training.output_dir)
    checkpoint, elapsed_s = run.start(arguments.resume)
    run.append(stage="preparing", step=0, total_steps=training.max_steps)

    data = load_demonstrations(
        arguments.dataset or run.path / "data", arguments.bags, arguments.contract
    )
    train_frames, held_out = split_episodes(data, arguments.held_out_episodes, training.seed)
    weights = arguments.weights()
    batch = (
        training.per_device_train_batch_size
        * training.gradient_accumulation_steps
        * training.world_size
    )
    samples = training.max_steps * batch
    questions = (
        scene_questions(training.seed, arguments.scene_questions) if weights.scene else None
    )
    mixture = Mixture(
        data, train_frames, samples, weights=weights, seed=training.seed, questions=questions
    )

    mllm = load_mllm(arguments.base)
    check_instructions(data, mllm.tokenizer.get_added_vocab())
    extend_vocabulary(mllm, data.fast.vocab_size)
    if arguments.freeze_vision:
        mllm.model.model.visual.requires_grad_(False)
    facts = {"samples": samples, "mixture": mixture.counts(), "train_frames": len(train_frames)}
    run.write_config(KIND, {"sft": arguments, "trainer": training}, data.hashes, **facts)

    training.remove_unused_columns = False  # the columns are the collator's, not the model's
    training.disable_tqdm = True  # RunCallback shows progress
    collator = PromptCollator(mllm.processor, training.max_length)
    with stop_on_signal() as stop:
        callback = RunCallback(
            run,
            stop,
            max_seconds=arguments.max_seconds,
            save_minutes=arguments.save_minutes,
            elapsed_before_s=elapsed_s,
            quiet=is_quiet(),
        )
        trainer = SFTTrainer(
            model=mllm.model,
            args=training,
            data_collator=collator,
            train_dataset=sft_dataset(mixture),
            processing_class=mllm.processor,
            callbacks=[callback],
            optimizers=(make_optimizer(mllm.model, arguments, training), None),
        )
        trainer.remove_callback(PrinterCallback)
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if callback.ended_by == "signal":
        raise Stopped(
            f"after step {trainer.state.global_step}; go on with --resume true ({run.path})"
        )

    scored = dev_frames(held_out, arguments.dev_frames)
    score = score_frames(
        mllm.model,
        collator,
        data,
        scored,
        think=weights.think > 0,
        max_new_tokens=arguments.max_answer_tokens,
    )
    steps = trainer.state.global_step
    facts = {
        "kind": KIND,
        "base": arguments.base,
        "steps": steps,
        "samples": steps * batch,
        **score.record(),
    }
    policy = save_policy(run, trainer, mllm.processor, data, facts, held_out)
    seconds = round(callback.elapsed_s, 3)
    result = {
        **facts,
        "ended_by": callback.ended_by,
        "seconds": seconds,
        "loss": outcome.training_loss,
    }
    write_json(run.path / "result.json", {**result, "policy": str(policy)})
    run.append(
        stage="finished",
        step=steps,
        total_steps=training.max_steps,
        elapsed_s=seconds,
        **score.record(),
    )
    return policy


def make_optimizer(model, arguments: SftArguments, training: SFTConfig) -> MuonAdamW | None:
    """Muon with AdamW where it is asked for, else None: the trainer makes its own."""
    if not arguments.muon_learning_rate:
        return None
    return MuonAdamW(
        model,
        muon_learning_rate=arguments.muon_learning_rate,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        betas=(training.adam_beta1, training.adam_beta2),
    )


def scene_questions(seed: int, count: int) -> QuestionSource:
    """Questions about rendered scenes; imported here since a run without them needs no MuJoCo."""
    from roboalign_training.grounding_source import GroundingSource

    return GroundingSource(seed, count)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return run_main(train, argv)


if __name__ == "__main__":
    sys.exit(main())

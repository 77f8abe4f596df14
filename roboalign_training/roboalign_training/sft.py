"""Stage 1 of RoboAlign: SFT of an MLLM on actions, reasoned actions and grounding questions.

Where this deviates from the paper (docs/training.md says why): reasoning texts come from the
demonstration's own motion instead of a GRPO-trained model, and the language part is questions
about rendered scenes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PrinterCallback
from transformers.trainer_utils import IntervalStrategy
from trl import SFTConfig, SFTTrainer

from roboalign_policy.models.loading import base_family, extend_vocabulary, load_mllm
from roboalign_training.learning.action_source import grasp_frames
from roboalign_training.learning.answer_positions import score_answers_only
from roboalign_training.learning.arguments import SftArguments, Stopped
from roboalign_training.learning.augmentation import make_augmentation
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import (
    Demonstrations,
    check_instructions,
    dataset_hashes,
    load_demonstrations,
)
from roboalign_training.learning.dev_score import dev_frames, score_frames
from roboalign_training.learning.mixture import (
    sft_dataset,
    split_episodes,
    training_mixture,
    training_row,
    validation_mixture,
)
from roboalign_training.learning.run_callback import (
    EpochCallback,
    RunCallback,
    is_quiet,
    stop_on_signal,
)
from roboalign_training.learning.run_record import require_finite, save_policy, tame
from roboalign_training.learning.source import SourceInputs
from roboalign_training.learning.sources import check_sources
from roboalign_training.learning.training_options import parse_arguments
from roboalign_training.learning.training_run import Outcome, TrainingRun, opened
from roboalign_training.pretraining.muon import MuonAdamW
from roboalign_training.shared.library_log import library_log
from roboalign_training.shared.outputs import Found
from roboalign_training.thoughts.style import PLACE

KIND = "sft"


def train(argv: Sequence[str]) -> Path:
    """Run SFT and return the folder of the finished policy; see `run`."""
    return run(argv).policy


def run(argv: Sequence[str]) -> Outcome:
    """Run SFT, go on with it, or find it finished.

    Args:
        argv: the command line, e.g. ["--config", "sft.yaml", "--dataset", "out/data"].

    Raises:
        ConfigError: a configuration that cannot be run.
        OutputError: another result is in the run's folder.
        DataError: bags or a data set that cannot be read.
        Stopped: the run was asked to stop; the same command goes on.
        Diverged: the weights are not finite any more.
    """
    with library_log() as log, opened(KIND, *_parsed(argv), log) as opened_run:
        if opened_run.found is Found.FINISHED:
            result = opened_run.folder.result()
            return opened_run.kept(dataset_hashes(opened_run.dataset), result_lines(result))
        return _train(opened_run, opened_run.arguments, opened_run.training)


def _parsed(argv: Sequence[str]) -> tuple[SftArguments, SFTConfig]:
    arguments, training = parse_arguments(KIND, (SftArguments, SFTConfig), argv)
    check_sources(arguments.shares())
    return arguments, training


def _train(run: TrainingRun, arguments: SftArguments, training: SFTConfig) -> Outcome:
    base_family(arguments.base)  # before bags change the data set
    augmentation = make_augmentation(arguments, training)
    data = load_demonstrations(run.dataset, arguments.bags, arguments.contract)
    run.loaded(data)
    data = _styled(data, arguments.thought)
    train_frames, held_out = split_episodes(
        data, arguments.held_out_of(len(data.episodes)), training.seed
    )
    shares = arguments.shares()
    if shares["grasp"].weight:
        shares = arguments.shares(grasps=bool(len(grasp_frames(data, train_frames))))
    batch = (
        training.per_device_train_batch_size
        * training.gradient_accumulation_steps
        * training.world_size
    )
    samples = training.max_steps * batch
    mixture = training_mixture(shares, SourceInputs(data, train_frames, training.seed), samples)
    scored = dev_frames(held_out, arguments.dev_frames)
    validation = validation_mixture(shares, SourceInputs(data, scored, training.seed))
    if validation is None and training.eval_strategy != IntervalStrategy.NO:
        print(f"{KIND}: no actions are learnt, so there is no validation loss", flush=True)
        training.eval_strategy = IntervalStrategy.NO

    mllm = load_mllm(arguments.base)
    check_instructions(data, mllm.tokenizer.get_added_vocab())
    extend_vocabulary(mllm, data.fast.vocab_size)
    if arguments.freeze_vision:
        mllm.model.model.visual.requires_grad_(False)
    collator = PromptCollator(mllm.processor, training.max_length)
    collator([training_row(mixture[index]) for index in range(min(len(mixture), 8))])
    facts = {
        "samples": samples,
        "mixture": mixture.counts(),
        "sources": {name: dict(source.origin) for name, source in mixture.sources.items()},
        "train_frames": len(train_frames),
    }
    checkpoint, elapsed_s = run.begin(data, **facts)

    training.remove_unused_columns = False  # the columns are the collator's, not the model's
    training.disable_tqdm = True  # RunCallback shows progress
    with stop_on_signal() as stop:
        callback = RunCallback(
            run.folder,
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
            train_dataset=sft_dataset(mixture, augmentation),
            eval_dataset=sft_dataset(validation) if validation else None,
            processing_class=mllm.processor,
            callbacks=[callback, *([EpochCallback(augmentation)] if augmentation else [])],
            optimizers=(make_optimizer(mllm.model, arguments, training), None),
        )
        score_answers_only(mllm.model)
        trainer.remove_callback(PrinterCallback)
        tame(trainer, run.folder)
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    steps = trainer.state.global_step
    if callback.ended_by == "signal":
        raise Stopped(f"after step {steps}; the same command goes on ({run.folder.path})")

    require_finite(mllm.model, steps, training.learning_rate)
    print(f"{KIND}: scoring {len(scored)} held-out frames", flush=True)
    score = score_frames(
        mllm.model,
        collator,
        data,
        scored,
        think=shares["think"].weight > 0,
        max_new_tokens=arguments.max_answer_tokens,
    ).record()
    facts = {
        "kind": KIND, "base": arguments.base, "steps": steps, "samples": steps * batch, **score
    }  # fmt: skip
    save_policy(run.folder, trainer, mllm.processor, data, facts, held_out)
    seconds = round(callback.elapsed_s, 3)
    run.folder.append(
        stage="finished", step=steps, total_steps=training.max_steps, elapsed_s=seconds, **score
    )
    ends = {"ended_by": callback.ended_by, "seconds": seconds, "loss": outcome.training_loss}
    result = {**facts, **ends}
    return run.finish(result, result_lines(result))


def _styled(data: Demonstrations, style: str) -> Demonstrations:
    """The demonstrations with thoughts of a style; says which of them it can say nothing about."""
    data = replace(data, thought_style=style)
    if style != PLACE and (unnamed := data.unnamed_episodes()):
        shown = ", ".join(unnamed[:3]) + (", ..." if len(unnamed) > 3 else "")
        print(
            f"{KIND}: {len(unnamed)} of {len(data.episodes)} episodes: the gripper tells of "
            f"another number of sub-goals than the instruction, so their thoughts name the place "
            f"alone ({shown})",
            flush=True,
        )
    return data


def result_lines(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What to tell of a finished run."""
    return (
        f"{KIND}: {result['steps']:,} steps, {result['samples']:,} samples in "
        f"{result['seconds']:.0f} s (ended by {result['ended_by']}); loss {result['loss']:.3f}",
        f"{KIND}: {result['dev_frames']} held-out frames: format {result['dev_format']:.3f}, "
        f"prefix accuracy {result['dev_prefix_accuracy']:.3f}",
    )


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


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m roboalign_training.sft`; returns the exit status."""
    from roboalign_training.learning.training_cli import run_main

    return run_main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())

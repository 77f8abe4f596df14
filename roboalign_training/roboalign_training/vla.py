"""Stage 3 of RoboAlign: a flow-matching action head on the aligned model.

By default the model is frozen: its hidden states are computed once and kept on disk, and only the
head is trained (`learning.head_inputs` says when it is otherwise). Where this deviates from the
paper: the layer is a parameter (its 18 of 28 is the default), the head also reads the thought, and
some of the thoughts in training are the model's own.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from roboalign_policy.core.policy.accept import Bounds
from roboalign_policy.core.policy.prompt import PROMPT_VERSION
from roboalign_policy.core.policy.state_vector import state_bounds
from roboalign_policy.models.checkpoint import (
    check_same_robot,
    model_settings,
    model_weights,
    read_checkpoint,
)
from roboalign_policy.models.flow_head.config import PROMPT, FlowHeadConfig, RobotShape
from roboalign_policy.models.flow_head.network import FlowHead
from roboalign_policy.models.hidden_states import depth
from roboalign_policy.models.loading import MLLM, load_mllm
from roboalign_training.learning.action_error import action_error
from roboalign_training.learning.arguments import (
    ConfigError,
    Diverged,
    Stopped,
    VlaArguments,
    require,
)
from roboalign_training.learning.augmentation import Augmentation, make_augmentation
from roboalign_training.learning.base_check import check_base, in_style_of
from roboalign_training.learning.demonstrations import (
    Demonstrations,
    check_instructions,
    dataset_hashes,
    load_demonstrations,
    load_state_stats,
)
from roboalign_training.learning.dev_score import dev_frames
from roboalign_training.learning.features import FeaturePlan
from roboalign_training.learning.flow_training import MovingAverage
from roboalign_training.learning.head_inputs import KeptInputs, LiveInputs, flow_samples
from roboalign_training.learning.head_room import check_room
from roboalign_training.learning.hidden_reader import HiddenReader, own_frames
from roboalign_training.learning.live_training import LiveTrainer
from roboalign_training.learning.mixture import split_episodes
from roboalign_training.learning.own_thoughts import thought_plan
from roboalign_training.learning.run_callback import (
    EpochCallback,
    RunCallback,
    is_quiet,
    stop_on_signal,
)
from roboalign_training.learning.run_record import tame
from roboalign_training.learning.training_options import parse_arguments
from roboalign_training.learning.training_run import Outcome, TrainingRun, opened
from roboalign_training.learning.vla_policy import save_vla
from roboalign_training.shared.library_log import library_log
from roboalign_training.shared.outputs import Found
from roboalign_training.shared.run_layout import FEATURES

KIND = "vla"


def train(argv: Sequence[str]) -> Path:
    """Train a head and return the folder of the finished policy; see `run`."""
    return run(argv).policy


def run(argv: Sequence[str]) -> Outcome:
    """Train a head, go on with it, or find it finished.

    Args:
        argv: the command line, e.g. ["--config", "vla.yaml", "--base", "out/grpo/policy"].

    Raises:
        ConfigError: a configuration that cannot be run.
        OutputError: another result is in the run's folder, or the disk is too small.
        DataError: bags or a data set that cannot be read.
        Stopped: the run was asked to stop; the same command goes on.
        Diverged: the head's actions are not finite any more.
    """
    with library_log() as log, opened(KIND, *_parsed(argv), log) as opened_run:
        if opened_run.found is Found.FINISHED:
            result = opened_run.folder.result()
            return opened_run.kept(dataset_hashes(opened_run.dataset), result_lines(result))
        return _train(opened_run, opened_run.arguments, opened_run.training)


def _parsed(argv: Sequence[str]) -> tuple[VlaArguments, TrainingArguments]:
    arguments, training = parse_arguments(KIND, (VlaArguments, TrainingArguments), argv)
    spares = getattr(training, "activation_checkpointing", False) or getattr(
        training, "gradient_checkpointing", False
    )  # one is the newer name of the other
    require(
        "gradient_checkpointing", spares, arguments.trains_backbone or not spares,
        f"false: with backbone {arguments.backbone} no gradients go through the model",
    )  # fmt: skip
    return arguments, training


def _train(run: TrainingRun, arguments: VlaArguments, training: TrainingArguments) -> Outcome:
    # Before anything is loaded, and before bags are converted.
    augmentation = make_augmentation(arguments, training)
    check_base(arguments.base, None)
    data = load_demonstrations(run.dataset, arguments.bags, arguments.contract)
    run.loaded(data)
    train_frames, held_out = split_episodes(
        data, arguments.held_out_of(len(data.episodes)), training.seed
    )
    check_base(arguments.base, data)
    data = in_style_of(data, arguments.base)
    base = read_checkpoint(arguments.base)
    check_same_robot(base.folder, base.contract, data.contract, base.images)
    require(
        "given_prefix", arguments.given_prefix, arguments.given_prefix < data.horizon,
        f"at most {data.horizon - 1}, less than a chunk's {data.horizon} actions",
    )  # fmt: skip
    frames = _drawn(train_frames, arguments.samples, training.seed)
    weights, settings = model_weights(base.folder), model_settings(base.folder)
    mllm = load_mllm(arguments.base)
    check_instructions(data, mllm.tokenizer.get_added_vocab())
    config = head_config(arguments, data, mllm)
    check_room(config, training.device)
    layer = config.layer_of(depth(mllm.model))
    require(
        "layer", arguments.layer, layer >= 1 or not arguments.trains_backbone,
        f"at least 1 layer with backbone {arguments.backbone}: at 0 there is nothing to train",
    )  # fmt: skip
    scored = dev_frames(held_out, arguments.dev_frames)
    inputs = _inputs(run, arguments, training.seed, mllm, weights, data, frames, scored, config,
                     layer, augmentation)  # fmt: skip
    # What is in the run's own folder goes with it where --overwrite gave it up.
    inputs.check(given_up=run.found is Found.NOTHING and not arguments.features)
    facts = {"samples": len(frames), "head": config.to_dict(), "layer": layer}
    checkpoint, elapsed_s = run.begin(data, **facts)

    with stop_on_signal() as stop:
        if not inputs.read(stop):
            place = _features_folder(run, arguments)
            raise Stopped(f"while hidden states are read; the same command goes on ({place})")
        torch.manual_seed(training.seed)
        model = inputs.model(FlowHead(config), arguments.noise_draws, arguments.given_prefix)
        callback = RunCallback(
            run.folder,
            stop,
            max_seconds=arguments.max_seconds,
            save_minutes=arguments.save_minutes,
            elapsed_before_s=elapsed_s,
            quiet=is_quiet(),
        )
        training.remove_unused_columns = False
        training.disable_tqdm = True
        callbacks = [MovingAverage(model, arguments.ema_decay), callback]
        callbacks += [EpochCallback(augmentation)] if augmentation else []
        make = Trainer
        if arguments.trains_backbone:
            make = partial(LiveTrainer, backbone_rate=arguments.backbone_rate)
        trainer = make(
            model=model,
            args=training,
            data_collator=inputs.collate,
            train_dataset=inputs.samples(),
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        tame(trainer, run.folder)
        outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    steps = trainer.state.global_step
    if callback.ended_by == "signal":
        raise Stopped(f"after step {steps}; the same command goes on ({run.folder.path})")

    head, held = model.average, inputs.held_out(model)
    score = action_error(
        head,
        flow_samples(data, held),
        np.stack([data.chunk(int(frame)) for frame in held.frames]),
        data.stats.denormalise,
        Bounds.of(data.contract),
        [data.episode(int(frame)).start for frame in held.frames],
        training.device,
    ).record()
    if not np.isfinite(score["dev_action_error"]):
        raise Diverged(
            f"mean action error {score['dev_action_error']} after step {steps}, learning_rate "
            f"{training.learning_rate:g}; no policy was written"
        )
    facts = {
        "kind": KIND, "base": arguments.base, "backbone": arguments.backbone, "steps": steps,
        "samples": steps * training.train_batch_size * training.gradient_accumulation_steps,
    }  # fmt: skip
    save_vla(
        run.folder, Path(arguments.base), head, data,
        {**facts, "dev_action_error": score["dev_action_error"]}, held_out, arguments.keep_fast,
        weights, settings, mllm.model if arguments.trains_backbone else None,
    )  # fmt: skip
    seconds = round(callback.elapsed_s, 3)
    run.folder.append(
        stage="finished", step=steps, total_steps=training.max_steps, elapsed_s=seconds,
        dev_action_error=score["dev_action_error"],
    )  # fmt: skip
    ends = {"ended_by": callback.ended_by, "seconds": seconds, "loss": outcome.training_loss}
    result = {**facts, **score, **ends, "parameters": sum(p.numel() for p in head.parameters())}
    return run.finish(result, result_lines(result))


def result_lines(result: Mapping[str, Any]) -> tuple[str, ...]:
    """What to tell of a finished run."""
    return (
        f"{KIND}: {result['steps']:,} steps, {result['samples']:,} samples in "
        f"{result['seconds']:.0f} s (ended by {result['ended_by']}); loss {result['loss']:.3f}",
        f"{KIND}: {result['dev_frames']} frames of {result['dev_episodes']} held-out episodes: "
        f"mean action error {100 * result['dev_action_error']:.2f} % of the limits' range"
        f"{_refused(result)}",
    )


def _refused(result: Mapping[str, Any]) -> str:
    """How many of the held-out chunks no robot would be given; results of before do not tell."""
    faults = result.get("dev_refused") or {}
    if not faults:
        return ""
    why = ", ".join(f"{count} {kind}" for kind, count in faults.items())
    return f"; {sum(faults.values())} of {result['dev_frames']} chunks would not be driven ({why})"


def head_config(arguments: VlaArguments, data: Demonstrations, mllm: MLLM) -> FlowHeadConfig:
    """The head that is asked for.

    Raises:
        ConfigError: it cannot be.
    """
    low, _ = state_bounds(data.contract, load_state_stats(data.folder))
    robot = RobotShape(data.contract.name, len(low), data.dims)
    width = int(mllm.model.get_input_embeddings().weight.shape[1])
    given = {"replan_after_steps": max(1, data.horizon // 2), **arguments.head_options()}
    make = FlowHeadConfig.large if arguments.is_large(width) else FlowHeadConfig
    try:
        config = make((robot,), data.horizon, width, **given)
        config.layer_of(depth(mllm.model))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return config


def _inputs(
    run: TrainingRun,
    arguments: VlaArguments,
    seed: int,
    mllm: MLLM,
    weights: Mapping[str, str],
    data: Demonstrations,
    frames: np.ndarray,
    scored: np.ndarray,
    config: FlowHeadConfig,
    layer: int,
    augmentation: Augmentation | None,
) -> KeptInputs | LiveInputs:
    """Where the hidden states come from; nothing is read yet."""
    of_model = {
        "model": dict(weights),
        "dataset": data.hashes["dataset"],
        "contract": data.hashes["contract"],
        "prompt_version": PROMPT_VERSION,
        "condition": config.condition,
        "max_think_tokens": arguments.max_think_tokens,
    }
    key = {**of_model, "layer": layer, "own_thoughts": arguments.own_thoughts}
    place = _features_folder(run, arguments)
    own = own_frames(frames, arguments.own_thoughts, seed)
    reader = HiddenReader(
        mllm, data, config.condition, layer, arguments.max_think_tokens, arguments.read_batch
    )
    # The policy drives with thoughts of its own, so that is what is scored.
    kept = FeaturePlan(place / "held_out", key, scored, frozenset(scored.tolist()))
    if not augmentation and not arguments.trains_backbone:
        training = FeaturePlan(place / "training", key, frames, frozenset(own))
        return KeptInputs(data, reader, training, kept)
    thinks = own if config.condition != PROMPT else ()
    return LiveInputs(
        data, mllm, reader, frames, scored, layer, arguments, augmentation,
        thought_plan(place / "thoughts", of_model, thinks),
        None if arguments.trains_backbone else kept,
    )  # fmt: skip


def _features_folder(run: TrainingRun, arguments: VlaArguments) -> Path:
    return Path(arguments.features or run.folder.path / FEATURES)


def _drawn(frames: np.ndarray, samples: int | None, seed: int) -> np.ndarray:
    """The frames to train on: all, or so many of them drawn at random."""
    if samples is None:
        return frames
    require("samples", samples, samples <= len(frames), f"at most {len(frames)}, all there are")
    return np.sort(np.random.default_rng(seed).choice(frames, size=samples, replace=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m roboalign_training.vla`; returns the exit status."""
    from roboalign_training.learning.training_cli import run_main

    return run_main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Stage 2 of RoboAlign: GRPO on recorded data, rewarded by what `rewards` names.

Rollouts are sampled without the decoding grammar: keeping the format is part of what is rewarded.
At this size a higher sampled reward does not mean a better greedy policy. So the best step on
held-out frames is only a candidate: it is kept where it differs from the base beyond noise, see
`learning.choice`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from roboalign_policy.models.loading import count_fast_tokens, load_mllm
from roboalign_training.evaluate.development import check_development, drive_development
from roboalign_training.learning.arguments import GrpoArguments, Stopped, require
from roboalign_training.learning.augmentation import make_augmentation
from roboalign_training.learning.base_check import check_base, in_style_of
from roboalign_training.learning.choice import DRIVEN, by_driving, by_held_out, choice_of, too_few
from roboalign_training.learning.collate import PromptCollator
from roboalign_training.learning.demonstrations import (
    check_instructions,
    dataset_hashes,
    load_demonstrations,
)
from roboalign_training.learning.keep_best import KeepBest
from roboalign_training.learning.mixture import grpo_dataset, split_episodes
from roboalign_training.learning.rewards import WeightedRewards
from roboalign_training.learning.run_callback import (
    EpochCallback,
    RunCallback,
    is_quiet,
    stop_on_signal,
)
from roboalign_training.learning.run_record import tame, write_json
from roboalign_training.learning.training_options import parse_arguments
from roboalign_training.learning.training_run import Outcome, TrainingRun, opened
from roboalign_training.shared.library_log import library_log
from roboalign_training.shared.outputs import Found, OutputError
from roboalign_training.shared.run_layout import CANDIDATE, TRAINED

KIND = "grpo"


def train(argv: Sequence[str]) -> Path:
    """Run GRPO and return the folder of the best policy; see `run`."""
    return run(argv).policy


def run(argv: Sequence[str]) -> Outcome:
    """Run GRPO, go on with it, or find it finished.

    Args:
        argv: the command line, e.g. ["--config", "grpo.yaml", "--base", "out/sft/policy"].

    Raises:
        ConfigError: a configuration that cannot be run.
        OutputError: another result is in the run's folder.
        DataError: bags or a data set that cannot be read.
        Stopped: the run was asked to stop; the same command goes on.
    """
    with library_log() as log, opened(KIND, *_parsed(argv), log) as opened_run:
        if opened_run.found is Found.FINISHED:
            result = opened_run.folder.result()
            lines = result_lines(result, opened_run.folder.path)
            return opened_run.kept(dataset_hashes(opened_run.dataset), lines)
        return _train(opened_run, opened_run.arguments, opened_run.training)


def _parsed(argv: Sequence[str]) -> tuple[GrpoArguments, GRPOConfig]:
    arguments, training = parse_arguments(KIND, (GrpoArguments, GRPOConfig), argv)
    training.reward_weights = list(arguments.rewards.values())
    return arguments, training


def _train(run: TrainingRun, arguments: GrpoArguments, training: GRPOConfig) -> Outcome:
    # Before anything is loaded, and before bags are converted.
    augmentation = make_augmentation(arguments, training)
    check_base(arguments.base, None)
    if arguments.choose == DRIVEN:
        check_development(Path(arguments.base), arguments)
    data = load_demonstrations(run.dataset, arguments.bags, arguments.contract)
    run.loaded(data)
    train_frames, held_out = split_episodes(
        data, arguments.held_out_of(len(data.episodes)), training.seed
    )
    check_base(arguments.base, data)
    data = in_style_of(data, arguments.base)
    trained = run.folder.trained() if run.found is Found.UNFINISHED else {}
    if trained.get("ends") == _ends(arguments, training):
        run.check(data)
        return _keep(run, arguments, trained)
    _check_undecided(run, trained)
    batch = training.generation_batch_size // training.num_generations
    samples = arguments.samples_of(len(train_frames), batch)
    rng = np.random.default_rng(training.seed)
    prompts = np.sort(rng.choice(train_frames, size=samples, replace=False))

    mllm = load_mllm(arguments.base)
    check_instructions(data, mllm.tokenizer.get_added_vocab())
    present, wanted = count_fast_tokens(mllm.tokenizer), data.fast.vocab_size
    found = f"{arguments.base} with {present} FAST tokens"
    require("base", found, present == wanted, f"the {wanted} of {data.folder}: run SFT first")
    training.disable_tqdm = True  # RunCallback shows progress
    checkpoint, elapsed_s = run.begin(data, samples=samples)

    with stop_on_signal() as stop:
        clock = RunCallback(
            run.folder,
            stop,
            max_seconds=arguments.max_seconds,
            save_minutes=arguments.save_minutes,
            elapsed_before_s=elapsed_s,
            quiet=is_quiet(),
        )
        best = KeepBest(run.folder, data, held_out, arguments)
        best.is_cut_short = lambda: clock.ended_by == "signal"
        if arguments.choose != DRIVEN and (fault := too_few(best.episodes)):
            print(f"{KIND}: the base will be kept: held_out_episodes: {fault}", flush=True)
        trainer = GRPOTrainer(
            model=mllm.model,
            reward_funcs=WeightedRewards(arguments.rewards, data.decoder).functions(),
            args=training,
            train_dataset=grpo_dataset(data, prompts, arguments.think, augmentation),
            processing_class=mllm.processor,
            callbacks=[clock, best, *([EpochCallback(augmentation)] if augmentation else [])],
        )
        trainer.remove_callback(PrinterCallback)
        tame(trainer, run.folder)
        best.trainer, best.collator = trainer, PromptCollator(mllm.processor)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    steps = trainer.state.global_step
    if clock.ended_by == "signal":
        raise Stopped(f"after step {steps}; the same command goes on ({run.folder.path})")

    seconds = round(clock.elapsed_s, 3)
    logged = [line["reward"] for line in run.folder.metrics() if "reward" in line]
    trained = {
        "ends": _ends(arguments, training),
        "held_out": {str(step): best.by_episode[step] for step in (0, best.best_step)},
        "result": {
            "kind": KIND,
            "base": arguments.base,
            "samples": samples,
            "rewards": arguments.rewards,
            "steps": steps,
            "dev_scores": {str(step): best.scores[step] for step in sorted(best.scores)},
            "reward": logged[-1] if logged else None,
            "ended_by": clock.ended_by,
            "seconds": seconds,
        },
    }
    if run.folder.writes:
        write_json(run.folder.path / TRAINED, trained)
    return _keep(run, arguments, trained)


def _ends(arguments: GrpoArguments, training: GRPOConfig) -> list[float | None]:
    """When training ends: a run that has ended with others trains on."""
    return [training.max_steps, training.num_train_epochs, arguments.max_seconds]


def _check_undecided(run: TrainingRun, trained: Mapping[str, Any]) -> None:
    """Refuse to train on where the base is about to lose its place, or has lost it.

    Raises:
        OutputError: the run has chosen its candidate; nothing is lost by ending it as it was.
    """
    if kept := trained.get("choice", {}).get("kept"):
        steps, epochs, seconds = trained["ends"]
        raise OutputError(
            f"{run.folder.path}: training has ended here, and step {kept} was chosen over the "
            "base; nothing was changed: the same command with the ends that it had (max_steps "
            f"{steps}, num_train_epochs {epochs:g}, max_seconds {seconds}) finishes it; or add "
            "--overwrite to train anew"
        )


def _keep(run: TrainingRun, arguments: GrpoArguments, trained: dict[str, Any]) -> Outcome:
    """Decide whether base or candidate is kept, and give it its place; each step once.

    Args:
        run: whose training has ended.
        arguments: how it is decided.
        trained: of `trained.json`.

    Raises:
        Stopped: while episodes were driven; the same command goes on with them.
        ChildFailed: they cannot be driven.
    """
    folder, result = run.folder, trained["result"]
    if not folder.writes:  # of a distributed run the first process decides
        return run.finish(result, ())
    if "choice" in trained:
        choice = choice_of(trained["choice"])
    else:
        step = max(int(step) for step in trained["held_out"])
        scored = len(result["dev_scores"]) - 1
        if arguments.choose == DRIVEN:
            pairs = drive_development(Path(arguments.base), folder.path, arguments)
            choice = by_driving(step, pairs, scored)
        else:
            base, best = (trained["held_out"][at] for at in ("0", str(step)))
            choice = by_held_out(step, base, best, scored)
        write_json(folder.path / TRAINED, {**trained, "choice": choice.record()})
    if choice.kept:
        folder.keep_candidate()
    folder.append(
        stage="finished", step=result["steps"], elapsed_s=result["seconds"], best_step=choice.kept
    )
    result = {**result, "best_step": choice.kept, "choice": choice.record()}
    outcome = run.finish(result, result_lines(result, folder.path))
    folder.drop_trained()
    return outcome


def result_lines(result: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """What to tell of a finished run: what it did, and which policy was kept by which rule."""
    reward = "" if result["reward"] is None else f"; sampled reward {result['reward']:.3f}"
    choice = choice_of(result["choice"])
    is_there = not choice.kept and (folder / CANDIDATE).is_dir()
    left = f"; {CANDIDATE}/ has that step" if is_there else ""
    return (
        f"{KIND}: {result['steps']:,} steps, {result['samples']:,} prompts in "
        f"{result['seconds']:.0f} s (ended by {result['ended_by']}){reward}",
        f"{KIND}: {choice.text(result['base'], result['steps'])}{left}",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `python -m roboalign_training.grpo`; returns the exit status."""
    from roboalign_training.learning.training_cli import run_main

    return run_main(KIND, argv)


if __name__ == "__main__":
    sys.exit(main())

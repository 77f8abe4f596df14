"""Options of an experiment that a stage would refuse: looked at before the first one begins.

The bounds are those of the stages themselves, read from where they stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.fast.fit import MARGIN, least_vocabulary
from roboalign_policy.fast.vocabulary import MAX_CODE
from roboalign_policy.sim import SUITES
from roboalign_training.demo.experiment import BASE, TINY, Arm, Experiment, check_steps
from roboalign_training.demo.stage_keys import prompts_of_a_batch, stage_arguments
from roboalign_training.evaluate.seeds import MOST_SEEDS
from roboalign_training.learning.arguments import GRPO_PROMPTS, GrpoArguments, VlaArguments
from roboalign_training.shared.fields import require
from roboalign_training.shared.outputs import read_record

_LONGEST = 1 + max(task.max_steps for tasks in SUITES.values() for task in tasks)  # frames


def check_options(experiment: Experiment) -> None:
    """Refuse what no data set could make right.

    Raises:
        ValueError: naming option, value and what was expected.
    """
    settings = experiment.settings
    horizon = load_contract(settings.contract).action.horizon
    check_steps("replan_after_steps", settings.replan_after_steps, horizon)
    for arm in experiment.arms.values():  # of another contract than the file's
        check_steps(f"arms.{arm.name}.replan_after_steps", experiment.steps(arm), horizon)
    most = int(MAX_CODE / 2 / (MARGIN * math.sqrt(horizon)))
    expected = f"at most {most}: there are no more different tokens"
    require("scale", settings.scale, settings.scale <= most, expected)
    least = least_vocabulary(horizon, settings.scale)
    require(
        "vocab_size",
        settings.vocab_size,
        settings.vocab_size >= least,
        f"at least {least}: one token for each coefficient with scale {settings.scale:g}",
    )
    for arm in experiment.arms.values():
        if arm.stage != BASE:
            _check_episodes(experiment, arm)
        if arm.stage == "vla":
            _check_layer(experiment, arm)
    for arm, arguments in _grpo_arms(experiment):
        count, seeds = arguments.develop_episodes, f"at most {MOST_SEEDS}, the seeds there are"
        require(experiment.key(arm.name, "develop_episodes"), count, count <= MOST_SEEDS, seeds)
        name, asked = experiment.key(arm.name, "samples"), arguments.samples
        least = prompts_of_a_batch(arm.options)
        expected = f"at least {least}, the prompts of one batch (grpo.yaml)"
        shown = asked if asked is not None else f"none, which is {GRPO_PROMPTS}"
        require(name, shown, (asked or GRPO_PROMPTS) >= least, expected)
        if asked is None:
            continue
        episodes = settings.episodes - arguments.held_out_of(settings.episodes)
        most = episodes * _LONGEST
        require(
            name,
            asked,
            experiment.fewer_prompts or asked <= most,
            f"at most {most}: {episodes} demonstrations to train on have no more frames",
        )


def _check_episodes(experiment: Experiment, arm: Arm) -> None:
    """Some demonstrations are left to train on."""
    episodes = experiment.settings.episodes
    held_out = stage_arguments(arm.stage, arm.options).held_out_episodes
    fits = held_out is None or held_out < episodes
    expected = f"1 to {episodes - 1}: there are {episodes} demonstrations"
    require(experiment.key(arm.name, "held_out_episodes"), held_out, fits, expected)


def _check_layer(experiment: Experiment, arm: Arm) -> None:
    """The model that an action head reads has the layer, where its depth is known already."""
    from roboalign_policy.models.tiny import PACKAGED  # torch takes seconds

    start = arm.start
    while start in experiment.arms:
        start = experiment.arms[start].start
    record = read_record((PACKAGED if start == TINY else Path(start)) / "config.json") or {}
    depth = (record.get("text_config") or record).get("num_hidden_layers")
    layer = cast(VlaArguments, stage_arguments(arm.stage, arm.options)).layer
    if isinstance(depth, int):
        expected = f"at most {depth}, the layers of the model"
        require(experiment.key(arm.name, "layer"), layer, layer <= depth, expected)


def check_prompts(experiment: Experiment, out: Path) -> None:
    """Refuse more prompts of GRPO than there are frames, before SFT takes its time.

    Raises:
        ValueError: naming option, value and what was expected.
        DataError: the data set cannot be read.
    """
    from roboalign_training.learning.demonstrations import load_demonstrations
    from roboalign_training.learning.mixture import split_episodes

    data = load_demonstrations(out / "data")
    for arm, arguments in _grpo_arms(experiment):
        held_out = arguments.held_out_of(len(data.episodes))
        least = prompts_of_a_batch(arm.options)
        name, asked = experiment.key(arm.name, "samples"), arguments.samples
        for seed in arm.seeds:
            frames = len(split_episodes(data, held_out, seed)[0])
            require(
                "episodes", experiment.settings.episodes, frames >= least,
                f"more: their {frames} frames to train on are fewer than the {least} prompts of "
                "one batch of GRPO",
            )  # fmt: skip
            fits = asked is None or experiment.fewer_prompts or asked <= frames
            require(name, asked, fits, f"at most {frames}, the frames there are to train on")


def _grpo_arms(experiment: Experiment) -> Iterator[tuple[Arm, GrpoArguments]]:
    for arm in experiment.arms.values():
        if arm.stage == "grpo":
            yield arm, cast(GrpoArguments, stage_arguments(arm.stage, arm.options))

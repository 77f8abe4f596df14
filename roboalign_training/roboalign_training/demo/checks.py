"""Options of an experiment that a stage would refuse: looked at before the first one begins.

The bounds are those of the stages themselves, read from where they stand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.fast.fit import MARGIN, least_vocabulary
from roboalign_policy.fast.vocabulary import MAX_CODE
from roboalign_policy.sim import SUITES
from roboalign_training.demo.experiment import Arm, Experiment
from roboalign_training.learning.arguments import GrpoArguments
from roboalign_training.shared.fields import require
from roboalign_training.shared.run_layout import packaged_config

CONTRACT = "sim_panda"
_LONGEST = 1 + max(task.max_steps for tasks in SUITES.values() for task in tasks)  # frames


def check_options(experiment: Experiment) -> None:
    """Refuse what no data set could make right.

    Raises:
        ValueError: naming option, value and what was expected.
    """
    settings = experiment.settings
    horizon = load_contract(CONTRACT).action.horizon
    steps = settings.replan_after_steps
    require("replan_after_steps", steps, steps <= horizon, f"0 to {horizon}, the steps of a chunk")
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
    for arm, keys in _grpo_arms(experiment):
        name, asked = experiment.key(arm.name, "samples"), keys.get("samples")
        if asked is None:
            continue
        least = prompts_of_a_batch(keys)
        expected = f"at least {least}, the prompts of one batch (grpo.yaml)"
        require(name, asked, asked >= least, expected)
        episodes = settings.episodes - _held_out(keys, settings.episodes)
        most = episodes * _LONGEST
        require(
            name,
            asked,
            experiment.fewer_prompts or asked <= most,
            f"at most {most}: {episodes} demonstrations to train on have no more frames",
        )


def check_prompts(experiment: Experiment, out: Path) -> None:
    """Refuse more prompts of GRPO than there are frames, before SFT takes its time.

    Raises:
        ValueError: naming option, value and what was expected.
        DataError: the data set cannot be read.
    """
    from roboalign_training.learning.demonstrations import load_demonstrations
    from roboalign_training.learning.mixture import split_episodes

    data = load_demonstrations(out / "data")
    for arm, keys in _grpo_arms(experiment):
        held_out, least = _held_out(keys, len(data.episodes)), prompts_of_a_batch(keys)
        name, asked = experiment.key(arm.name, "samples"), keys.get("samples")
        for seed in arm.seeds:
            frames = len(split_episodes(data, held_out, seed)[0])
            require(
                "episodes", experiment.settings.episodes, frames >= least,
                f"more: their {frames} frames to train on are fewer than the {least} prompts of "
                "one batch of GRPO",
            )  # fmt: skip
            fits = asked is None or experiment.fewer_prompts or asked <= frames
            require(name, asked, fits, f"at most {frames}, the frames there are to train on")


def prompts_of_a_batch(keys: dict[str, Any]) -> int:
    """Prompts of one batch of generations of GRPO with these options."""
    batch = keys["per_device_train_batch_size"] * keys["steps_per_generation"]
    return batch // keys["num_generations"]


def stage_keys(arm: Arm) -> dict[str, Any]:
    """All keys of a trained arm's stage: the packaged ones with the arm's own."""
    packaged = yaml.safe_load(packaged_config(arm.stage).read_text(encoding="utf-8"))
    return {**packaged, **arm.options}


def _grpo_arms(experiment: Experiment) -> Iterator[tuple[Arm, dict[str, Any]]]:
    for arm in experiment.arms.values():
        if arm.stage == "grpo":
            yield arm, stage_keys(arm)


def _held_out(keys: dict[str, Any], episodes: int) -> int:
    asked = keys.get("held_out_episodes")
    return GrpoArguments(dataset="data", held_out_episodes=asked).held_out_of(episodes)

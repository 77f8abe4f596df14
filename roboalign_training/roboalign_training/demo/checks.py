"""Options of the demo that a later stage would refuse: looked at before the first one begins.

The bounds are those of the stages themselves, read from where they stand.
"""

from __future__ import annotations

import math
from pathlib import Path

import yaml

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.fast.fit import MARGIN, least_vocabulary
from roboalign_policy.fast.vocabulary import MAX_CODE
from roboalign_policy.sim import SUITES
from roboalign_training.demo.plan import GRPO_SAMPLES, DemoConfig
from roboalign_training.learning.arguments import GrpoArguments
from roboalign_training.shared.fields import require
from roboalign_training.shared.run_layout import packaged_config

CONTRACT = "sim_panda"
_LONGEST = 1 + max(task.max_steps for tasks in SUITES.values() for task in tasks)  # frames


def check_options(config: DemoConfig) -> None:
    """Refuse what no data set of the demo could make right.

    Raises:
        ValueError: naming option, value and what was expected.
    """
    horizon = load_contract(CONTRACT).action.horizon
    require(
        "replan_after_steps",
        config.replan_after_steps,
        config.replan_after_steps <= horizon,
        f"0 to {horizon}, the steps of a chunk",
    )
    least = least_vocabulary(horizon, config.scale)
    most = int(MAX_CODE / 2 / (MARGIN * math.sqrt(horizon)))
    expected = f"at most {most}: there are no more different tokens"
    require("scale", config.scale, config.scale <= most, expected)
    require(
        "vocab_size",
        config.vocab_size,
        config.vocab_size >= least,
        f"at least {least}: one token for each coefficient with scale {config.scale:g}",
    )
    least = prompts_of_a_batch()
    require(
        "grpo_samples",
        config.grpo_samples,
        config.grpo_samples >= least,
        f"at least {least}, the prompts of one batch (grpo.yaml)",
    )
    episodes = config.episodes - _arguments().held_out_of(config.episodes)
    most = episodes * _LONGEST
    require(
        "grpo_samples",
        config.grpo_samples,
        config.grpo_samples in (GRPO_SAMPLES, min(config.grpo_samples, most)),
        f"at most {most}: {episodes} demonstrations to train on have no more frames",
    )


def check_prompts(config: DemoConfig, out: Path) -> None:
    """Refuse more prompts of GRPO than there are frames, before SFT takes its time.

    Raises:
        ValueError: naming option, value and what was expected.
        DataError: the data set cannot be read.
    """
    from roboalign_training.learning.demonstrations import load_demonstrations
    from roboalign_training.learning.mixture import split_episodes

    data = load_demonstrations(out / "data")
    held_out = _arguments().held_out_of(len(data.episodes))
    frames = len(split_episodes(data, held_out, _grpo()["seed"])[0])
    least, asked = prompts_of_a_batch(), config.grpo_samples
    require("episodes", config.episodes, frames >= least, f"more: their {frames} frames to train "
            f"on are fewer than the {least} prompts of one batch of GRPO")  # fmt: skip
    require("grpo_samples", asked, asked == GRPO_SAMPLES or asked <= frames,
            f"at most {frames}, the frames there are to train on")  # fmt: skip


def prompts_of_a_batch() -> int:
    """Prompts of one batch of generations of GRPO, by its packaged configuration."""
    keys = _grpo()
    batch = keys["per_device_train_batch_size"] * keys["steps_per_generation"]
    return batch // keys["num_generations"]


def _arguments() -> GrpoArguments:
    return GrpoArguments(dataset="data")


def _grpo() -> dict:
    return yaml.safe_load(packaged_config("grpo").read_text(encoding="utf-8"))

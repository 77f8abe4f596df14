"""Options of an experiment's arms as their trainers take them: parsed as the stages parse them.

The trainers' library takes seconds to load, so this comes after all else was looked at.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import yaml

from roboalign_training.demo.experiment import Arm, Experiment
from roboalign_training.demo.stage_keys import stage_keys
from roboalign_training.learning.training_options import OURS, parse_arguments
from roboalign_training.shared.run_layout import ConfigError


def check_trainer_options(experiment: Experiment, stages: Iterable[str]) -> None:
    """Refuse what a trainer would refuse when its stage begins, hours later.

    Args:
        experiment: of this call.
        stages: names of those that are to be done; others than trainings are left out.

    Raises:
        ConfigError: naming the file, the arm, the value and what was expected.
    """
    policies = experiment.trained()
    arms = {policies[name].arm.name: policies[name].arm for name in stages if name in policies}
    for arm in arms.values():
        _check(experiment, arm)


def _check(experiment: Experiment, arm: Arm) -> None:
    from transformers import TrainingArguments
    from trl import GRPOConfig, SFTConfig

    from roboalign_training.learning.sources import check_sources
    from roboalign_training.shared.library_log import library_log

    theirs = {"sft": SFTConfig, "grpo": GRPOConfig, "vla": TrainingArguments}[arm.stage]
    where = f"{experiment.source}: arms.{arm.name}.options"
    for item in fields(theirs):
        # The parser takes nothing for any option, and the trainer ends in a fault of its own.
        given = arm.options.get(item.name, item)
        needed = item.default is not None and "None" not in str(item.type)
        if given is None and needed and "Optional" not in str(item.type):
            raise ConfigError(f"{where}.{item.name}: found None, expected a value")
    with tempfile.TemporaryDirectory() as folder, library_log():
        config = Path(folder, "options.yaml")
        config.write_text(yaml.safe_dump(stage_keys(arm.stage, arm.options)), "utf-8")
        words = ["--config", str(config), "--dataset", "data", "--out", str(Path(folder, "run"))]
        before = dict(os.environ)
        try:
            ours, _ = parse_arguments(arm.stage, (OURS[arm.stage], theirs), words)
            if arm.stage == "sft":
                check_sources(ours.shares())
        except ConfigError as error:
            text = str(error).replace(f"{config} and the command line: ", "")
            raise ConfigError(f"{where}: {text.replace(f'{config}: ', '')}") from error
        finally:
            os.environ.clear()
            os.environ.update(before)

"""What an arm's options come to with those of its stage: the keys, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from roboalign_training.learning.arguments import GrpoArguments, RunArguments, SftArguments
from roboalign_training.learning.training_options import OURS
from roboalign_training.shared.fields import require, value_of
from roboalign_training.shared.plain_yaml import load_yaml
from roboalign_training.shared.run_layout import packaged_config


def stage_keys(stage: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """All keys of a stage that trains: the packaged ones with an arm's own."""
    packaged = load_yaml(packaged_config(stage).read_text(encoding="utf-8"))
    return {**packaged, **options}


def stage_arguments(stage: str, options: Mapping[str, Any]) -> RunArguments:
    """This suite's options of a stage, each of its field's type.

    Raises:
        ValueError: naming key, value and what was expected.
    """
    kind = OURS[stage]
    own = {item.name for item in fields(kind)}
    keys = {**stage_keys(stage, options), "dataset": "data"}
    return kind(**{name: value_of(kind, name, v) for name, v in keys.items() if name in own})


def thinks(stage: str, options: Mapping[str, Any]) -> bool:
    """Whether a policy of such an arm reasons before it acts: as it was trained.

    Args:
        stage: base, sft, grpo or vla.
        options: of the arm.
    """
    if stage not in OURS:
        return True
    arguments = stage_arguments(stage, options)
    if isinstance(arguments, SftArguments):
        return arguments.weight_think > 0
    return arguments.think if isinstance(arguments, GrpoArguments) else True


def prompts_of_a_batch(options: Mapping[str, Any]) -> int:
    """Prompts of one batch of generations of GRPO with an arm's options.

    Raises:
        ValueError: naming key, value and what was expected.

    Source: TRL, GRPOConfig: a batch is `generation_batch_size`, else of `steps_per_generation`
    updates, else of `gradient_accumulation_steps`.
    """
    keys = stage_keys("grpo", options)
    size = _whole(keys, "generation_batch_size", None)
    if size is None:
        steps = _whole(keys, "steps_per_generation", None)
        if steps is None:
            steps = _whole(keys, "gradient_accumulation_steps", 1)
        size = steps * _whole(keys, "per_device_train_batch_size")
    return size // _whole(keys, "num_generations")


_NEEDED = object()


def _whole(keys: Mapping[str, Any], name: str, absent: Any = _NEEDED) -> Any:
    """A whole number of at least 1, however it is written."""
    value = keys.get(name)
    none = value is None or str(value).lower() in ("none", "null")
    if none and absent is not _NEEDED:
        return absent
    try:
        number = 0.0 if none or isinstance(value, bool) else float(str(value))
    except ValueError:
        number = 0.0
    require(name, value, number.is_integer() and number >= 1, "a whole number, at least 1")
    return int(number)

"""What of the trainer's options is refused before TRL is loaded: numbers, words, reporters."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roboalign_training.learning.arguments import require
from roboalign_training.shared.run_layout import ConfigError

_REPORTERS = {
    "azure_ml": "azureml-core", "clearml": "clearml", "codecarbon": "codecarbon",
    "comet_ml": "comet-ml", "dagshub": "dagshub", "dvclive": "dvclive", "flyte": "flytekit",
    "kubeflow": "kubeflow", "mlflow": "mlflow", "neptune": "neptune", "swanlab": "swanlab",
    "tensorboard": "tensorboard", "trackio": "trackio", "wandb": "wandb",
}  # fmt: skip
"""Name for `report_to` -> the package it needs. Source: transformers, integrations."""
_MODULES = {
    "azureml-core": ("azureml",), "comet-ml": ("comet_ml",), "flytekit": ("flytekit",),
    "tensorboard": ("tensorboard", "tensorboardX"),
}  # fmt: skip
"""Package -> the modules of which one must be there, where the name is another."""

_USELESS = {
    "do_train": "the command trains",
    "do_eval": "eval_strategy says whether the loss on held-out frames is measured",
    "do_predict": "`roboalign evaluate` lets a policy act",
    "resume_from_checkpoint": "the same command with the same --out goes on from the newest "
    "checkpoint in it; a finished policy is trained further with --base",
    "save_only_model": "a run that was stopped goes on from its last checkpoint, which needs the "
    "optimiser, too",
    "load_best_model_at_end": "each stage decides itself which weights it keeps",
    "packing": "the batches are made by this suite, which does not pack them",
    "reward_weights": "rewards has each reward's weight, as in {format: 0.5, prefix: 0.5}",
}
"""Options that Transformers leaves to the script, and what is done here instead."""
_DONE: dict[str, bool | None] = {
    "do_train": True,
    "do_eval": False,
    "do_predict": False,
    "resume_from_checkpoint": False,
    "save_only_model": False,
    "load_best_model_at_end": False,
    "packing": False,
    "reward_weights": None,
}
"""What of these is done anyway, and may be said."""
_ONLY: dict[str, dict[str, tuple[str, str]]] = {
    "vla": {
        "eval_strategy": ("no", "the action error of held-out frames is measured at the end"),
        "label_smoothing_factor": ("0", "the loss is of actions, which are no words"),
        "neftune_noise_alpha": ("none", "the head has no embeddings of words"),
    },
}
"""By stage: an option that has one value there, as it is written, and why."""
# Source: transformers, hf_argparser.string_to_bool; "none" as it is read for numbers.
_SAID = {
    **dict.fromkeys(("yes", "true", "t", "y", "1"), True),
    **dict.fromkeys(("no", "false", "f", "n", "0", "none", "null"), False),
}


def _number(kind: type, holds: Callable[[float], bool], expected: str) -> tuple:
    return kind, holds, expected


_AT_LEAST_1 = _number(int, lambda v: v >= 1, "a whole number, at least 1")
_ABOVE_0 = _number(float, lambda v: 0 < v < math.inf, "a number above 0")
_AT_LEAST_0 = _number(float, lambda v: 0 <= v < math.inf, "a number, 0 or more")
BOUNDS: dict[str, tuple] = {
    **dict.fromkeys(
        (
            "per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation",
            "max_completion_length", "save_total_limit", "num_iterations", "max_length",
        ),
        _AT_LEAST_1,
    ),
    **dict.fromkeys(
        ("learning_rate", "num_train_epochs", "logging_steps", "temperature"), _ABOVE_0
    ),
    **dict.fromkeys(("weight_decay", "max_grad_norm", "warmup_steps", "beta"), _AT_LEAST_0),
    "num_generations": _number(int, lambda v: v >= 2, "a whole number, at least 2"),
    "top_p": _number(float, lambda v: 0 < v <= 1, "a number above 0, at most 1"),
    "seed": _number(int, lambda v: 0 <= v < 2**32, "a whole number, 0 or more"),
    "dataloader_num_workers": _number(int, lambda v: v >= 0, "a whole number, 0 or more"),
}  # fmt: skip
"""What TRL takes without a word and then fails on, or learns nothing with."""
_NEEDED = (
    "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate",
    "seed",
)  # fmt: skip
"""What TRL counts or draws with: it takes none, and fails later, or draws anew each time."""
_MAX_STEPS = {
    "sft": _number(int, lambda v: v > 0, "the number of optimiser steps, above 0"),
    "grpo": _number(int, lambda v: v == -1 or v >= 1, "-1 or at least 1"),
    "vla": _number(int, lambda v: v > 0, "the number of optimiser steps, above 0"),
}
"""By stage: SFT's mixture has no epochs to be counted instead."""
CHOICES: dict[str, dict[str, tuple[Any, ...]]] = {
    "sft": {"loss_type": ("nll", "dft", "chunked_nll")},
    "grpo": {
        "loss_type": (
            "grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo",
        ),
        "importance_sampling_level": ("token", "sequence"),
        "scale_rewards": ("group", "batch", "none", True, False),
        "multi_objective_aggregation": ("sum_then_normalize", "normalize_then_sum"),
    },
    "vla": {},
}  # fmt: skip
"""Words of which TRL takes any, and fails in its first step on those that it does not know."""


def check_values(
    kind: str, source: str, config: Mapping[str, Any], theirs: Mapping[str, Sequence[str]]
) -> None:
    """Refuse numbers outside of what makes sense, unknown words and reporters not installed.

    Args:
        kind: sft, grpo or vla.
        source: the YAML file.
        config: its keys.
        theirs: options of the command line, which win.

    Raises:
        ConfigError: names the option, and the file where the value stands there.
    """
    bounds = dict(BOUNDS)
    bounds["max_steps"] = _MAX_STEPS[kind]
    _check_useless({**config, **theirs}, source, theirs)
    for name, value in {**config, **theirs}.items():
        where = "" if name in theirs else f"{source}: "
        values = list(value) if isinstance(value, list | tuple) else [value]
        if name in bounds:
            shown = values[0] if len(values) == 1 else " ".join(map(str, values))
            if _is_none(shown):
                require(f"{where}{name}", shown, name not in _NEEDED, bounds[name][2])
                continue
            _check_number(f"{where}{name}", shown, *bounds[name])
        if name in CHOICES[kind]:
            shown = " ".join(map(str, values)) if isinstance(value, list | tuple) else value
            choices = CHOICES[kind][name]
            require(f"{where}{name}", shown, shown in choices, f"one of {_listed(choices)}")
        if name in (only := _ONLY.get(kind, {})):
            (one, why), shown = only[name], " ".join(map(str, values))
            same = _SAID.get(shown.lower(), shown.lower()) == _SAID.get(one, one)
            same = same or (one == "0" and _is_zero(shown))
            require(f"{where}{name}", shown, same or value is None, f"{one}: {why}")
        if name == "report_to":
            _check_reporters(f"{where}report_to", [str(v) for v in values if v is not None])


def _check_useless(
    given: Mapping[str, Any], source: str, theirs: Mapping[str, Sequence[str]]
) -> None:
    """Refuse options that TRL takes and nobody looks at: what they ask for would not be done."""
    for name, value in given.items():
        key = name.removeprefix("no_")
        if key not in _USELESS or value is None:
            continue
        where = "" if name in theirs else f"{source}: "
        # An option without a value says yes.
        shown = " ".join(map(str, value)) or "true" if isinstance(value, list) else value
        asked = _SAID.get(str(shown).lower())
        if asked is not None and (asked != (name != key)) == _DONE[key]:
            continue
        raise ConfigError(
            f"{where}{name}: found {shown!r}, expected it to be left out: {_USELESS[key]}"
        )


def _check_number(
    key: str, value: Any, kind: type, holds: Callable[[float], bool], expected: str
) -> None:
    try:
        number = float(str(value))
    except ValueError:
        raise ConfigError(f"{key}: found {value!r}, expected {expected}") from None
    shown = int(number) if math.isfinite(number) and number == int(number) else number
    whole = kind is float or (math.isfinite(number) and number == int(number))
    require(key, shown, whole and holds(number), expected)


def _is_zero(value: str) -> bool:
    try:
        return float(value) == 0
    except ValueError:
        return False


def _listed(choices: Sequence[Any]) -> str:
    return ", ".join(choice for choice in choices if isinstance(choice, str))


def _is_none(value: Any) -> bool:
    return str(value).lower() in ("none", "null")


def _check_reporters(key: str, names: Sequence[str]) -> None:
    for name in names:
        if name in ("none", "all"):
            continue
        require(key, name, name in _REPORTERS, f"none, or some of {', '.join(_REPORTERS)}")
        package = _REPORTERS[name]
        modules = _MODULES.get(package, (package,))
        require(
            key,
            name,
            any(map(importlib.util.find_spec, modules)),
            f"one that is installed: install the Python package {package}, or leave it out",
        )

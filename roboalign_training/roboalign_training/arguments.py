"""What SFT and GRPO runs have in common on their command line, and how their errors are told.

A run is configured by dataclasses, filled from the YAML file after `--config` and then from the
command line.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from trl import TrlParser

from roboalign_policy.core.contract import ContractError
from roboalign_policy.models.loading import ModelError
from roboalign_training.data.errors import DataError
from roboalign_training.run_layout import (
    EXIT_DATA_FAULT,
    EXIT_FINISHED,
    EXIT_INVALID_CONFIG,
    EXIT_STOPPED,
    ConfigError,
    packaged_config,
)

__all__ = ["ConfigError", "RunArguments", "Stopped", "parse_arguments", "require", "run_main"]


class Stopped(Exception):
    """The run was asked to stop and can be resumed; what it had is saved."""


@dataclass
class RunArguments:
    """Data, base model and the ends of a run."""

    dataset: str = field(
        default="",
        metadata={"help": "Folder of the data set; with `bags`, by default `data` in output_dir."},
    )
    bags: list[str] = field(
        default_factory=list,
        metadata={"help": "Bags, or folders of bags, that are added to the data set first."},
    )
    contract: str = field(
        default="",
        metadata={
            "help": "Robot contract of `bags`, path or packaged name; by default the one in them."
        },
    )
    base: str = field(
        default="roboalign-tiny",
        metadata={"help": "Model to start from: packaged name, folder or hub name."},
    )
    held_out_episodes: int = field(
        default=16,
        metadata={"help": "Whole episodes kept out of training, to score the model on."},
    )
    dev_frames: int = field(
        default=128, metadata={"help": "Frames of the held-out episodes that are scored."}
    )
    max_seconds: float | None = field(
        default=None,
        metadata={
            "help": "End of training after this many seconds, s; the learning rate follows."
        },
    )
    save_minutes: float = field(
        default=2.0, metadata={"help": "Minutes between checkpoints to resume from, min."}
    )
    resume: bool = field(
        default=False,
        metadata={"help": "Go on from the newest checkpoint in output_dir, where there is one."},
    )

    def __post_init__(self) -> None:
        if not self.dataset and not self.bags:
            raise ConfigError(
                "dataset: found '', expected the folder of a data set, or bags to make one of"
            )
        require(
            "held_out_episodes", self.held_out_episodes, self.held_out_episodes >= 1, "at least 1"
        )
        require("dev_frames", self.dev_frames, self.dev_frames >= 1, "at least 1")
        require(
            "max_seconds",
            self.max_seconds,
            self.max_seconds is None or self.max_seconds > 0,
            "above 0",
        )
        require("save_minutes", self.save_minutes, self.save_minutes > 0, "above 0")


def require(key: str, value: Any, holds: bool, expected: str) -> None:
    """Raises ConfigError unless `holds`."""
    if not holds:
        raise ConfigError(f"{key}: found {value!r}, expected {expected}")


def parse_arguments(kind: str, types: Sequence[type], argv: Sequence[str]) -> tuple[Any, ...]:
    """Fills the dataclasses from `--config FILE` and the command line.

    Without `--config` the packaged file of `kind` is read.

    Raises:
        ConfigError: for a file that cannot be read, an unknown key, or a refused value; it names
            the file.
    """
    argv = list(argv)
    if "--config" not in argv[:-1]:
        argv = ["--config", str(packaged_config(kind)), *argv]
    source = argv[argv.index("--config") + 1]
    try:
        keys = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
        if not isinstance(keys, dict):
            raise ValueError(f"found {type(keys).__name__}, expected a mapping of keys to values")
        _check_keys(keys, types)
        return TrlParser(types).parse_args_and_config(argv)
    except (ValueError, TypeError, OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _check_keys(keys: dict[str, Any], types: Sequence[type]) -> None:
    """Refuses unknown keys first: TRL would complain about what follows from their absence."""
    known = {item.name for kind in types for item in fields(kind)} | {"env"}
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ValueError(
                f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )


def run_main(train: Callable[[Sequence[str]], Path], argv: Sequence[str] | None) -> int:
    """Calls `train` and turns what users can fix into one line on stderr and an exit status.

    Returns:
        EXIT_FINISHED, EXIT_INVALID_CONFIG, EXIT_DATA_FAULT or EXIT_STOPPED.
    """
    try:
        policy = train(list(sys.argv[1:] if argv is None else argv))
    except (ConfigError, ContractError, ModelError) as error:
        print(f"configuration refused: {error}", file=sys.stderr)
        return EXIT_INVALID_CONFIG
    except DataError as error:
        print(f"data fault: {error}", file=sys.stderr)
        return EXIT_DATA_FAULT
    except Stopped as stopped:
        print(f"stopped: {stopped}", file=sys.stderr)
        return EXIT_STOPPED
    print(f"policy written to {policy}")
    return EXIT_FINISHED

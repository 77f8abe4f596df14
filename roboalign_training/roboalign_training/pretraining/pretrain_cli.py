"""`roboalign pretrain-tiny`: reproduce the embedded base model; no torch before it is needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_training.pretraining.config import (
    IGNORED,
    MODEL,
    PRODUCTS,
    RUN,
    PretrainConfig,
)
from roboalign_training.shared.fields import add_fields, underscored, value_of
from roboalign_training.shared.outputs import Found, OutputError, judge, only_writer, remove
from roboalign_training.shared.places import PRETRAINING, check_place
from roboalign_training.shared.write_errors import write_fault, writing


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign pretrain-tiny",
        description="Pretrain roboalign-tiny with language only on rendered scenes. The same "
        "command goes on with an unfinished run; a finished one is not touched.",
        allow_abbrev=False,
    )
    p.add_argument("--config", metavar="FILE", help="YAML file with any of these options")
    add_fields(p, PretrainConfig)
    return p


def read_config(argv: Sequence[str]) -> PretrainConfig:
    """The configuration of a command line.

    Raises:
        ValueError: a file, key or value that cannot be used.
    """
    options = parser()
    given = vars(options.parse_args(underscored(argv, options._option_string_actions)))
    path = given.pop("config")
    keys: dict[str, Any] = {}
    if path is not None:
        if fault := pointer_fault(Path(path)):
            raise ValueError(f"--config: {path} {fault}")
        try:
            keys = yaml.safe_load(Path(path).read_text("utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {error}") from error
        known = {item.name for item in fields(PretrainConfig)}
        if not isinstance(keys, dict) or (unknown := sorted(keys.keys() - known)):
            found = type(keys).__name__ if not isinstance(keys, dict) else ", ".join(unknown)
            raise ValueError(f"{path}: found {found}, expected keys of: {', '.join(known)}")
        keys = {
            name: value if name == "size" else value_of(PretrainConfig, name, value)
            for name, value in keys.items()
        }
    return PretrainConfig(**{**keys, **given})


def main(argv: Sequence[str] | None = None) -> int:
    """Pretrain; 0 when finished now or before, 2 when refused, 1 when the disk is full."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        config = read_config(words)
        out = Path(config.out)
        check_place("--out", out, PRETRAINING)
        found = judge(
            out, RUN, asdict(config), PRODUCTS,
            finished=(out / MODEL / "card.json").is_file(), overwrite=config.overwrite,
            ignored=IGNORED,
        )  # fmt: skip
        if config.install and not config.overwrite:
            raise OutputError(
                "install: would replace the packaged roboalign-tiny; nothing was changed: add "
                "--overwrite to agree"
            )
    except ValueError as error:
        print(f"roboalign pretrain-tiny: {error}", file=sys.stderr)
        return 2
    if found is Found.FINISHED:
        print(f"pretrain-tiny: finished before; nothing was changed: {out / MODEL}")
        return 0
    from roboalign_training.pretraining.pretrain import pretrain

    try:
        with writing(out, "the pretraining run"):
            out.mkdir(parents=True, exist_ok=True)
            with only_writer(out):
                if found is Found.NOTHING:
                    remove(out, PRODUCTS)
                target = pretrain(config)
    except OutputError as error:
        print(f"roboalign pretrain-tiny: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if (fault := write_fault(error, words)) is None:
            raise
        print(f"roboalign pretrain-tiny: not written: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    print(f"pretrain-tiny: {target}: README.md there has the accuracy on held-out scenes")
    return 0

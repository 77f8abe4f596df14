"""The command line of `roboalign sft`, `grpo` and `vla`: this suite's options, then the trainer's.

All that can be refused without TRL is refused without it: importing it takes seconds.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml

from roboalign_training.learning.arguments import (
    GrpoArguments,
    RunArguments,
    SftArguments,
    VlaArguments,
    require,
)
from roboalign_training.learning.trainer_checks import check_values
from roboalign_training.learning.trl_fields import TrlField, trl_fields
from roboalign_training.shared.fields import add_fields, require_json, underscored, value_of
from roboalign_training.shared.plain_yaml import load_yaml
from roboalign_training.shared.run_layout import ConfigError, packaged_config
from roboalign_training.shared.suggestions import option_fault

OURS: dict[str, type[RunArguments]] = {
    "sft": SftArguments, "grpo": GrpoArguments, "vla": VlaArguments
}  # fmt: skip
OUT, OLD_OUT = "--out", "--output_dir"
_ABOUT = {
    "sft": "Supervised fine-tuning of a vision-language model on a data set.",
    "grpo": "GRPO on recorded data, rewarded by what --rewards names: by default format and the "
    "prefix of the demonstrated action tokens.",
    "vla": "A flow-matching action head on a policy's model, trained on a data set.",
}

_SHORT = {
    "max_steps": "Optimiser steps; overrides num_train_epochs",
    "learning_rate": "Learning rate of AdamW: of all that Muon does not train",
    "warmup_steps": "Steps of linear warm-up; below 1: a share of all steps",
    "max_length": "Longest sequence in tokens, image included; a longer one is an error",
    "logging_steps": "Steps between two lines of metrics.jsonl",
    "report_to": "Services that get the metrics, too; each needs its package",
    "save_strategy": "no: --save_minutes decides; or steps, epoch",
}


@dataclass(frozen=True)
class Given:
    """A command line that was read, before TRL sees its part.

    Attributes:
        source: the YAML file.
        ours: this suite's options.
        config: TRL's keys of the file.
        theirs: TRL's options of the command line, as words.
        env: variables that the file sets.
    """

    source: str
    ours: dict[str, Any]
    config: dict[str, Any]
    theirs: list[str]
    env: dict[str, Any]


class _Formatter(argparse.HelpFormatter):
    """Shows TRL's options, whose values TRL reads, as options with one value."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.dest.startswith("trl.") and action.metavar:
            return action.metavar
        return super()._format_args(action, default_metavar)


class TrainingParser(argparse.ArgumentParser):
    """Raises ConfigError where argparse would print the usage, which is long here."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ConfigError(message.removeprefix("argument "))


def make_parser(kind: str, everything: bool = False) -> TrainingParser:
    """The command's options.

    Args:
        kind: sft, grpo or vla.
        everything: whether the help shows all of TRL's options, too.
    """
    shown = _read_config(str(packaged_config(kind)))
    p = TrainingParser(
        prog=f"roboalign {kind}",
        usage=f"roboalign {kind} --dataset FOLDER [--out FOLDER] [options]",
        description=f"{_ABOUT[kind]} A run that is in the folder already goes on where it ended; "
        "a finished one is not touched.",
        epilog="Every option can stand in the file of --config, too. The trainer takes "
        f"{len(trl_fields(kind))} options: --help-all lists them all.",
        allow_abbrev=False,
        add_help=False,
        formatter_class=_Formatter,
    )
    first = p.add_argument_group("configuration")
    first.add_argument("--config", metavar="FILE", help="YAML file (default: the packaged one)")
    first.add_argument(
        OUT, metavar="FOLDER", default=argparse.SUPPRESS,
        help=f"folder of the run (default: {shown['output_dir']})",
    )  # fmt: skip
    first.add_argument(OLD_OUT, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    first.add_argument("-h", "--help", action="help", help="this help")
    first.add_argument(
        "--help-all", action=_HelpAll, kind=kind, help="this help with all options of TRL"
    )
    add_fields(p, OURS[kind], shown)
    often = p.add_argument_group("the trainer's options that matter most (TRL's)")
    more = p.add_argument_group("the trainer's other options (TRL's)") if everything else p
    for item in trl_fields(kind).values():
        if item.name != "output_dir":
            _add_theirs(often if item.name in shown else more, item, shown, everything)
    return p


class _HelpAll(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, kind: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)
        self.kind = kind

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        make_parser(self.kind, everything=True).print_help()
        parser.exit()


def _add_theirs(group: Any, item: TrlField, shown: Mapping[str, Any], everything: bool) -> None:
    if item.name in shown or everything:
        default = shown.get(item.name, item.default)
        text = (item.help or "see TRL's documentation").replace("%", "%%")
        if item.name in shown and not everything:
            text = _SHORT.get(item.name, text.split(". ")[0].rstrip("."))
        text += f" (default: {default})" if default not in ("", None) else ""
    else:
        text = argparse.SUPPRESS
    names = [f"--{item.name}"]
    group.add_argument(
        *names, nargs="*", default=argparse.SUPPRESS, dest=f"trl.{item.name}", help=text,
        metavar="true|false" if item.is_bool else item.name.rsplit("_", 1)[-1].upper(),
    )  # fmt: skip
    if item.is_bool:
        group.add_argument(
            f"--no_{item.name}", nargs=0, action=_No, dest=f"trl.no_{item.name}",
            default=argparse.SUPPRESS, help=argparse.SUPPRESS,
        )  # fmt: skip


class _No(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, [])


def read_options(kind: str, argv: Sequence[str]) -> Given:
    """Read file and command line, without TRL.

    Without `--config` the packaged file of `kind` is read.

    Raises:
        ConfigError: for a file that cannot be read, an unknown key or option, or a refused value.
    """
    parser = make_parser(kind)
    words = underscored(argv, parser._option_string_actions)
    if fault := option_fault(parser, words):
        raise ConfigError(fault)
    given = vars(parser.parse_args(words))
    source = given.pop("config") or str(packaged_config(kind))
    keys = _read_config(source)
    env = _environment(source, keys.pop("env", None))
    own = {item.name for item in fields(OURS[kind])}
    try:
        _check_keys(keys, own | trl_fields(kind).keys())
        ours = {name: value_of(OURS[kind], name, keys[name]) for name in own & keys.keys()}
        config = {name: value for name, value in keys.items() if name not in own}
        for name, value in config.items():
            require_json(name, value)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from error
    ours |= {name: given[name] for name in own & given.keys()}
    theirs = {
        name.removeprefix("trl."): value
        for name, value in given.items()
        if name.startswith("trl.")
    }
    if "output_dir" in given:
        print(f"roboalign {kind}: {OLD_OUT} is now called {OUT}", file=sys.stderr)
    if (folder := given.get("out", given.get("output_dir"))) is not None:
        theirs["output_dir"] = [folder]
    check_values(kind, source, config, theirs)
    words = [word for name, value in theirs.items() for word in (f"--{name}", *value)]
    return Given(source, ours, config, words, env)


def parse_arguments(kind: str, types: Sequence[type], argv: Sequence[str]) -> tuple[Any, Any]:
    """Fill the dataclasses from `--config FILE` and the command line.

    Args:
        kind: sft, grpo or vla.
        types: this suite's dataclass and the trainer's.
        argv: the command line.

    Raises:
        ConfigError: see `read_options`; also what TRL refuses.
    """
    given = read_options(kind, argv)
    ours = types[0](**given.ours)
    from trl import TrlParser

    parser = TrlParser(types[1])
    parser.error = TrainingParser.error.__get__(parser)
    os.environ.update({key: str(value) for key, value in given.env.items()})
    parser.set_defaults_with_config(**given.config)
    try:
        (theirs,) = parser.parse_args_into_dataclasses(args=given.theirs)
    except ConfigError:
        raise
    except (ValueError, TypeError, ImportError) as error:
        raise ConfigError(f"{given.source} and the command line: {error}") from error
    return ours, theirs


def _read_config(source: str) -> dict[str, Any]:
    try:
        keys = load_yaml(Path(source).read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError as error:
        line = error.problem_mark.line + 1
        raise ConfigError(f"{source}: line {line}: {error.problem}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{source}: {error}") from error
    if not isinstance(keys, dict):
        raise ConfigError(
            f"{source}: found {type(keys).__name__}, expected a mapping of keys to values"
        )
    return keys


def _environment(source: str, given: Any) -> dict[str, Any]:
    """The variables that the file sets."""
    if given is None:
        return {}
    expected = "names and values as in {NAME: value}"
    require(f"{source}: env", given, isinstance(given, Mapping), expected)
    for name, value in given.items():
        is_name = isinstance(name, str) and name and not set(name) & {"=", "\0"}
        require(f"{source}: env", name, is_name, "the name of a variable, a text without =")
        is_plain = isinstance(value, str | int | float) and "\0" not in str(value)
        require(f"{source}: env.{name}", value, is_plain, "a text or a number")
    return dict(given)


def _check_keys(keys: Mapping[str, Any], known: set[str]) -> None:
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise ValueError(
                f"unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            )

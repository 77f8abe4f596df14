"""Old option names: they still work and print the new name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


def add_old_option(parser: argparse.ArgumentParser, old: str, new: str, **options: Any) -> None:
    """Add an option under its old name, which the help does not show.

    Args:
        parser: that has the option under its new name.
        old: such as `--first-seed`.
        new: such as `--seed`.
        options: of `add_argument`; `dest` is the one of the new name.
    """
    kind = type("OldOption", (_OldOption,), {"new": new})
    parser.add_argument(
        old, action=kind, help=argparse.SUPPRESS, default=argparse.SUPPRESS, **options
    )


class _OldOption(argparse.Action):
    new = ""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        _say(parser.prog, f"{option_string} is now called {self.new}")
        setattr(namespace, self.dest, values)


def add_old_words(parser: argparse.ArgumentParser) -> None:
    """Let words stand without a name, as they did before they had one; see `take_old_words`."""
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)


def take_old_words(
    parser: argparse.ArgumentParser, args: argparse.Namespace, names: Sequence[str]
) -> None:
    """Give words without a name to the options that they were before; all of these are needed.

    Args:
        parser: for errors.
        args: with `words` and the named options, each a text or None.
        names: of these options, in the order in which their words stood.
    """
    missing = [name for name in names if getattr(args, name) is None]
    if len(args.words) > len(missing):
        parser.error(f"found {args.words[len(missing)]!r}, expected only options with a name")
    for name, word in zip(missing, args.words, strict=False):
        _say(parser.prog, f"{word} is now given as --{name} {word}")
        setattr(args, name, word)
    for name in missing[len(args.words) :]:
        parser.error(f"--{name}: not given, and there is no default")


def _say(program: str, text: str) -> None:
    print(f"{program}: {text}", file=sys.stderr)

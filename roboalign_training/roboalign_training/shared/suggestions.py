"""What somebody meant: unknown commands, options, choices; inputs that do not exist."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

_NUMBER = re.compile(r"^-\.?\d")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where something near is known, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def option_fault(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """What is wrong with the names of options and the choices in a command line.

    Argparse finds the same, without saying what was meant; so this looks first.

    Args:
        parser: the command's parser.
        words: its words, without program and command.

    Returns:
        One line, or None where every name and choice is known.
    """
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return None
        if not word.startswith("-") or _NUMBER.match(word) or word == "-":
            below = _subparsers(parser)
            if below is not None:
                if word not in below.choices:
                    return f"found {word!r}, expected one of {', '.join(below.choices)}" + (
                        did_you_mean(word, below.choices)
                    )
                parser = below.choices[word]
            continue
        name, _, value = word.partition("=")
        action = _action(parser, name)
        if action is None:
            known = [option for option in parser._option_string_actions if option[:2] == "--"]
            return f"there is no option {name}{did_you_mean(name, known)}"
        taken = [value] if value else _values(action, words[at:])
        at += 0 if value else len(taken)
        if action.choices is not None:
            for item in taken:
                if item not in map(str, action.choices):
                    choices = list(map(str, action.choices))
                    return f"{name}: found {item!r}, expected one of {', '.join(choices)}" + (
                        did_you_mean(item, choices)
                    )
    return None


def input_fault(parser: argparse.ArgumentParser, words: Sequence[str]) -> str | None:
    """Which path that a command is to read does not exist: one that stands without a name.

    Args:
        parser: the command's parser, which finds no fault with the names of options.
        words: its words, without program and command.

    Returns:
        One line, or None where all of them exist, or the command takes none.
    """
    inputs = [a for a in parser._actions if not a.option_strings and a.type is Path]
    if not inputs:
        return None
    given = vars(parser.parse_args(words))
    for action in inputs:
        named = given[action.dest]
        for path in named if isinstance(named, list) else [named]:
            if not _exists(path):
                return f"{action.dest}: found {path}, which does not exist, expected {action.help}"
    return None


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder, or it may not be looked at."""
    try:
        return path.exists()
    except OSError:
        return True  # the command says what is the matter


def _subparsers(parser: argparse.ArgumentParser) -> argparse._SubParsersAction | None:
    return next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)


def _action(parser: argparse.ArgumentParser, name: str) -> argparse.Action | None:
    """The option of this name, or of the only one that begins with it."""
    found = parser._option_string_actions
    if name in found:
        return found[name]
    if not name.startswith("--"):
        return found.get(name[:2])  # -xVALUE
    longer = [option for option in found if option.startswith(name)]
    return found[longer[0]] if parser.allow_abbrev and len(longer) == 1 else None


def _values(action: argparse.Action, rest: Sequence[str]) -> list[str]:
    """The words after an option that are its values."""
    most = {None: 1, "?": 1}.get(action.nargs, len(rest))
    most = action.nargs if isinstance(action.nargs, int) else most
    taken: list[str] = []
    for word in rest[:most]:
        if word.startswith("-") and not _NUMBER.match(word) and word != "-":
            break
        taken.append(word)
    return taken

"""`roboalign completion`: tab completion for bash and zsh, as a script that starts no Python.

    source <(roboalign completion bash)     # or in ~/.bashrc

The script holds every command, option and choice, and the names of the packaged contracts, as they
are now; make it anew after an update.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator, Sequence

from roboalign_policy.core.contract.files import packaged_contracts

SHELLS = ("bash", "zsh")
CONTRACTS = ("contract", "contracts")
"""Where, in every command, a contract is named: a file, or a packaged name."""
_HEAD = """# Tab completion of roboalign for bash and zsh, made by `roboalign completion`.
if [ -n "${ZSH_VERSION:-}" ]; then autoload -U +X bashcompinit && bashcompinit; fi
_roboalign() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} known="" files=""
    local command=${COMP_WORDS[1]:-} below=${COMP_WORDS[2]:-} at=$((COMP_CWORD - 1)) file
    while [ "$at" -gt 1 ] && [[ ${COMP_WORDS[at]} != --* ]]; do at=$((at - 1)); done
    local option=${COMP_WORDS[at]}  # the last one, which may take several values
    if [ "$COMP_CWORD" -eq 1 ]; then
        known=COMMANDS
    else
        case "$command $below $before $option" in
"""
_TAIL = """        esac
    fi
    COMPREPLY=($(compgen -W "$known" -- "$word"))
    if [ -n "$files" ]; then
        compopt -o filenames 2> /dev/null
        while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$word")
    fi
}
complete -o default -F _roboalign roboalign
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="roboalign completion",
        description="Print a script for tab completion; use: source <(roboalign completion bash)",
    )
    p.add_argument("shell", choices=SHELLS, help="the shell it is for")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Print the script."""
    parser().parse_args(argv)
    print(script())
    return 0


def script() -> str:
    """The script; bash and zsh (in its bash mode) read the same."""
    from roboalign_training.cli import COMMANDS, command_module

    commands = [*COMMANDS, "--help", "--version"]
    lines = []
    for name in COMMANDS:
        module = command_module(name)
        if hasattr(module, "parser"):
            lines += _cases(name, module.parser())
    head = _HEAD.replace("COMMANDS", shlex.quote(" ".join(commands)))
    return head + "\n".join(lines) + "\n" + _TAIL.rstrip()


def _cases(name: str, of: argparse.ArgumentParser) -> Iterator[str]:
    """Patterns over "command, second word, word before, last option" and what is known there."""
    below = [a for a in of._actions if isinstance(a, argparse._SubParsersAction)]
    for action in below:
        for choice, parser_below in action.choices.items():
            yield from _of_parser(f"{name} {choice}", parser_below)
        yield _case(f"{name} * {name} *", [*action.choices, "--help"])
    if not below:
        yield from _of_parser(f"{name} *", of)


def _of_parser(pattern: str, of: argparse.ArgumentParser) -> Iterator[str]:
    shown = [a for a in of._actions if a.help != argparse.SUPPRESS]
    options = [o for a in shown for o in a.option_strings if o.startswith("--")]
    several = []
    for action in shown:
        values, files = _values(action), action.dest in CONTRACTS
        for option in action.option_strings if values else ():
            yield _case(f"{pattern} {option} *", values, files)
            if action.nargs in ("+", "*"):
                several.append(_case(f"{pattern} * {option}", [*values, *options], files))
    yield from several
    plain = [a for a in shown if not a.option_strings]
    words = [*options, *(value for a in plain for value in _values(a))]
    yield _case(f"{pattern} *", words, any(a.dest in CONTRACTS for a in plain))


def _values(action: argparse.Action) -> list[str]:
    """What may stand for an option or word, as far as that is known beforehand."""
    if action.dest in CONTRACTS:
        return list(packaged_contracts())
    return list(map(str, action.choices or ()))


def _case(pattern: str, words: Iterable[str], files: bool = False) -> str:
    quoted = " ".join("*" if part == "*" else shlex.quote(part) for part in pattern.split())
    quoted = quoted.replace(" ", "\\ ")
    more = " files=1" if files else ""
    return f"        {quoted}) known={shlex.quote(' '.join(words))}{more} ;;"

"""`roboalign trace`: from a checkpoint, a data set or a result back to the bags it came from."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from roboalign_training.bags.definition_folder import add_definitions
from roboalign_training.bags.errors import DataError
from roboalign_training.origins.trace import trace
from roboalign_training.origins.trace_step import (
    AS_IT_WAS,
    CHANGED,
    GONE,
    LEROBOT,
    OF_ANOTHER,
    UNCHECKED,
    Step,
)
from roboalign_training.shared.whole_lines import print_whole

_WORST = (CHANGED, GONE, UNCHECKED, "", OF_ANOTHER, AS_IT_WAS)  # first
_SHOWN = 5  # episodes of a data set, of those about which there is nothing to say


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(prog="roboalign trace", description=__doc__)
    p.add_argument(
        "path", type=Path, help="checkpoint, data set, episode's file, result's JSON, or bag"
    )
    p.add_argument("--all", action="store_true", help="every episode, not only a few of each kind")
    p.add_argument("--fast", action="store_true", help="do not hash what is there to compare it")
    p.add_argument("--json", action="store_true", help="the whole way as JSON")
    add_definitions(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Trace; 0, 1 where something on the way is not what it was, 2 where nothing is known."""
    options = parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        with console.status("hashing weights and bags"):
            step = trace(options.path, verify=not options.fast)
    except (DataError, OSError) as error:
        print(f"roboalign trace: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(dataclasses.asdict(step), indent=1))
    else:
        out = Console()
        tree = Tree(_line(step))
        _grow(tree, step, options.all)
        print_whole(out, tree)
        out.print(summary(step), markup=False, highlight=False)
    return 1 if any(s.state.startswith(CHANGED) for s in step.walk()) else 0


def summary(step: Step) -> str:
    """One line: how many recordings there are on the way, and what became of them."""
    bags: dict[str, str] = {}
    for found in step.walk():
        if found.kind in ("bag", LEROBOT):
            state = found.state.split(":")[0]
            # Several episodes are of one recording: the worst of what was found counts.
            bags[found.name] = min(state, bags.get(found.name, state), key=_WORST.index)
    states = Counter(state or "of unknown origin" for state in bags.values())
    said = ", ".join(f"{count} {state}" for state, count in states.most_common())
    noun = "source" if len(bags) == 1 else "sources"
    return f"{len(bags)} {noun}{': ' + said if bags else ''}"


def _grow(tree: Tree, step: Step, everything: bool) -> None:
    quiet = 0
    for child in step.children:
        plain = child.kind == "episode" and all(
            s.state in ("", AS_IT_WAS, UNCHECKED, OF_ANOTHER) for s in child.walk()
        )
        quiet += plain
        if plain and quiet > _SHOWN and not everything:
            continue
        _grow(tree.add(_line(child)), child, everything)
    if quiet > _SHOWN and not everything:
        tree.add(f"[dim]... and {quiet - _SHOWN} more episodes (--all)[/dim]")


def _line(step: Step) -> str:
    facts = "; ".join(f"{key}: {value}" for key, value in step.facts.items())
    text = f"{step.kind} [bold]{escape(step.name)}[/bold]"
    if step.state:
        style = "green" if step.state == AS_IT_WAS else "yellow"
        style = "bold red" if step.state.startswith(CHANGED) else style
        text += f" [{style}]{escape(step.state)}[/{style}]"
    return f"{text}\n[dim]{escape(facts)}[/dim]" if facts else text


if __name__ == "__main__":
    sys.exit(main())

"""Tables and trees as they are where no terminal shows them: in a pipe or file no line is folded.

A terminal folds what is wider than it is. A pipe has no width, and the 80 columns that are taken
for one there would cut names in two, which no other program finds again.
"""

from __future__ import annotations

import os

from rich.console import Console, RenderableType

_WIDTH = 100_000  # columns; no table comes near it, and none is made wider than its content


def print_whole(console: Console, shown: RenderableType) -> None:
    """Print a table or tree; outside of a terminal with lines as long as they have to be.

    Args:
        console: where; a width that the environment gives (COLUMNS) is kept to.
        shown: what.
    """
    if console.is_terminal or "COLUMNS" in os.environ:
        console.print(shown)
        return
    width = console.width
    console.width = _WIDTH
    try:
        console.print(shown)
    finally:
        console.width = width

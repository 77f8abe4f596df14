"""How a command ends at ctrl-C that goes on where it was when it is given again."""

from __future__ import annotations

from rich.console import Console

from roboalign_training.shared.run_layout import EXIT_STOPPED


def say_stopped(console: Console) -> int:
    """Says that nothing is lost; returns the exit status."""
    console.print(
        "stopped: the same command goes on where this one ended", style="yellow", soft_wrap=True
    )
    return EXIT_STOPPED

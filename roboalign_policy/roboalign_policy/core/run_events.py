"""What happens while a robot works on one task, as `roboalign run` shows it."""

from __future__ import annotations

from dataclasses import dataclass

STARTED, THOUGHT, REFUSED, WAITING, PROGRESS, ENDING = (
    "started", "thought", "refused", "waiting", "progress", "ending"
)  # fmt: skip


@dataclass(frozen=True)
class Event:
    """What happened in a run: one of the kinds above, when (s since the start), and in words.

    ``steps`` and ``chunks`` count what the arm was told so far.
    """

    kind: str
    elapsed_s: float
    text: str = ""
    steps: int = 0
    chunks: int = 0


@dataclass(frozen=True)
class RunEnd:
    """How a run ended.

    Attributes:
        reason: "success", or a REASON_ of RunPolicy in lower case: "timeout", "cancelled" ...
        message: what policy_node says about it.
        steps, chunks: what the arm was told.
        seconds: s; from acceptance to end.
        success: what a simulator says of this task; None where nothing judges it.
    """

    reason: str
    message: str
    steps: int
    chunks: int
    seconds: float
    success: bool | None

"""What became of a recording that was recovered: kept, lost, left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from roboalign_training.data.damaged import Damaged
from roboalign_training.data.losses import Loss
from roboalign_training.shared.left_out import LeftOut


@dataclass(frozen=True)
class Rescued:
    """One topic: messages kept, and lost; None where nothing says how many there were."""

    name: str
    type: str
    kept: int
    lost: int | None


@dataclass(frozen=True)
class Recovery:
    """A recovered bag.

    Attributes:
        folder: The new bag.
        topics: By name.
        losses: What did not read.
        duration_s: s; time from its first to its last message.
        left_out: What is not in it: messages that were lost, topics that ROS 2 does not have.
        existed: It was there before, and was left as it is; then `topics` is empty.
    """

    folder: Path
    topics: tuple[Rescued, ...]
    losses: tuple[Loss, ...]
    duration_s: float
    left_out: LeftOut
    existed: bool = False


def count_losses(
    left_out: LeftOut, rescued: Sequence[Rescued], losses: Sequence[Loss], missing: int
) -> None:
    """Adds what did not read to what is left out.

    Args:
        left_out: Gets it.
        rescued: The topics of the new bag.
        losses: What did not read, the files among them that are not there.
        missing: How many files that are.
    """
    left_out.add("file", "missing", missing)
    left_out.add("message", "damaged or missing", sum(topic.lost or 0 for topic in rescued))
    if any(topic.lost is None for topic in rescued):
        cause = "how many messages were in it is not known"
        left_out.add("damaged part", cause, len(losses) - missing)


def nothing_reads(damaged: Damaged, losses: Sequence[Loss], foreign: Iterable[str]) -> str:
    """Says why there is no new bag; a file that is the recording is not named again."""
    alone = damaged.files == (damaged.path,)
    causes = [loss.cause if alone else f"{loss.file}: {loss.cause}" for loss in losses]
    causes += [f"topic {topic}" for topic in foreign]
    return f"nothing in it can be read: {'; '.join(dict.fromkeys(causes)) or 'empty'}"

"""What became of a recording that was recovered: kept, lost, left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roboalign_training.bags.losses import Loss
from roboalign_training.bags.rescue.damaged import Damaged
from roboalign_training.shared.left_out import LeftOut


@dataclass(frozen=True)
class Rescued:
    """One topic: messages kept, and lost; None where nothing says how many there were.

    Of one that is lost as a whole, nothing says the type: it is "".
    """

    name: str
    type: str
    kept: int
    lost: int | None


@dataclass(frozen=True)
class Recovery:
    """A recovered bag.

    Attributes:
        folder: The new bag.
        topics: By name; those that are lost as a whole among them.
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


def rescued_topics(
    types: Mapping[str, str],
    kept: Mapping[str, int],
    promised: Mapping[str, int] | None,
    foreign: Collection[str],
    damaged: bool,
) -> tuple[Rescued, ...]:
    """What became of each topic, by name.

    Args:
        types: The topics of the new bag, and their types.
        kept: Messages in it by topic.
        promised: Messages by topic that the recording held once; None where nothing says so.
        foreign: Topics that ROS 2 does not have: they are counted on their own.
        damaged: Whether a part is known that did not read.
    """
    found = []
    for name in sorted({*types, *((promised or {}).keys() - set(foreign))}):
        here, lost = kept.get(name, 0), None if damaged else 0
        if promised is not None and promised.get(name, 0) >= here:
            lost = promised.get(name, 0) - here
        found.append(Rescued(name, types.get(name, ""), here, lost))
    return tuple(found)


def count_losses(
    left_out: LeftOut, rescued: Sequence[Rescued], losses: Sequence[Loss], missing: int
) -> None:
    """Adds unreadable places of the recording to the list of what was left out.

    Args:
        left_out: Gets it.
        rescued: What became of the topics.
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

"""What a damaged recording lost, as a recovered bag remembers it in its custom data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from roboalign_policy.core.keys import BAG_RECOVERED

MOST_LOSSES = 100
"""Entries that are kept apart."""


@dataclass(frozen=True)
class Loss:
    """One part of a recording that could not be read.

    Attributes:
        file: Name of the storage file.
        at: Offset of the part in bytes, or number of the first row.
        size: Bytes or rows that were passed over.
        cause: What is wrong there.
        start_ns, end_ns: What was lost lies between these log times; None where nothing is known
            before or after it.
        messages: Messages lost by topic, as far as the file says so.
    """

    file: str
    at: int
    size: int
    cause: str
    start_ns: int | None = None
    end_ns: int | None = None
    messages: Mapping[str, int] = field(default_factory=dict)

    def touches(self, start_ns: int, end_ns: int) -> bool:
        """Whether something of the time from `start_ns` to `end_ns` may be lost."""
        before = self.end_ns is not None and self.end_ns < start_ns
        after = self.start_ns is not None and self.start_ns > end_ns
        return not (before or after)


def joined(losses: Sequence[Loss], most: int = MOST_LOSSES) -> list[Loss]:
    """The losses; where they are more than `most`, the last entry stands for all that are left."""
    if len(losses) <= most:
        return list(losses)
    kept, rest = list(losses[: most - 1]), losses[most - 1 :]
    messages: Counter[str] = Counter()
    for loss in rest:
        messages.update(loss.messages)
    starts, ends = [loss.start_ns for loss in rest], [loss.end_ns for loss in rest]
    everything = Loss(
        rest[0].file,
        rest[0].at,
        sum(loss.size for loss in rest),
        f"{len(rest)} more parts, the first: {rest[0].cause}",
        None if None in starts else min(starts),
        None if None in ends else max(ends),
        dict(messages),
    )
    return [*kept, everything]


def recovered_text(
    source: str,
    files: Mapping[str, str],
    tool: str,
    accepted: bool,
    losses: Sequence[Loss],
    **more: object,
) -> str:
    """The entry of a recovered bag's custom data, JSON.

    Args:
        source: The recording it was made of.
        files: SHA-256 of its storage files by name.
        tool: What made it.
        accepted: Whether its gaps were accepted.
        losses: What did not read.
        more: Further entries, JSON values.
    """
    document = {
        "source": source,
        "files": dict(files),
        "tool": tool,
        "accepted": accepted,
        "lost": [asdict(loss) for loss in losses],
        **more,
    }
    return json.dumps(document, ensure_ascii=False)


def recovered_losses(custom: Mapping[str, str]) -> list[Loss]:
    """What a bag lost before it was recovered; empty for others, and for an accepted one.

    Raises:
        ValueError: When its custom data does not say it in the way that `recovered_text` does.
    """
    text = custom.get(BAG_RECOVERED)
    if text is None:
        return []
    try:
        document = json.loads(text)
        return [] if document["accepted"] else [Loss(**entry) for entry in document["lost"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"custom data {BAG_RECOVERED}: {error!r}") from error

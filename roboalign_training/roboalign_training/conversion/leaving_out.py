"""What a conversion left out, from the balance sheets of its bags: counts, causes, reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roboalign_training.conversion.kinds import kind_of
from roboalign_training.conversion.target import Converted
from roboalign_training.data.index import DatasetIndex
from roboalign_training.episodes.frame_plan import IN_PAUSE
from roboalign_training.shared.left_out import LeftOut

MOST_REASONS = 40
_NAMED = 3
_THE_BAG_HAS = ". The bag has "  # of `map_topics`: the same for all bags of a robot, or nearly
_PHRASES = {
    "outcome": "outcome not wanted",
    "gap": "a gap too long",
    "clock": "clocks",
    "late": "older than max_age_s when received",
    "instruction": "instruction missing or changed",
    "unreadable": "no readable message",
    "camera missing": "a camera is missing",
}


def left_out_of(done: Iterable[Converted], index: DatasetIndex | None) -> LeftOut:
    """Counts all that is left out of the bags that a command was given.

    Of bags that the data set had before, it is what their sheets say, so that a repeated command
    says and ends as the first one did.

    Args:
        done: What became of each bag.
        index: The data set; None where there is none.
    """
    left = LeftOut()
    for result in done:
        if result.error:
            left.add("bag", "cannot be read")
            continue
        if result.copy:
            left.add("bag", "a copy of another one")
            continue
        sheet = result.balance
        if sheet is None and index is not None:
            sheet = index.balance.get(result.bag_sha256)
        if sheet is not None:
            _add_sheet(left, sheet)
        elif index is not None:  # converted before there were sheets
            for entry in index.skipped:
                if entry["bag_sha256"] == result.bag_sha256:
                    left.add("episode", phrase(kind_of(entry["reason"])))
    return left


def phrase(kind: str) -> str:
    """A kind of reason as a cause."""
    return _PHRASES.get(kind, kind)


def _add_sheet(left: LeftOut, sheet: dict) -> None:
    for kind, count in sheet["episodes"]["left_out"].items():
        left.add("episode", phrase(kind), count)
    frames = sheet["frames"]
    causes = frames.get("causes")
    if causes is None:  # a sheet of an older version knows reasons, of which a frame may have two
        causes = {" or ".join(frames["reasons"]): frames["dropped"] + frames["trimmed"]}
    for cause, count in causes.items():
        if cause != IN_PAUSE:
            left.add("frame", cause, count)
    for name, topic in sheet["topics"].items():
        left.add("message", f"{name}: unreadable", topic["unreadable"])
        left.add("message", f"{name}: stamp of another time", topic.get("off_clock", 0))
    left.add("message", "pixels that do not decode", sheet["images"]["undecodable"])
    for name, why in dict(sheet.get("unread_topics", ())).items():
        left.add("topic", f"{name}: {why}")


@dataclass
class LeftOutReason:
    """A reason and the episodes that were left out for it.

    Attributes:
        text: The reason; of several the first one's.
        places: Bag and episode of each.
    """

    text: str
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        named = ", ".join(self.places[:_NAMED])
        if len(self.places) == 1:
            return f"{named}: {self.text}"
        more = len(self.places) - _NAMED
        return f"{named}{f' and {more} more' if more > 0 else ''}: {self.text}"


def reasons_of(skipped: Sequence[dict]) -> list[LeftOutReason]:
    """The reasons why episodes were left out, like ones together; the most frequent first.

    Args:
        skipped: Entries with id, source and reason.
    """
    found: dict[str, LeftOutReason] = {}
    for entry in skipped:
        key = entry["reason"].split(_THE_BAG_HAS)[0]
        source, name = entry["source"], entry["id"]
        place = (
            source if name in ("", Path(source).name, Path(source).stem) else f"{source}: {name}"
        )
        found.setdefault(key, LeftOutReason(entry["reason"])).places.append(place)
    return sorted(found.values(), key=lambda reason: -len(reason.places))

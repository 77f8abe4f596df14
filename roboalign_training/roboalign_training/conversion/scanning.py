"""The first pass by segments: each one's columns go to a part, and are joined to an episode's."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.conversion.parts import PartFile, PartWriter
from roboalign_training.conversion.segments import BagPlace, EpisodeSegment, open_place
from roboalign_training.episodes.columns import StreamColumns
from roboalign_training.episodes.pauses import Pauses
from roboalign_training.episodes.scan import Scan, scan_messages
from roboalign_training.episodes.topics import TopicMap

_COLUMNS = ("receive_ns", "header_ns", "readable", "values", "parts")
_IN_MEMORY = 8 << 20  # bytes of a column; longer ones lie in a temporary file


@dataclass(frozen=True)
class ScanJob:
    """Reads the streams of one segment.

    Attributes:
        place: The bag.
        contract: The robot.
        topics: Where its streams stand in the bag.
        segment: Which stretch.
        pauses: Of the episode.
        path: The part to write.
        made_with: What the part says that it was made with.
    """

    place: BagPlace
    contract: Contract
    topics: TopicMap
    segment: EpisodeSegment
    pauses: Pauses
    path: Path
    made_with: dict

    def run(self) -> None:
        """Writes the part.

        Raises:
            BagError: When the bag is damaged there.
        """
        times = (self.segment.start_ns, self.segment.end_ns)
        bag = open_place(self.place)
        scan = scan_messages(bag, self.contract, self.topics, times, self.pauses)
        arrays, faults, others = {}, {}, {}
        for name, columns in _named(scan):
            faults[name], others[name] = columns.fault, columns.others
            for key in _COLUMNS:
                if (array := getattr(columns, key)) is not None:
                    arrays[f"{name}/{key}"] = array
        with PartWriter(self.path, self.made_with) as part:
            facts = {"faults": faults, "others": others}
            part.finish(arrays, {**facts, "counts": scan.counts, "paused": scan.paused})


def joined_scan(parts: Sequence[PartFile], contract: Contract, folder: Path) -> Scan:
    """The scan of an episode from those of its segments; long columns lie in files of `folder`."""
    counts: Counter[str] = Counter()
    paused: Counter[str] = Counter()
    for part in parts:
        counts.update(part.facts["counts"])
        paused.update(part.facts["paused"])

    def columns(name: str) -> StreamColumns:
        faults = [part.facts["faults"][name] for part in parts]
        arrays = {
            key: _joined([part.arrays.get(f"{name}/{key}") for part in parts], folder)
            for key in _COLUMNS
        }
        others: Counter[str] = Counter()
        for part in parts:
            others.update(part.facts["others"][name])
        fault = next((f for f in reversed(faults) if f), "")
        return StreamColumns(**arrays, fault=fault, others=dict(others))

    return Scan(
        {s.key: columns(s.key) for s in contract.observations},
        [columns(f"command {n}") for n in range(len(contract.action.commands))],
        dict(counts),
        dict(paused),
    )


def _named(scan: Scan) -> Iterator[tuple[str, StreamColumns]]:
    yield from scan.observed.items()
    for number, columns in enumerate(scan.commands):
        yield f"command {number}", columns


def _joined(arrays: list[np.ndarray | None], folder: Path) -> np.ndarray | None:
    """Arrays one behind the other; None where a part has none."""
    if any(array is None for array in arrays):
        return None
    found = [array for array in arrays if len(array)] or [arrays[0]]
    rows, shape = sum(map(len, found)), found[0].shape[1:]
    if sum(array.nbytes for array in found) <= _IN_MEMORY:
        return np.concatenate(found)
    with tempfile.TemporaryFile(dir=folder) as stream:
        for array in found:
            stream.write(np.ascontiguousarray(array).data)
        stream.flush()
        return np.memmap(stream, found[0].dtype, "r", shape=(rows, *shape))

"""Pixels of the images that frames show: read by who needs them, once the frames are decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.images import stream_image
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import BagError
from roboalign_training.episodes.frame_plan import FramePlan
from roboalign_training.episodes.scan import Bad, MessageView, Scan
from roboalign_training.episodes.topics import TopicMap


@dataclass(frozen=True, eq=False)
class WantedImages:
    """Images of one stream to decode, in order.

    Attributes:
        topic: As named in the bag.
        places: (N,) int64, which message of the stream within the episode.
        receive_ns: (N,) int64, ns; when each was received.
        turns: (N,) int64; which of the messages on the topic that were received just then.
        shown: (N,) bool; whether a frame shows it: the others only have to be readable.
    """

    topic: str
    places: np.ndarray
    receive_ns: np.ndarray
    turns: np.ndarray
    shown: np.ndarray

    def within(self, start_ns: int, end_ns: int) -> WantedImages:
        """Those received from `start_ns` to `end_ns`."""
        rows = slice(
            int(np.searchsorted(self.receive_ns, start_ns)),
            int(np.searchsorted(self.receive_ns, end_ns, side="right")),
        )
        columns = (self.places, self.receive_ns, self.turns, self.shown)
        return WantedImages(self.topic, *(column[rows] for column in columns))


def wanted_images(scan: Scan, plan: FramePlan, topics: TopicMap) -> dict[str, WantedImages]:
    """Image stream key -> the images to decode: those that frames show, and the doubtful ones."""
    names = {key: name for name, keys in topics.observations.items() for key in keys}
    wanted = {}
    for key, shown in plan.pictures.items():
        received = scan.observed[key].receive_ns
        places = np.union1d(shown, plan.doubtful[key])
        times = np.array(received[places])
        turns = places - np.searchsorted(received, times)
        wanted[key] = WantedImages(names[key], places, times, turns, np.isin(places, shown))
    return wanted


def wanted_messages(
    bag: Bag, wanted: Mapping[str, WantedImages]
) -> Iterator[tuple[str, int, Any]]:
    """The messages of wanted images, to take pixels from, in the order of the recording.

    Yields:
        Image stream key, row in its `WantedImages`, message; without a copy of its pixels where
        that is possible.

    Raises:
        BagError: When the bag is damaged, or is not the one that was scanned.
    """
    rows: dict[str, dict[tuple[int, int], list[tuple[str, int]]]] = {}
    for key, found in wanted.items():
        by_time = rows.setdefault(found.topic, {})
        times = zip(found.receive_ns.tolist(), found.turns.tolist(), strict=True)
        for row, when in enumerate(times):
            by_time.setdefault(when, []).append((key, row))
    rows = {name: by_time for name, by_time in rows.items() if by_time}
    if not rows:
        return
    times = np.unique(np.concatenate([found.receive_ns for found in wanted.values()]))
    layouts = {name: bag.layouts(name) for name in rows}
    last: dict[str, tuple[int, int]] = {}
    for name, receive_ns, data in bag.raw_messages_at(list(rows), times):
        before, turn = last.get(name, (-1, 0))
        turn = turn + 1 if before == receive_ns else 0
        last[name] = (receive_ns, turn)
        if due := rows[name].pop((receive_ns, turn), None):
            layout = layouts[name].of(data)
            msg = bag.decode(name, data) if layout is None else MessageView(layout, data)
            for key, row in due:
                yield key, row, msg
    if any(rows.values()):
        raise BagError(bag.path, "changed while it was converted: images are missing now")


def frame_pixels(
    bag: Bag, contract: Contract, scan: Scan, plan: FramePlan, topics: TopicMap
) -> tuple[dict[str, np.ndarray], Bad]:
    """Decodes the images of an episode, all at once.

    Returns:
        Image stream key -> (N, H, W, 3) uint8 RGB, what each frame shows; and the images that
        cannot be decoded: where there are any, the frames have to be planned anew without them.

    Raises:
        BagError: As `wanted_messages`.
    """
    wanted = wanted_images(scan, plan, topics)
    values = {s.key: np.empty((len(plan), *s.value_shape), np.uint8) for s in contract.images}
    bad: Bad = {}
    for key, row, msg in wanted_messages(bag, wanted):
        place, stream = int(wanted[key].places[row]), contract.stream(key)
        try:
            image = stream_image(msg, stream)
        except SelectorError as error:
            bad.setdefault(key, {})[place] = f"{stream.topic}: {error}"
            continue
        values[key][plan.pictures[key] == place] = image
    return values, bad

"""A scan of a recording: its streams as columns, images by their heads alone.

States and commands are read where they stand in the message (`cdr_layout`), many messages at a
time. Of an image it is found out when it was taken, when it was received, and whether it can be
read as far as can be told without its pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.selectors import read_path, stamp_ns_from_msg
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.cdr_layout import Layout, Numbers, Place, Tail, number
from roboalign_training.bags.errors import BagError
from roboalign_training.episodes.columns import StreamColumns
from roboalign_training.episodes.pauses import Pauses, Within
from roboalign_training.episodes.scan_reader import ScanReader, held
from roboalign_training.episodes.topics import TopicMap

Bad = dict[str, dict[int, str]]
"""Image stream key -> place of a message without readable pixels -> why."""

_ROWS = 1024  # messages that are taken apart together
_BYTES = 1 << 20


@dataclass(frozen=True)
class Scan:
    """The streams of a recording, or of a part of it.

    Attributes:
        observed: By stream key.
        commands: In the contract's order.
        counts: Messages by topic, as named in the bag.
        paused: Of these, the ones within a pause, which are in no stream.
    """

    observed: dict[str, StreamColumns]
    commands: list[StreamColumns]
    counts: dict[str, int] = field(default_factory=dict)
    paused: dict[str, int] = field(default_factory=dict)

    def without(self, bad: Bad) -> Scan:
        """The same where images turned out to be unreadable."""
        marked = {
            key: self.observed[key].without(found, found[max(found)]) for key, found in bad.items()
        }
        return replace(self, observed={**self.observed, **marked})


def scan_messages(
    bag: Bag,
    contract: Contract,
    topics: TopicMap,
    times: tuple[int, int] | None = None,
    pauses: Pauses = (),
) -> Scan:
    """Reads the observation and command topics of a bag.

    Args:
        bag: The recording.
        contract: The robot.
        topics: Where the contract's streams stand in it.
        times: ns; receive time of the first and last message wanted. None for all.
        pauses: What was received within them is counted and not taken.

    Raises:
        BagError: When the bag is damaged, or a message is none of its topic's type.
    """
    observed = {s.key: ScanReader(s) for s in contract.observations}
    commands = [ScanReader(c) for c in contract.action.commands]
    by_topic: dict[str, list[ScanReader]] = {}
    for name, keys in topics.observations.items():
        by_topic.setdefault(name, []).extend(observed[key] for key in keys)
    for name, index in topics.commands.items():
        by_topic.setdefault(name, []).append(commands[index])
    takers = {name: _Topic(bag, name, readers) for name, readers in by_topic.items()}
    span = {} if times is None else {"start_ns": times[0], "end_ns": times[1]}
    counts: Counter[str] = Counter()
    paused: Counter[str] = Counter()
    within = Within(pauses)
    for name, receive_ns, data in bag.raw_messages(list(by_topic), **span):
        counts[name] += 1
        if pauses and within(receive_ns):
            paused[name] += 1
            continue
        takers[name].take(receive_ns, data)
    for taker in takers.values():
        taker.flush()
    return Scan(
        {key: reader.collector.columns() for key, reader in observed.items()},
        [reader.collector.columns() for reader in commands],
        dict(counts),
        dict(paused),
    )


class MessageView:
    """A message that was not decoded: its top fields are read when asked for.

    Numbers are numbers, sequences of them a view of their bytes, other fields stand-ins.
    """

    def __init__(self, layout: Layout, data: bytes) -> None:
        self._layout, self._data = layout, data

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._layout.message, name)
        if isinstance(found, Place):
            return number(self._data, found)
        if isinstance(found, (Numbers, Tail)):
            return found.bytes_of(self._data)
        return found


class _Topic:
    """Takes the messages of one topic for all that read it, many at a time."""

    def __init__(self, bag: Bag, name: str, readers: list[ScanReader]) -> None:
        self._bag, self._name, self._readers = bag, name, readers
        self._layouts = bag.layouts(name)
        self._images = any(reader.is_image for reader in readers)
        self._layout: Layout | None = None
        self._waiting: list[bytes] = []
        self._received: list[int] = []
        self._size = 0
        self._ways: dict[int, tuple[Layout, Callable | None, list]] = {}

    def take(self, receive_ns: int, data: bytes) -> None:
        """Takes one message."""
        try:
            layout = self._layouts.of(data)
        except BagError as error:
            raise self._located(error, receive_ns) from error
        if layout is None or (way := self._way(layout)) is None:
            self.flush()
            self._decoded(receive_ns, data)
            return
        if self._images:
            self._image(way[1], layout, receive_ns, data)
            return
        if all(plan.others for _, plan in way[2]):
            for reader, plan in way[2]:
                reader.collector.pass_over(plan.others)
            return
        waiting = self._waiting
        if waiting and (
            layout is not self._layout
            or len(data) != len(waiting[0])
            or len(waiting) == _ROWS
            or self._size > _BYTES
        ):
            self.flush()
        self._layout = layout
        self._waiting.append(data)
        self._received.append(receive_ns)
        self._size += len(data)

    def flush(self) -> None:
        """Takes apart the messages that wait; all are built alike."""
        if not self._waiting:
            return
        _, stamp, plans = self._ways[id(self._layout)]
        rows = np.frombuffer(b"".join(self._waiting), np.uint8).reshape(len(self._waiting), -1)
        header = None if stamp is None else stamp(lambda place: _column(rows, place))
        for reader, plan in plans:
            if plan.others:
                for _ in rows:
                    reader.collector.pass_over(plan.others)
                continue
            if plan.fault:
                reader.collector.add(self._received, header, None, plan.fault)
                continue
            values = np.full((len(rows), len(plan.places)), np.nan, np.float32)
            with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf: non-finite
                for dim, (place, f) in enumerate(zip(plan.places, reader.fields, strict=True)):
                    if place is not None:
                        column = _column(rows, place).astype(np.float64)
                        values[:, dim] = column * f.gain + f.offset
            reader.collector.add(self._received, header, values, held=held(plan.places))
        self._waiting, self._received, self._size = [], [], 0

    def _image(self, stamp: Callable | None, layout: Layout, receive_ns: int, data: bytes) -> None:
        header = None
        if stamp is not None:
            header = stamp(lambda place: np.array([number(data, place)], np.int64))
        view = MessageView(layout, data)
        for reader in self._readers:
            reader.collector.add([receive_ns], header, None, reader.check_image(view))

    def _decoded(self, receive_ns: int, data: bytes) -> None:
        """Takes a message of which no places are known."""
        try:
            msg = self._bag.decode(self._name, data)
        except BagError as error:
            raise self._located(error, receive_ns) from error
        header_ns = stamp_ns_from_msg(msg)
        for reader in self._readers:
            reader.take_decoded(receive_ns, header_ns, msg)

    def _way(self, layout: Layout) -> tuple[Layout, Callable | None, list] | None:
        """How to take messages of a layout: (it, stamps, readers with places); None: decode."""
        if id(layout) not in self._ways:
            if len(self._ways) > 4096:  # layouts that are not in use any more
                self.flush()
                self._ways.clear()
            mixed = self._images and not all(reader.is_image for reader in self._readers)
            plans = [] if self._images else [(r, r.places(layout)) for r in self._readers]
            known = not mixed and all(plan is not None for _, plan in plans)
            stamp = _stamps(layout) if known else None
            known = known and stamp is not False
            self._ways[id(layout)] = (layout, stamp, plans) if known else None
        return self._ways[id(layout)]

    def _located(self, error: BagError, receive_ns: int) -> BagError:
        cause = f"topic {self._name}: message at {receive_ns} ns {error.cause}"
        return BagError(self._bag.path, cause)


def _stamps(layout: Layout) -> Callable | None | bool:
    """What gives (N,) int64 stamps, ns, of columns; None without header; False: decode."""
    if getattr(layout.message, "header", None) is None:
        return None
    try:
        sec = read_path(layout.message, "header.stamp.sec")
        nanosec = read_path(layout.message, "header.stamp.nanosec")
    except SelectorError:
        return False
    if not (isinstance(sec, Place) and isinstance(nanosec, Place)):
        return False
    return lambda column: column(sec).astype(np.int64) * 1_000_000_000 + column(nanosec)


def _column(rows: np.ndarray, place: Place) -> np.ndarray:
    """The numbers at one place of messages (N, bytes) uint8, (N,)."""
    end = place.at + place.dtype.itemsize
    return np.ascontiguousarray(rows[:, place.at : end]).view(place.dtype)[:, 0]

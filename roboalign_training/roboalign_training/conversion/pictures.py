"""The second pass: the images that a frame shows are decoded, each once, and encoded anew."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Contract, Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.cdr_layout import Layouts
from roboalign_training.bags.errors import BagError
from roboalign_training.conversion.parts import TEMPORARY, PartWriter
from roboalign_training.conversion.segments import BagPlace, Segment, open_place
from roboalign_training.data.content import DIGEST_BYTES, image_digest
from roboalign_training.episodes.columns import StreamColumns
from roboalign_training.episodes.scan import MessageView
from roboalign_training.images.image_storage import VIDEO, ImageStorage, video_rate

_COPY = 1 << 20


@dataclass(frozen=True, eq=False)
class Wanted:
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

    def within(self, segment: Segment) -> Wanted:
        """Those in a segment."""
        rows = slice(
            int(np.searchsorted(self.receive_ns, segment.start_ns)),
            int(np.searchsorted(self.receive_ns, segment.end_ns, side="right")),
        )
        columns = (self.places, self.receive_ns, self.turns, self.shown)
        return Wanted(self.topic, *(column[rows] for column in columns))


def wanted_images(
    topic: str, columns: StreamColumns, shown: np.ndarray, doubtful: np.ndarray
) -> Wanted:
    """The images of a stream to decode.

    Args:
        topic: As named in the bag.
        columns: All messages of the stream.
        shown: (N,) int64, the place that each frame shows.
        doubtful: (M,) int64, as in `FramePlan`.
    """
    places = np.union1d(shown, doubtful)
    received = np.array(columns.receive_ns[places])
    turns = places - np.searchsorted(columns.receive_ns, received)
    return Wanted(topic, places, received, turns, np.isin(places, shown))


@dataclass(frozen=True)
class PictureJob:
    """Decodes and encodes the images of one segment.

    Attributes:
        place: The bag.
        contract: The robot.
        wanted: Image stream key -> which images.
        storage: How they are stored.
        path: The part to write.
        made_with: What the part says that it was made with; also for which images.
    """

    place: BagPlace
    contract: Contract
    wanted: dict[str, Wanted]
    storage: ImageStorage
    path: Path
    made_with: dict

    def run(self) -> None:
        """Writes the part.

        Raises:
            BagError: When the bag is damaged there, or is not the one that was read before.
        """
        bag = open_place(self.place)
        rate = video_rate(self.contract)
        with PartWriter(self.path, self.made_with) as part:
            takers = [
                _Taker(self.contract.stream(key), found, self.storage, part, self.path, rate)
                for key, found in self.wanted.items()
                if len(found.places)
            ]
            try:
                self._read(bag, takers)
                arrays, facts = {}, {"bad": {}, "videos": {}}
                for taker in takers:
                    taker.finish(arrays, facts)
            finally:
                for taker in takers:
                    taker.close()
            part.finish(arrays, facts)

    def _read(self, bag: Bag, takers: list[_Taker]) -> None:
        by_topic: dict[str, list[_Taker]] = {}
        for taker in takers:
            by_topic.setdefault(taker.wanted.topic, []).append(taker)
        if not by_topic:
            return
        times = np.unique(np.concatenate([taker.wanted.receive_ns for taker in takers]))
        layouts = {name: bag.layouts(name) for name in by_topic}
        last: dict[str, tuple[int, int]] = {}
        for name, receive_ns, data in bag.raw_messages_at(list(by_topic), times):
            before, turn = last.get(name, (-1, 0))
            turn = turn + 1 if before == receive_ns else 0
            last[name] = (receive_ns, turn)
            due = [t for t in by_topic[name] if t.is_next(receive_ns, turn)]
            if due:
                msg = _message(bag, name, layouts[name], data)
                for taker in due:
                    taker.take(msg)
        if any(taker.left for taker in takers):
            raise BagError(bag.path, "changed while it was converted: images are missing now")


def _message(bag: Bag, name: str, layouts: Layouts, data: bytes) -> Any:
    """A message to take pixels from, without a copy of them where that is possible."""
    layout = layouts.of(data)
    return bag.decode(name, data) if layout is None else MessageView(layout, data)


@dataclass
class _Taker:
    """Takes the wanted images of one stream into a part."""

    stream: Stream
    wanted: Wanted
    storage: ImageStorage
    part: PartWriter
    path: Path
    rate: Fraction
    left: int = 0
    _done: int = 0
    _bad: list = field(default_factory=list)
    _rows: list = field(default_factory=list)
    _digests: list = field(default_factory=list)
    _video: Any = None

    def __post_init__(self) -> None:
        self.left = len(self.wanted.places)
        self._keys = list(
            zip(self.wanted.receive_ns.tolist(), self.wanted.turns.tolist(), strict=True)
        )

    def is_next(self, receive_ns: int, turn: int) -> bool:
        """Whether the message is the next one that is wanted."""
        return self._done < len(self._keys) and self._keys[self._done] == (receive_ns, turn)

    def take(self, msg: Any) -> None:
        """Takes the next image; one without readable pixels is noted."""
        place, shown = int(self.wanted.places[self._done]), self.wanted.shown[self._done]
        self._done += 1
        self.left -= 1
        try:
            image = image_from_msg(msg, self.stream.shape)
        except SelectorError as error:
            self._bad.append([place, f"{self.stream.topic}: {error}"])
            return
        if not shown:
            return
        self._digests.append(image_digest(image))
        if self.storage.choice == VIDEO:
            self._add_to_video(image)
            self._rows.append((place, 0, 0, False))
            return
        data, passed = self.storage.encode(image, msg)
        self._rows.append((place, self.part.add(data), len(data), passed))

    def finish(self, arrays: dict, facts: dict) -> None:
        """Adds what was found to the arrays and facts of the part."""
        key = self.stream.key
        table = np.array(self._rows, np.int64).reshape(-1, 4)
        arrays[f"{key}/rows"] = table
        digests = np.frombuffer(b"".join(self._digests), np.uint8)
        arrays[f"{key}/digests"] = digests.reshape(-1, DIGEST_BYTES)
        facts["bad"][key] = self._bad
        if self._video is not None:
            writer, path = self._video
            writer.close()
            start, size = None, 0
            with path.open("rb") as stream:
                while block := stream.read(_COPY):
                    at = self.part.add(block)
                    start = at if start is None else start
                    size += len(block)
            facts["videos"][key] = [start, size, len(writer)]

    def close(self) -> None:
        """Removes what was only needed on the way."""
        if self._video is not None:
            self._video[0].close()
            self._video[1].unlink(missing_ok=True)

    def _add_to_video(self, image: np.ndarray) -> None:
        from roboalign_training.images.video import REPEATABLE, VideoWriter

        if self._video is None:
            handle, name = tempfile.mkstemp(TEMPORARY, ".video-", self.path.parent)
            os.close(handle)
            writer = VideoWriter(
                Path(name),
                self.rate,
                self.stream.shape,
                REPEATABLE,
                self.storage.quality,
                threads=1,
            )
            self._video = (writer, Path(name))
        self._video[0].add(image)


def wanted_digest(wanted: dict[str, Wanted]) -> str:
    """SHA-256 (hex) of which images are wanted: the name of the parts that hold them."""
    digest = hashlib.sha256()
    for key in sorted(wanted):
        digest.update(key.encode() + b"\0")
        found = wanted[key]
        for array in (found.places, found.receive_ns, found.turns, found.shown):
            digest.update(np.ascontiguousarray(array, "<i8"))
    return digest.hexdigest()

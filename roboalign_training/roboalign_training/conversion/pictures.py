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
from roboalign_policy.core.messages.images import stream_image
from roboalign_training.conversion.parts import TEMPORARY, PartWriter
from roboalign_training.conversion.segments import BagPlace, open_place
from roboalign_training.data.content import DIGEST_BYTES, image_digest
from roboalign_training.episodes.pixels import WantedImages, wanted_messages
from roboalign_training.images.image_storage import VIDEO, ImageStorage, video_rate

_COPY = 1 << 20


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
    wanted: dict[str, WantedImages]
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
            takers = {
                key: _Taker(self.contract.stream(key), found, self.storage, part, self.path, rate)
                for key, found in self.wanted.items()
                if len(found.places)
            }
            try:
                for key, row, msg in wanted_messages(bag, self.wanted):
                    takers[key].take(row, msg)
                arrays, facts = {}, {"bad": {}, "videos": {}}
                for taker in takers.values():
                    taker.finish(arrays, facts)
            finally:
                for taker in takers.values():
                    taker.close()
            part.finish(arrays, facts)


@dataclass
class _Taker:
    """Takes the wanted images of one stream into a part."""

    stream: Stream
    wanted: WantedImages
    storage: ImageStorage
    part: PartWriter
    path: Path
    rate: Fraction
    _bad: list = field(default_factory=list)
    _rows: list = field(default_factory=list)
    _digests: list = field(default_factory=list)
    _video: Any = None

    def take(self, row: int, msg: Any) -> None:
        """Takes the image that is wanted as `row`; one without readable pixels is noted."""
        place, shown = int(self.wanted.places[row]), self.wanted.shown[row]
        try:
            image = stream_image(msg, self.stream)
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
        data, passed = self.storage.encode(image, msg, self.stream.as_sent)
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
                self.stream.value_shape,
                REPEATABLE,
                self.storage.quality,
                threads=1,
            )
            self._video = (writer, Path(name))
        self._video[0].add(image)


def wanted_digest(wanted: dict[str, WantedImages]) -> str:
    """SHA-256 (hex) of which images are wanted: the name of the parts that hold them."""
    digest = hashlib.sha256()
    for key in sorted(wanted):
        digest.update(key.encode() + b"\0")
        found = wanted[key]
        for array in (found.places, found.receive_ns, found.turns, found.shown):
            digest.update(np.ascontiguousarray(array, "<i8"))
    return digest.hexdigest()

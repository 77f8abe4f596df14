"""Puts what the episodes gave together to a LeRobot data set; files that are done stay."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_policy.core.hashing import sha256_json
from roboalign_training.data.index import DatasetIndex
from roboalign_training.images.video_joining import join_videos
from roboalign_training.lerobot import layout
from roboalign_training.lerobot.counters import Counters
from roboalign_training.lerobot.episode_part import (
    PICTURES,
    PICTURES_AT_ONCE,
    EpisodePart,
    keeps_pictures,
    made_with,
    video_name,
)
from roboalign_training.lerobot.files import FileSeries, is_full
from roboalign_training.lerobot.images import row_batches
from roboalign_training.lerobot.layout import DATA_FILE_MB, PNG, VIDEO_FILE_MB
from roboalign_training.lerobot.metadata import write_metadata
from roboalign_training.lerobot.ours import OwnEpisode
from roboalign_training.lerobot.partial import keep_only

_PARTS = "parts"


class Assembly:
    """The data set that is made, from the parts of its episodes.

    Attributes:
        tree: The folder that becomes the data set.
    """

    def __init__(self, folder: Path, index: DatasetIndex, storage: dict) -> None:
        """Takes up what an interrupted export left, and throws away what is of no use.

        Args:
            folder: The folder to work in, see `partial.partial_folder`.
            index: The data set.
            storage: `storage`: `png` or a codec; `crf`: of videos.
        """
        self._index, self._storage = index, storage
        self._counters = Counters(index)
        self._names = self._counters.names
        parts = [EpisodePart(folder / _PARTS, index, name, storage) for name in self._names]
        self._parts, self._counts = parts, [index.episodes[n]["frames"] for n in self._names]
        identity = {
            **made_with(index, storage),
            "limits_mb": [DATA_FILE_MB, VIDEO_FILE_MB],
            "parts": [part.path.name for part in parts],
        }
        work = sha256_json(identity)
        keep_only(folder, {_PARTS, work})
        (folder / _PARTS).mkdir(exist_ok=True)
        keep_only(folder / _PARTS, {part.path.name for part in parts})
        self.tree, notes = folder / work / "tree", folder / work / "files"
        self.tree.mkdir(parents=True, exist_ok=True)
        self._data = FileSeries(self.tree, notes / "data", layout.DATA_PATH, identity)
        streams = [] if storage["storage"] == PNG else index.contract.images
        self._videos = {
            stream.key: FileSeries(
                self.tree,
                notes / stream.key,
                layout.VIDEO_PATH.replace("{video_key}", layout.image_feature(stream.key)),
                identity,
            )
            for stream in streams
        }
        self._media = {video_name(key): series for key, series in self._videos.items()}
        if keeps_pictures(index, storage):
            self._media[PICTURES] = self._data
        for name, series in self._media.items():
            for held in series.ranges:
                self._drop(name, held)

    def make_parts(self, on_frame: Callable[[int], None]) -> None:
        """Makes the parts that are missing.

        Args:
            on_frame: Called with the number of images that were done since the last call.

        Raises:
            DatasetError: When an episode cannot be read.
        """
        streams = len(self._index.contract.images)
        for number, part in enumerate(self._parts):
            media = [name for name, series in self._media.items() if number >= series.stop]
            if part.is_whole(media):
                on_frame(self._counts[number] * streams)
            else:
                part.make(on_frame)

    def finish(self, on_filed: Callable[[int], None]) -> list[str]:
        """Writes the data set from the parts; returns what a user should know.

        Args:
            on_filed: Called with the number of frames in a data or video file that is complete.

        Raises:
            DatasetError: When pictures of the data set cannot be read.
        """
        for key in self._videos:
            self._fill(
                self._videos[key],
                lambda path, first, key=key: self._join(key, path, first),
                on_filed,
            )
        self._fill(self._data, self._write_data, on_filed)
        shutil.rmtree(self.tree / "meta", ignore_errors=True)
        return write_metadata(
            self.tree,
            self._index,
            self._storage,
            (part.facts() for part in self._parts),
            self._data.places(),
            {key: series.places() for key, series in self._videos.items()},
        )

    def _fill(
        self,
        series: FileSeries,
        write: Callable[[Path, int], int],
        on_filed: Callable[[int], None],
    ) -> None:
        """Writes the missing files of a series; what went into one is not kept a second time."""
        on_filed(sum(self._counts[: series.stop]))
        while series.stop < len(self._parts):
            held = series.add(write)
            on_filed(sum(self._counts[number] for number in held))
            for name, other in self._media.items():
                if other is series:
                    self._drop(name, held)

    def _drop(self, media: str, episodes: range) -> None:
        for number in episodes:
            self._parts[number].drop(media)

    def _join(self, key: str, path: Path, first: int) -> int:
        """Joins videos of episodes from `first` on; returns the first one that has no room."""
        name, size, stop = video_name(key), 0, first
        while stop < len(self._parts):
            size += self._parts[stop].facts().facts["media"][name][0]
            if stop > first and size >= VIDEO_FILE_MB * 2**20:
                break
            stop += 1
        pieces = [(self._parts[n].path / name, self._counts[n]) for n in range(first, stop)]
        join_videos(pieces, int(self._index.contract.rate_hz), path)
        return stop

    def _write_data(self, path: Path, first: int) -> int:
        """Writes rows of episodes from `first` on; returns the first one that has no room."""
        schema = layout.columns(self._index.contract, self._storage["storage"]).arrow_schema
        with path.open("wb") as sink, pq.ParquetWriter(sink, schema, compression="snappy") as to:
            rows = 0
            for number in range(first, len(self._parts)):
                count = self._counts[number]
                if is_full(sink.tell(), rows, count, DATA_FILE_MB):
                    return number
                for table in self._rows(number, schema):
                    to.write_table(table, row_group_size=len(table))
                rows += count
        return len(self._parts)

    def _rows(self, number: int, schema: pa.Schema) -> Iterator[pa.Table]:
        """The rows of an episode in the data files; with images, some at a time."""
        keys = {layout.image_feature(s.key): s.key for s in self._index.contract.images}
        numbers = self._numbers(number)
        start = 0
        for batch in self._pictures(number):
            rows = slice(start, start + len(batch))
            columns = [
                batch.column(keys[f.name]).cast(f.type)
                if f.name in keys
                else _column(numbers[f.name][rows], f)
                for f in schema
            ]
            yield pa.table(columns, schema=schema)
            start = rows.stop

    def _numbers(self, number: int) -> dict[str, np.ndarray]:
        """Column -> (N,) or (N, D): all of an episode but its images."""
        vectors = layout.vectors(self._index.contract)
        found = self._parts[number].facts().arrays
        return {**{name: found[name] for name in vectors}, **self._counters.of(number)}

    def _pictures(self, number: int) -> Iterator[pa.RecordBatch | pa.Table]:
        """The images of an episode, some rows at a time; without them, all rows at once."""
        contract, count = self._index.contract, self._counts[number]
        if self._storage["storage"] != PNG or not contract.images:
            yield pa.table({"rows": np.arange(count)})
        elif keeps_pictures(self._index, self._storage):
            keys = [stream.key for stream in contract.images]
            file = pq.ParquetFile(self._parts[number].path / PICTURES)
            yield from row_batches(file, keys, slice(0, count), PICTURES_AT_ONCE)
        else:
            yield from OwnEpisode(self._index, self._names[number]).pictures(PICTURES_AT_ONCE)


def _column(numbers: np.ndarray, field: pa.Field) -> pa.Array:
    """A column of the data files from numbers (N,) or vectors (N, D)."""
    flat = pa.array(numbers.ravel())
    if pa.types.is_fixed_size_list(field.type):
        return pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1]).cast(field.type)
    return flat.cast(field.type)

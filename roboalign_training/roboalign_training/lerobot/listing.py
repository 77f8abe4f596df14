"""The episodes that a LeRobot data set lists, and where their data and videos lie."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.bags.errors import DatasetError
from roboalign_training.lerobot.layout import EPISODES_21, INFO
from roboalign_training.shared.json_lines import read_json_lines

_NUMBERS = ("chunk_index", "file_index")
_TIMES = ("from_timestamp", "to_timestamp")


class VideoPlace(NamedTuple):
    """Where the video of an episode is.

    Attributes:
        file: Relative to the data set.
        from_s, to_s: s; where the metadata says that it begins and ends in the file; None where
            it does not say.
    """

    file: str
    from_s: float
    to_s: float | None


@dataclass(frozen=True)
class SourceEpisode:
    """One episode of a LeRobot data set.

    Attributes:
        number: Its episode_index.
        frames: How many it has.
        data: Its data file, relative to the data set.
        videos: Video feature -> where it is; without the features in `video_faults`.
    """

    number: int
    frames: int
    data: str
    videos: dict[str, VideoPlace]

    def files(self, features: Collection[str]) -> tuple[str, ...]:
        """Its data file and the videos of `features`, relative to the data set."""
        return (self.data, *(self.videos[k].file for k in sorted(self.videos) if k in features))


class Listing:
    """Episodes as they are listed, and which videos of theirs cannot be found."""

    def __init__(self, folder: Path, info: dict, videos: list[str]) -> None:
        self._folder, self._info, self._videos = folder, info, videos
        self.episodes: list[SourceEpisode] = []
        self.faults: dict[str, str] = {}

    def read_30(self) -> None:
        """Takes the episodes of v3.0: rows of Parquet files."""
        paths = sorted((self._folder / "meta/episodes").glob("*/*.parquet"))
        if not paths:
            raise DatasetError(self._folder, "no meta/episodes/*/*.parquet in it")
        for path in paths:
            rows = self._rows(path)
            for row in rows:
                data = {n: row[f"data/{n}"] for n in _NUMBERS}
                self._add(path, row, self._file("data_path", **data), row)

    def _rows(self, path: Path) -> list[dict[str, Any]]:
        wanted = ["episode_index", "length", *(f"data/{n}" for n in _NUMBERS)]
        videos = [f"videos/{key}/{n}" for key in self._videos for n in (*_NUMBERS, *_TIMES)]
        try:
            file = pq.ParquetFile(path)
            there = set(file.schema_arrow.names)
            table = file.read(columns=[*wanted, *(name for name in videos if name in there)])
            table.select(wanted)
            return table.to_pylist()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DatasetError(path, f"cannot be read: {error}") from error

    def read_21(self) -> None:
        """Takes the episodes of v2.1: lines of JSON, a file of data and of each video each."""
        size = self._info.get("chunks_size")
        if not isinstance(size, int) or size < 1:
            raise DatasetError(
                self._folder / INFO, f"chunks_size: found {size!r}, expected at least 1"
            )
        path = self._folder / EPISODES_21
        for row in read_objects(path, "episode_index", "length"):
            number = _count(path, "episode_index", row)
            place = {"episode_index": number, "episode_chunk": number // size}
            self._add(path, row, self._file("data_path", **place), None, place)

    def _add(
        self, path: Path, row: dict, data: str, videos: dict | None, place: dict | None = None
    ) -> None:
        """Takes an episode; of its videos those that can be found."""
        found = {}
        for key in self._videos:
            try:
                if videos is None:
                    file = self._file("video_path", video_key=key, **place)
                    found[key] = VideoPlace(file, 0.0, None)
                else:
                    found[key] = self._video_30(key, videos)
            except (DatasetError, ValueError) as error:
                self.faults.setdefault(key, str(error))
        number, frames = (_count(path, name, row) for name in ("episode_index", "length"))
        self.episodes.append(SourceEpisode(number, frames, data, found))

    def _video_30(self, key: str, row: dict) -> VideoPlace:
        values = {n: row.get(f"videos/{key}/{n}") for n in (*_NUMBERS, *_TIMES)}
        from_s, to_s = (values.pop(n) for n in _TIMES)
        for name, value in (*values.items(), (_TIMES[0], from_s)):
            if value is None or not math.isfinite(value):
                raise ValueError(
                    f"videos/{key}/{name} of episode {row['episode_index']}: found {value}, "
                    "expected a number in meta/episodes"
                )
        return VideoPlace(
            self._file("video_path", video_key=key, **values),
            float(from_s),
            float(to_s) if to_s is not None and math.isfinite(to_s) else None,
        )

    def _file(self, key: str, **numbers: int | str) -> str:
        """A file's name by the pattern `key` of `info.json`; it must lie in the data set."""
        pattern, info = self._info.get(key), self._folder / INFO
        try:
            name = normpath(pattern.format(**numbers))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise DatasetError(
                info, f"{key}: found {pattern!r}, which names no file: {error!r}"
            ) from error
        if name.startswith(("..", "/")):
            raise DatasetError(info, f"{key}: found {pattern!r}, which leaves the data set")
        return name


def read_objects(path: Path, *keys: str) -> list[dict[str, Any]]:
    """The objects of a JSON lines file, each with all `keys`."""
    found = []
    try:
        for number, item in read_json_lines(path):
            if not isinstance(item, dict) or any(key not in item for key in keys):
                raise ValueError(f"line {number}: expected an object with {', '.join(keys)}")
            found.append(item)
    except (OSError, ValueError) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error
    return found


def _count(path: Path, name: str, row: dict) -> int:
    """A number of a listed episode."""
    value = row[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DatasetError(path, f"{name}: found {value!r}, expected a whole number")
    return value

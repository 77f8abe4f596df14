"""A LeRobot data set to read, v2.1 or v3.0: what it says of itself, where its parts lie."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from os.path import normpath
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.data.errors import DatasetError
from roboalign_training.lerobot.layout import (
    EPISODES_21,
    INFO,
    TASKS,
    TASKS_21,
    VERSION,
    VERSION_21,
)
from roboalign_training.shared.json_lines import read_json_lines


@dataclass(frozen=True)
class SourceEpisode:
    """One episode of a LeRobot data set.

    Attributes:
        number: Its episode_index.
        frames: How many it has.
        data: Its data file, relative to the data set.
        videos: Video feature -> (file, s at which the episode begins in it).
    """

    number: int
    frames: int
    data: str
    videos: dict[str, tuple[str, float]]

    @property
    def files(self) -> tuple[str, ...]:
        """All its files, relative to the data set."""
        return (self.data, *(self.videos[key][0] for key in sorted(self.videos)))


@dataclass
class LeRobotSource:
    """A LeRobot data set; `open_source` is the way to make one.

    Attributes:
        folder: Where it lies.
        version: v2.1 or v3.0.
        fps: Frames a second.
        features: Feature -> dtype, shape, names, as in `info.json`.
        episodes: In order of their numbers.
        tasks: task_index -> what was asked for.
        repo, revision: On the Hugging Face Hub, where the folder tells.
    """

    folder: Path
    version: str
    fps: float
    features: dict[str, dict]
    episodes: tuple[SourceEpisode, ...]
    tasks: dict[int, str]
    repo: str | None = None
    revision: str | None = None
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Frames over all episodes."""
        return sum(episode.frames for episode in self.episodes)

    @cached_property
    def video_features(self) -> tuple[str, ...]:
        """Features that are stored as video."""
        return tuple(key for key, f in self.features.items() if f.get("dtype") == "video")

    def sha256(self, file: str) -> str:
        """SHA-256 of one of its files, read once however many episodes are in it.

        Raises:
            DatasetError: When there is no such file.
        """
        if file not in self._hashes:
            try:
                self._hashes[file] = sha256_file(self.folder / file)
            except OSError as error:
                raise DatasetError(self.folder / file, f"cannot be read: {error}") from error
        return self._hashes[file]


def open_source(folder: str | Path) -> LeRobotSource:
    """Reads what a LeRobot data set says of itself.

    Raises:
        DatasetError: When there is none, it is of another version, or its metadata is damaged.
    """
    folder = Path(folder)
    path = folder / INFO
    if not path.is_file():
        raise DatasetError(folder, f"is no LeRobot data set: no {INFO} in it")
    info = _json(path)
    version = info.get("codebase_version")
    if version not in (VERSION, VERSION_21):
        raise DatasetError(
            path, f"codebase_version: found {version!r}, expected {VERSION_21!r} or {VERSION!r}"
        )
    fps, features = info.get("fps"), info.get("features")
    if not isinstance(fps, (int, float)) or not fps > 0:
        raise DatasetError(path, f"fps: found {fps!r}, expected a number of Hz")
    if not isinstance(features, dict) or not all(isinstance(f, dict) for f in features.values()):
        raise DatasetError(path, "features: found none, expected a mapping of features")
    videos = [key for key, f in features.items() if f.get("dtype") == "video"]
    if version == VERSION:
        episodes, tasks = _episodes_30(folder, info, videos), _tasks_30(folder)
    else:
        episodes, tasks = _episodes_21(folder, info, videos), _tasks_21(folder)
    total = info.get("total_episodes")
    if total != len(episodes):
        raise DatasetError(
            path, f"total_episodes: found {total}, but {len(episodes)} episodes are listed"
        )
    repo, revision = _hub(folder)
    ordered = tuple(sorted(episodes, key=lambda e: e.number))
    return LeRobotSource(folder, version, fps, features, ordered, tasks, repo, revision)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DatasetError(path, f"found {type(found).__name__}, expected an object")
    return found


def _lines(path: Path, *keys: str) -> list[dict[str, Any]]:
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


def _file(folder: Path, info: dict, key: str, **numbers: int | str) -> str:
    """A file's name by the pattern `key` of `info.json`; it must lie in the data set."""
    pattern = info.get(key)
    try:
        name = normpath(pattern.format(**numbers))
    except (AttributeError, KeyError, IndexError, ValueError) as error:
        raise DatasetError(
            folder / INFO, f"{key}: found {pattern!r}, which names no file: {error!r}"
        ) from error
    if name.startswith(("..", "/")):
        raise DatasetError(folder / INFO, f"{key}: found {pattern!r}, which leaves the data set")
    return name


def _episodes_30(folder: Path, info: dict, videos: list[str]) -> list[SourceEpisode]:
    """Episodes of v3.0: rows of Parquet files."""
    numbers = ["chunk_index", "file_index"]
    wanted = ["episode_index", "length", *(f"data/{n}" for n in numbers)]
    for key in videos:
        wanted += [f"videos/{key}/{n}" for n in (*numbers, "from_timestamp")]
    paths = sorted((folder / "meta/episodes").glob("*/*.parquet"))
    if not paths:
        raise DatasetError(folder, "no meta/episodes/*/*.parquet in it")
    episodes = []
    for path in paths:
        try:
            table = pq.ParquetFile(path).read(columns=wanted)
            rows = table.select(wanted).to_pylist()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DatasetError(path, f"cannot be read: {error}") from error
        for row in rows:
            data = {n: row[f"data/{n}"] for n in numbers}
            found = {}
            for key in videos:
                place = {n: row[f"videos/{key}/{n}"] for n in numbers}
                file = _file(folder, info, "video_path", video_key=key, **place)
                found[key] = (file, float(row[f"videos/{key}/from_timestamp"]))
            data_file = _file(folder, info, "data_path", **data)
            episodes.append(SourceEpisode(row["episode_index"], row["length"], data_file, found))
    return episodes


def _episodes_21(folder: Path, info: dict, videos: list[str]) -> list[SourceEpisode]:
    """Episodes of v2.1: lines of JSON, a file of data and of each video an episode."""
    size = info.get("chunks_size")
    if not isinstance(size, int) or size < 1:
        raise DatasetError(folder / INFO, f"chunks_size: found {size!r}, expected at least 1")
    episodes = []
    for row in _lines(folder / EPISODES_21, "episode_index", "length"):
        number = row["episode_index"]
        place = {"episode_index": number, "episode_chunk": number // size}
        found = {
            key: (_file(folder, info, "video_path", video_key=key, **place), 0.0) for key in videos
        }
        data = _file(folder, info, "data_path", **place)
        episodes.append(SourceEpisode(number, row["length"], data, found))
    return episodes


def _tasks_30(folder: Path) -> dict[int, str]:
    """Tasks of v3.0: a pandas table whose index is the text."""
    path = folder / TASKS
    try:
        table = pd.read_parquet(path)
        texts = table["task"] if "task" in table.columns else table.index
        return {int(n): str(t) for n, t in zip(table["task_index"], texts, strict=True)}
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DatasetError(path, f"cannot be read: {error!r}") from error


def _tasks_21(folder: Path) -> dict[int, str]:
    """Tasks of v2.1: lines of JSON."""
    rows = _lines(folder / TASKS_21, "task_index", "task")
    return {int(row["task_index"]): str(row["task"]) for row in rows}


def _hub(folder: Path) -> tuple[str | None, str | None]:
    """Repository and commit, where the folder was downloaded by huggingface_hub."""
    place = folder.absolute()
    cache = place.parent.parent.name
    if place.parent.name == "snapshots" and cache.startswith("datasets--"):
        return cache.removeprefix("datasets--").replace("--", "/", 1), place.name
    note = folder / ".cache/huggingface/download" / f"{INFO}.metadata"
    if note.is_file():
        return None, note.read_text("utf-8").split("\n", 1)[0].strip() or None
    return None, None

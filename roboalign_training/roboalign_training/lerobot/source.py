"""A LeRobot data set to read, v2.1 or v3.0: what it says of itself, where its parts lie."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from roboalign_policy.core.hashing import sha256_file
from roboalign_training.bags.errors import DatasetError, RefusedError
from roboalign_training.lerobot.layout import (
    INFO,
    TASKS,
    TASKS_21,
    VERSION,
    VERSION_21,
)
from roboalign_training.lerobot.listing import Listing, SourceEpisode, read_objects


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
        video_faults: Video feature -> why its videos cannot be found: no matter to who does not
            want them.
        repo, revision: On the Hugging Face Hub, where the folder tells.
    """

    folder: Path
    version: str
    fps: float
    features: dict[str, dict]
    episodes: tuple[SourceEpisode, ...]
    tasks: dict[int, str]
    video_faults: dict[str, str] = field(default_factory=dict)
    repo: str | None = None
    revision: str | None = None
    _hashes: dict[str, str] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """Frames over all episodes."""
        return sum(episode.frames for episode in self.episodes)

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
        raise RefusedError(folder, f"is no LeRobot data set: no {INFO} in it")
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
    listing = Listing(folder, info, videos)
    if version == VERSION:
        listing.read_30()
        tasks = _tasks_30(folder)
    else:
        listing.read_21()
        tasks = _tasks_21(folder)
    episodes = sorted(listing.episodes, key=lambda e: e.number)
    total = info.get("total_episodes")
    if total != len(episodes):
        raise DatasetError(
            path, f"total_episodes: found {total}, but {len(episodes)} episodes are listed"
        )
    for one, other in pairwise(episodes):
        if one.number == other.number:
            raise DatasetError(folder, f"episode_index {one.number} is listed twice")
    repo, revision = hub_of(folder)
    return LeRobotSource(
        folder, version, fps, features, tuple(episodes), tasks, listing.faults, repo, revision
    )


def _json(path: Path) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DatasetError(path, f"found {type(found).__name__}, expected an object")
    return found


def _tasks_30(folder: Path) -> dict[int, str]:
    """Tasks of v3.0: a pandas table whose index is the text."""
    import pandas as pd  # not above: loading it takes long, for `--help` too

    path = folder / TASKS
    try:
        table = pd.read_parquet(path)
        if "task_index" not in table.columns:  # the index may be either of the two
            table = table.reset_index()
        texts = table["task"] if "task" in table.columns else table.index
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("no texts in it, expected them in the index or a column 'task'")
        return {int(n): t for n, t in zip(table["task_index"], texts, strict=True)}
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DatasetError(path, f"cannot be read: {error!r}") from error


def _tasks_21(folder: Path) -> dict[int, str]:
    """Tasks of v2.1: lines of JSON."""
    found = {}
    for row in read_objects(folder / TASKS_21, "task_index", "task"):
        number, task = row["task_index"], row["task"]
        if not isinstance(number, int) or not isinstance(task, str):
            raise DatasetError(
                folder / TASKS_21,
                f"found task {task!r} with number {number!r}, expected a text and a whole number",
            )
        found[number] = task
    return found


def hub_of(folder: Path) -> tuple[str | None, str | None]:
    """Repository and commit, where the folder was downloaded by huggingface_hub."""
    place = folder.absolute()
    cache = place.parent.parent.name
    if place.parent.name == "snapshots" and cache.startswith("datasets--"):
        return cache.removeprefix("datasets--").replace("--", "/", 1), place.name
    note = folder / ".cache/huggingface/download" / f"{INFO}.metadata"
    if note.is_file():
        return None, note.read_text("utf-8").split("\n", 1)[0].strip() or None
    return None, None

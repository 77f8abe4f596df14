"""Writes the parts of a LeRobot data set v3.0: episodes, then what holds for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.data.episodes import EpisodeFrames
from roboalign_training.data.index import DatasetIndex, write_json
from roboalign_training.data.video import CODECS
from roboalign_training.lerobot import layout
from roboalign_training.lerobot.files import ParquetFiles
from roboalign_training.lerobot.layout import ACTION, DATA_FILE_MB, PNG, STATE, VIDEO_FILE_MB
from roboalign_training.lerobot.ours import OwnEpisode
from roboalign_training.lerobot.passport import FRAME_COLUMNS, Passport, values_hash
from roboalign_training.lerobot.stats import (
    ImageStats,
    Stats,
    merge_stats,
    sampled_frames,
    vector_stats,
)
from roboalign_training.lerobot.video_files import VideoFiles

_EPISODES_AT_ONCE = 50  # rows of a row group in the table of episodes
_PICTURES_AT_ONCE = 128  # rows of a row group in data files with images


class EpisodeWriter:
    """Writes episodes one after the other; images pass through one at a time."""

    def __init__(
        self, root: Path, index: DatasetIndex, storage: dict, on_frame: Callable[[], None]
    ) -> None:
        """Into the folder `root`.

        Args:
            root: An empty folder with `meta` in it.
            index: The data set.
            storage: `storage`: `png` or a codec; `crf`: of videos.
            on_frame: Called for every image of every frame.
        """
        self._root, self._index, self._storage = root, index, storage
        self._contract, self._on_frame = index.contract, on_frame
        self._images, self._fps = storage["storage"], int(index.contract.rate_hz)
        self._schema = layout.columns(self._contract, self._images).arrow_schema
        self._streams = {layout.image_feature(s.key): s.key for s in self._contract.images}
        self._data = ParquetFiles(root, layout.DATA_PATH, DATA_FILE_MB)
        self._episodes = ParquetFiles(root, layout.EPISODES_PATH, DATA_FILE_MB)
        self._times = pq.ParquetWriter(root / layout.FRAMES, FRAME_COLUMNS)
        self._videos = {
            s.key: VideoFiles(
                root,
                layout.image_feature(s.key),
                self._fps,
                s.value_shape,
                CODECS[self._images],
                storage["crf"],
                VIDEO_FILE_MB,
            )
            for s in (() if self._images == PNG else self._contract.images)
        }
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, Stats] = {}
        self._rows: list[dict] = []
        self._entries: list[dict] = []
        self._frames = 0

    def add(self, name: str) -> list[str]:
        """Writes one episode; returns what a user should know of it."""
        episode, entry = OwnEpisode(self._index, name), self._index.episodes[name]
        number, count, task = len(self._entries), len(episode), entry["instruction"]
        numbers = {**self._vectors(episode), **self._counters(number, count, task)}
        row = {
            "episode_index": number,
            "tasks": [task],
            "length": count,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + count,
        }
        row |= self._write_data(episode, numbers)
        stats = {feature: vector_stats(values) for feature, values in numbers.items()}
        for stream in self._contract.images:
            feature = layout.image_feature(stream.key)
            place, stats[feature] = self._write_images(episode, stream.key)
            row |= place
        for feature, found in stats.items():
            held = self._stats.get(feature)
            self._stats[feature] = found if held is None else merge_stats(held, found)
            row |= {f"stats/{feature}/{key}": value.tolist() for key, value in found.items()}
        times = [np.full(count, number), episode.frame_indices.astype(np.int32), episode.stamps_ns]
        self._times.write_table(pa.table(times, schema=FRAME_COLUMNS))
        self._frames += count
        self._rows.append(row)
        if len(self._rows) == _EPISODES_AT_ONCE:
            self._write_rows()
        self._entries.append({**entry, "values_sha256": self._values_hash(episode, entry)})
        holes = int(np.sum(np.diff(episode.frame_indices) - 1))
        if not holes:
            return []
        return [
            f"{name}: {holes} frames are missing inside it. LeRobot has no holes: the frames "
            f"after them stand too early there; {layout.FRAMES} has their true places"
        ]

    def finish(self) -> None:
        """Completes all files and writes what holds for all episodes."""
        self._write_rows()
        self.close()
        root, texts = self._root, pd.Index(list(self._tasks), name="task")
        tasks = pd.DataFrame({"task_index": range(len(texts))}, index=texts)
        tasks.to_parquet(root / layout.TASKS)
        stats = {
            feature: {key: value.tolist() for key, value in found.items()}
            for feature, found in self._stats.items()
        }
        write_json(root / layout.STATS, stats)
        about = {}
        if self._videos:
            about = CODECS[self._images].info(self._images, self._fps, self._storage["crf"])
        write_json(
            root / layout.INFO,
            {
                "codebase_version": layout.VERSION,
                "robot_type": self._contract.name,
                "total_episodes": len(self._entries),
                "total_frames": self._frames,
                "total_tasks": len(self._tasks),
                "chunks_size": layout.FILES_PER_CHUNK,
                "data_files_size_in_mb": DATA_FILE_MB,
                "video_files_size_in_mb": VIDEO_FILE_MB,
                "fps": self._fps,
                "splits": {"train": f"0:{len(self._entries)}"},
                "data_path": layout.DATA_PATH,
                "video_path": layout.VIDEO_PATH if self._videos else None,
                "features": layout.info_features(self._contract, self._images, about),
            },
        )
        hashes, recipe = self._index.hashes, self._index.recipe
        entries = tuple(self._entries)
        Passport(self._contract, hashes, recipe, self._storage, entries).save(root)

    def close(self) -> None:
        """Ends all files, complete or not."""
        for files in (self._data, self._episodes, self._times, *self._videos.values()):
            files.close()

    def _vectors(self, episode: OwnEpisode) -> dict[str, np.ndarray]:
        """Feature -> (N, D) float32; the states stand one after the other in one vector."""
        states = [episode.states[stream.key] for stream in self._contract.states]
        found = {STATE: np.concatenate(states, axis=1)} if states else {}
        return {**found, ACTION: episode.actions}

    def _counters(self, number: int, count: int, task: str) -> dict[str, np.ndarray]:
        """LeRobot's own columns, (N,) each."""
        frames = np.arange(count)
        return {
            "timestamp": (frames / self._fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(count, number),
            "index": frames + self._frames,
            "task_index": np.full(count, self._tasks.setdefault(task, len(self._tasks))),
        }

    def _write_data(self, episode: OwnEpisode, numbers: dict[str, np.ndarray]) -> dict[str, int]:
        """Writes the rows of an episode; returns where they are."""
        chunk, file = self._data.place(len(episode))
        if self._images == PNG and self._contract.images:
            batches = episode.pictures(_PICTURES_AT_ONCE)
        else:
            batches = [pa.table({"rows": np.arange(len(episode))})]
        start = 0
        for batch in batches:
            rows = slice(start, start + len(batch))
            columns = [
                batch.column(self._streams[f.name]).cast(f.type)
                if f.name in self._streams
                else _column(numbers[f.name][rows], f)
                for f in self._schema
            ]
            self._data.write(pa.table(columns, schema=self._schema))
            start = rows.stop
        return {"data/chunk_index": chunk, "data/file_index": file}

    def _write_images(self, episode: OwnEpisode, key: str) -> tuple[dict, Stats]:
        """Writes a video, if there is to be one; returns where it is, and statistics."""
        video, count = self._videos.get(key), len(episode)
        place = {} if video is None else video.begin(count)
        sampled, stats = set(sampled_frames(count)), ImageStats()
        wanted = sampled if video is None else range(count)
        for at, image in enumerate(episode.images(key, wanted)):
            if video is not None:
                video.add(image)
            if at in sampled:
                stats.add(image)
            self._on_frame()
        return place, stats.result()

    def _write_rows(self) -> None:
        """Writes the rows that wait for the table of episodes."""
        if not self._rows:
            return
        chunk, file = self._episodes.place(len(self._rows))
        place = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        self._episodes.write(pa.Table.from_pylist([{**row, **place} for row in self._rows]))
        self._rows.clear()

    def _values_hash(self, episode: OwnEpisode, entry: dict) -> str:
        frames = EpisodeFrames(
            episode.frame_indices,
            episode.stamps_ns,
            episode.states,
            episode.actions,
            instruction=entry["instruction"],
            outcome=entry["outcome"],
        )
        return values_hash(frames, self._contract, entry.get("content_hash"))


def _column(numbers: np.ndarray, field: pa.Field) -> pa.Array:
    """A column of the data files from numbers (N,) or vectors (N, D)."""
    flat = pa.array(numbers.ravel())
    if pa.types.is_fixed_size_list(field.type):
        return pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1]).cast(field.type)
    return flat.cast(field.type)

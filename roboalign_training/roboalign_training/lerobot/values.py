"""The numbers of LeRobot's episodes: frames, times, states, actions, task."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from roboalign_training.bags.errors import DatasetError, EpisodeError
from roboalign_training.lerobot.feature_map import FeatureMap
from roboalign_training.lerobot.listing import SourceEpisode
from roboalign_training.lerobot.source import LeRobotSource


@dataclass(frozen=True)
class DataFile:
    """The numbers of one data file, without its images; read once for all episodes in it.

    Attributes:
        path: The file.
        table: The columns that were asked for, of all its rows.
        episode_index: (N,) int64.
    """

    path: Path
    table: pa.Table
    episode_index: np.ndarray

    def rows(self, episode: SourceEpisode) -> slice:
        """The rows of an episode.

        Raises:
            DatasetError: When they are not as many as the metadata says, or not together.
        """
        found = np.flatnonzero(self.episode_index == episode.number)
        if len(found) != episode.frames:
            raise DatasetError(
                self.path,
                f"episode {episode.number}: found {len(found)} frames, expected the "
                f"{episode.frames} of its length in the metadata",
            )
        if not len(found) or found[-1] - found[0] + 1 != len(found):
            raise DatasetError(self.path, f"episode {episode.number}: its frames are not together")
        return slice(int(found[0]), int(found[-1]) + 1)

    def of(self, episode: SourceEpisode) -> pa.Table:
        """The rows of an episode as a table."""
        rows = self.rows(episode)
        return self.table.slice(rows.start, rows.stop - rows.start)


def read_data_file(source: LeRobotSource, name: str, columns: tuple[str, ...]) -> DataFile:
    """Reads the numbers of a data file.

    Raises:
        DatasetError: When it cannot be read or lacks a column.
    """
    path = source.folder / name
    wanted = [*columns, "timestamp", "frame_index", "episode_index", "task_index"]
    try:
        # ParquetFile, not read_table: a dot in a column's name is no path into a struct here.
        file = pq.ParquetFile(path)
        missing = set(wanted) - set(file.schema_arrow.names)
        if missing:
            raise DatasetError(path, f"no column {', '.join(sorted(missing))} in it")
        table = file.read(columns=wanted).select(wanted)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error
    return DataFile(path, table, table["episode_index"].to_numpy())


def read_values(file: DataFile, episode: SourceEpisode, fmap: FeatureMap) -> dict[str, np.ndarray]:
    """Reads the vectors of one episode, contract key -> (N, D) float32.

    Raises:
        DatasetError: When the file is not what the metadata says.
    """
    table = file.of(episode)
    values = {}
    for key, vector in fmap.vectors.items():
        matrix = _matrix(table[vector.feature].combine_chunks(), file.path, vector.feature)
        if matrix.shape[1] <= max(vector.places):
            raise DatasetError(
                file.path,
                f"{vector.feature}: vectors of {matrix.shape[1]} dimensions, fewer than the "
                f"metadata says",
            )
        rows = matrix[:, list(vector.places)]
        if not vector.exact:
            rows = rows * vector.gains + vector.offsets
        values[key] = np.ascontiguousarray(rows.astype(np.float32))
    return values


def check_times(file: DataFile, episode: SourceEpisode, source: LeRobotSource) -> None:
    """Makes sure that frames stand one after the other and 1 / fps apart.

    Raises:
        EpisodeError: When they do not.
    """
    table, name = file.of(episode), f"{source.folder.name} episode {episode.number}"
    index = table["frame_index"].to_numpy()
    if not np.array_equal(index, np.arange(len(index))):
        at = int(np.argmax(index != np.arange(len(index))))
        raise EpisodeError(name, f"frame_index of frame {at}: found {index[at]}, expected {at}")
    times = table["timestamp"].to_numpy().astype(np.float64)
    late = np.abs(times - index / source.fps)
    if not late.max() < 0.5 / source.fps:
        at = int(late.argmax())
        raise EpisodeError(
            name,
            f"timestamp of frame {at}: found {times[at]:.4f} s, expected {at / source.fps:.4f} s "
            f"at {source.fps:g} Hz",
        )


def read_task(file: DataFile, episode: SourceEpisode, source: LeRobotSource) -> str:
    """What was asked for in one episode.

    Raises:
        EpisodeError: When that is not known, or changes within it.
    """
    name = f"{source.folder.name} episode {episode.number}"
    numbers = np.unique(file.of(episode)["task_index"].to_numpy()).tolist()
    unknown = [number for number in numbers if number not in source.tasks]
    if unknown:
        raise EpisodeError(name, f"task_index: found {unknown[0]}, which is no task of the set")
    texts = list(dict.fromkeys(source.tasks[number].strip() for number in numbers))
    if len(texts) > 1:
        raise EpisodeError(
            name, f"its task changes ({'; '.join(map(repr, texts))}): give the instruction"
        )
    if not texts[0]:
        raise EpisodeError(name, "its task is empty: give the instruction")
    return texts[0]


def _matrix(column: pa.Array, path: Path, feature: str) -> np.ndarray:
    """A column of numbers or vectors as (N, D) float64; null becomes NaN."""
    flat, width = column, 1
    if not pa.types.is_primitive(column.type):
        widths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(widths) != 1 or not widths[0]:
            raise DatasetError(path, f"{feature}: vectors of {widths} dimensions, expected one")
        flat, width = column.flatten(), widths[0]
    return flat.cast(pa.float64()).to_numpy(zero_copy_only=False).reshape(-1, width)


def finite_frames(
    values: dict[str, np.ndarray],
) -> tuple[np.ndarray, dict[str, int], dict[str, int]]:
    """Which frames have finite values only.

    Args:
        values: Contract key -> (N, D) float32.

    Returns:
        (N,) bool; reason -> frames left out between the first and the last one that is kept; the
        same for those before and after.
    """
    bad = {key: ~np.isfinite(rows).all(axis=1) for key, rows in values.items()}
    kept = ~np.any(list(bad.values()), axis=0)
    frames = np.flatnonzero(kept)
    first, last = (int(frames[0]), int(frames[-1])) if len(frames) else (0, -1)
    inside: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    for key, mask in bad.items():
        for at in np.flatnonzero(mask):
            (inside if first < at < last else outside)[f"{key}: non-finite"] += 1
    return kept, dict(sorted(inside.items())), dict(sorted(outside.items()))

"""The `meta` folder of a LeRobot data set: what holds for every episode, and for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.conversion.parts import PartFile
from roboalign_training.data.index import DatasetIndex, write_json
from roboalign_training.images.video import CODECS
from roboalign_training.lerobot import layout
from roboalign_training.lerobot.counters import Counters
from roboalign_training.lerobot.files import ParquetFiles
from roboalign_training.lerobot.layout import DATA_FILE_MB, VIDEO_FILE_MB
from roboalign_training.lerobot.passport import FRAME_COLUMNS, Passport
from roboalign_training.lerobot.stats import NAMES, Stats, merge_stats, vector_stats

_EPISODES_AT_ONCE = 50  # rows of a row group in the table of episodes

Places = list[tuple[int, int]]
"""Chunk and file that every episode is in."""


def write_metadata(
    root: Path,
    index: DatasetIndex,
    storage: dict,
    facts: Iterator[PartFile],
    data: Places,
    videos: dict[str, Places],
) -> list[str]:
    """Writes all files of `meta`.

    Args:
        root: The LeRobot data set, without `meta`.
        index: The data set.
        storage: `storage`: `png` or a codec; `crf`: of videos.
        facts: Of every episode, see `episode_part.EpisodePart`.
        data: Where its rows are.
        videos: Image stream -> where its videos are.

    Returns:
        What a user should know.
    """
    import pandas as pd  # not above: loading it takes long, for `--help` too

    (root / "meta").mkdir()
    counters, fps = Counters(index), int(index.contract.rate_hz)
    merged: dict[str, Stats] = {}
    notes, entries, rows = [], [], []
    table = ParquetFiles(root, layout.EPISODES_PATH, DATA_FILE_MB)
    starts = {key: _video_starts(places, counters) for key, places in videos.items()}
    with pq.ParquetWriter(root / layout.FRAMES, FRAME_COLUMNS) as times:
        for number, part in enumerate(facts):
            name, count = counters.names[number], len(part.arrays["stamp_ns"])
            entry = index.episodes[name]
            row = {
                "episode_index": number,
                "tasks": [entry["instruction"]],
                "length": count,
                "dataset_from_index": counters.starts[number],
                "dataset_to_index": counters.starts[number + 1],
                **dict(zip(("data/chunk_index", "data/file_index"), data[number], strict=True)),
            }
            for key, places in videos.items():
                start = starts[key][number]
                about = f"videos/{layout.image_feature(key)}"
                row |= {
                    f"{about}/chunk_index": places[number][0],
                    f"{about}/file_index": places[number][1],
                    f"{about}/from_timestamp": start / fps,
                    f"{about}/to_timestamp": (start + count) / fps,
                }
            for feature, found in _stats(part, counters, number, index).items():
                held = merged.get(feature)
                merged[feature] = found if held is None else merge_stats(held, found)
                row |= {f"stats/{feature}/{key}": value.tolist() for key, value in found.items()}
            rows.append(row)
            if len(rows) == _EPISODES_AT_ONCE:
                _write_rows(table, rows)
            columns = [
                np.full(count, number),
                part.arrays["frame_index"].astype(np.int32),
                part.arrays["stamp_ns"],
            ]
            times.write_table(pa.table(columns, schema=FRAME_COLUMNS))
            entries.append({**entry, "values_sha256": part.facts["values_sha256"]})
            if holes := part.facts["holes"]:
                notes.append(
                    f"{name}: {holes} frames are missing inside it. LeRobot has no holes: the "
                    f"frames after them stand too early there; {layout.FRAMES} has their true "
                    "places"
                )
    if rows:
        _write_rows(table, rows)
    table.close()
    texts = pd.Index(list(counters.tasks), name="task")
    tasks = pd.DataFrame({"task_index": range(len(texts))}, index=texts)
    tasks.to_parquet(root / layout.TASKS)
    stats = {
        feature: {key: value.tolist() for key, value in found.items()}
        for feature, found in merged.items()
    }
    write_json(root / layout.STATS, stats)
    write_json(root / layout.INFO, _info(index, storage, counters, bool(videos)))
    passport = Passport(index.contract, index.hashes, index.recipe, storage, tuple(entries))
    passport.save(root)
    return notes


def _video_starts(places: Places, counters: Counters) -> list[int]:
    """How many frames stand before every episode in its video."""
    starts, file, before = [], None, 0
    for number, place in enumerate(places):
        if place != file:
            file, before = place, counters.starts[number]
        starts.append(counters.starts[number] - before)
    return starts


def _stats(
    part: PartFile, counters: Counters, number: int, index: DatasetIndex
) -> dict[str, Stats]:
    """Feature -> statistics of one episode: vectors, counters, images."""

    def read(feature: str) -> Stats:
        return {name: part.arrays[f"stats/{feature}/{name}"] for name in NAMES}

    counted = {key: vector_stats(values) for key, values in counters.of(number).items()}
    images = [layout.image_feature(stream.key) for stream in index.contract.images]
    return {
        **{feature: read(feature) for feature in layout.vectors(index.contract)},
        **counted,
        **{feature: read(feature) for feature in images},
    }


def _write_rows(table: ParquetFiles, rows: list[dict]) -> None:
    """Writes the rows that wait for the table of episodes."""
    chunk, file = table.place(len(rows))
    place = {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
    table.write(pa.Table.from_pylist([{**row, **place} for row in rows]))
    rows.clear()


def _info(index: DatasetIndex, storage: dict, counters: Counters, videos: bool) -> dict:
    """The content of `info.json`."""
    contract, fps, about = index.contract, int(index.contract.rate_hz), {}
    if videos:
        about = CODECS[storage["storage"]].info(storage["storage"], fps, storage["crf"])
    return {
        "codebase_version": layout.VERSION,
        "robot_type": contract.name,
        "total_episodes": len(counters.names),
        "total_frames": counters.starts[-1],
        "total_tasks": len(counters.tasks),
        "chunks_size": layout.FILES_PER_CHUNK,
        "data_files_size_in_mb": DATA_FILE_MB,
        "video_files_size_in_mb": VIDEO_FILE_MB,
        "fps": fps,
        "splits": {"train": f"0:{len(counters.names)}"},
        "data_path": layout.DATA_PATH,
        "video_path": layout.VIDEO_PATH if videos else None,
        "features": layout.info_features(contract, storage["storage"], about),
    }

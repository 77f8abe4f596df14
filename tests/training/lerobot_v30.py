"""Small LeRobot data sets v3.0, one video for all episodes, made without the code under test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from lerobot_sets import ACTION, JOINTS, SHAPE, STATE, TOP, smooth_motion, write_mp4

FPS = 10
VIDEO = f"videos/{TOP}/chunk-000/file-000.mp4"


def marked_images(lengths: tuple[int, ...]) -> list[np.ndarray]:
    """Images of every episode, (N, H, W, 3) uint8, that tell episode and frame; see `mark_of`."""
    found = []
    for episode, count in enumerate(lengths):
        images = np.zeros((count, *SHAPE), np.uint8)
        images[..., 0] = (8 * np.arange(count) + 4)[:, None, None]
        images[..., 1] = 80 * episode + 40
        found.append(images)
    return found


def mark_of(image: np.ndarray) -> tuple[int, int]:
    """Episode and frame that an image of `marked_images` is of."""
    red, green = image[..., 0].mean(), image[..., 1].mean()
    return round((green - 40) / 80), round((red - 4) / 8)


def make_v30(
    folder: Path,
    lengths: tuple[int, ...] = (12, 15, 9),
    *,
    names: object = JOINTS,
    state_names: object = None,
    width: int = 6,
    moved: dict[int, float] | None = None,
    moved_ends: dict[int, float] | None = None,
    video: list[np.ndarray] | None = None,
    tasks: tuple[str, ...] = ("pick up the cube", "close the drawer"),
) -> list[dict[str, np.ndarray]]:
    """Makes a data set of an SO-101 with one camera; returns states and actions by episode.

    Args:
        folder: Where to make it.
        lengths: Frames of every episode.
        names: Of the action, and of the state unless `state_names` is given.
        state_names: Of the state.
        width: Dimensions of the state, those of the action first.
        moved: Episode -> frames by which its `from_timestamp` is off.
        moved_ends: The same of `to_timestamp`.
        video: The images of the video by episode, where they are not `marked_images`.
        tasks: What is asked for in the episodes, in turn.
    """
    moved, moved_ends = moved or {}, moved_ends or {}
    vector = {"dtype": "float32", "shape": [6], "names": names}
    state = {**vector, "shape": [width], "names": names if state_names is None else state_names}
    counters = dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
    info = {
        "codebase_version": "v3.0",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "fps": FPS,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": {
            ACTION: vector,
            STATE: state,
            TOP: {
                "dtype": "video",
                "shape": list(SHAPE),
                "names": ["height", "width", "channels"],
            },
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            **{k: {"dtype": d, "shape": [1], "names": None} for k, d in counters.items()},
        },
    }
    (folder / "meta/episodes/chunk-000").mkdir(parents=True)
    (folder / "meta/info.json").write_text(json.dumps(info))
    made, tables, rows, start = [], [], [], 0
    for number, count in enumerate(lengths):
        states = smooth_motion(count, width, number)
        actions = states[:, :6] + np.float32(0.02)
        tables.append(
            pa.table(
                {
                    ACTION: pa.array(list(actions)),
                    STATE: pa.array(list(states)),
                    "timestamp": (np.arange(count) / FPS).astype(np.float32),
                    "frame_index": np.arange(count),
                    "episode_index": np.full(count, number),
                    "index": np.arange(start, start + count),
                    "task_index": np.full(count, number % len(tasks)),
                }
            )
        )
        rows.append(
            {
                "episode_index": number,
                "length": count,
                "data/chunk_index": 0,
                "data/file_index": 0,
                f"videos/{TOP}/chunk_index": 0,
                f"videos/{TOP}/file_index": 0,
                f"videos/{TOP}/from_timestamp": (start + moved.get(number, 0)) / FPS,
                f"videos/{TOP}/to_timestamp": (start + count + moved_ends.get(number, 0)) / FPS,
            }
        )
        made.append({"states": states, "actions": actions})
        start += count
    data = folder / "data/chunk-000/file-000.parquet"
    data.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), data)
    pd.DataFrame(rows).to_parquet(folder / "meta/episodes/chunk-000/file-000.parquet")
    texts = pd.DataFrame({"task_index": range(len(tasks))}, index=list(tasks))
    texts.to_parquet(folder / "meta/tasks.parquet")
    write_mp4(folder / VIDEO, np.concatenate(video or marked_images(lengths)), FPS)
    return made

"""One episode as one Parquet file: columns, row groups, entry in the footer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.content import content_hash
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.images.image_storage import VIDEO, decode_image
from roboalign_training.images.png import encode_png

if TYPE_CHECKING:
    from datasets import Features

__all__ = [
    "content_hash",
    "decode_image",
    "encode_png",
    "episode_writer",
    "features",
    "frame_columns",
    "read_entry",
    "write_episode",
]

ENTRY_KEY = b"roboalign.episode"
"""Footer key of the episode's entry (JSON): `dataset.json` can be rebuilt from the files alone."""


def features(contract: Contract, images: str = "") -> Features:
    """Columns of a data set recorded with `contract`, as `datasets.Features`.

    Args:
        contract: The robot.
        images: How they are stored; in a video an image is the place of its frame.
    """
    # Not above: loading it takes half a second. `Pool.warm_up` does so beside the first pass.
    from datasets import Features, Image, List, Value

    columns = {
        "episode_id": Value("string"),
        "frame_index": Value("int32"),
        "stamp_ns": Value("int64"),
        "instruction": Value("string"),
        "outcome": Value("string"),
    }
    for observation in contract.observations:
        if not observation.is_image:
            columns[observation.key] = List(Value("float32"))
        elif images == VIDEO:
            columns[observation.key] = {"path": Value("string"), "frame": Value("int32")}
        else:
            columns[observation.key] = Image()
    columns["action"] = List(Value("float32"))
    return Features(columns)


@contextmanager
def episode_writer(path: Path, contract: Contract, images: str = "") -> Iterator[EpisodeFile]:
    """Opens an episode's file to be written row group by row group.

    Args:
        path: The Parquet file; it appears when all is written, or not at all.
        contract: The contract the frames were made with.
        images: As for `features`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        file = EpisodeFile(part, contract, images)
        with file.writer:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


class EpisodeFile:
    """A Parquet file that grows; made by `episode_writer`.

    Attributes:
        writer: Arrow's writer of it.
    """

    def __init__(self, path: Path, contract: Contract, images: str) -> None:
        self._schema = features(contract, images).arrow_schema
        encoded = [] if images == VIDEO else [s.key for s in contract.images]
        leaves = [_leaf for field in self._schema for _leaf in _leaves(field.name, field.type)]
        # Images are compressed already, and no two are alike: neither zstd nor a dictionary helps.
        plain = {leaf for leaf in leaves if any(leaf == f"{key}.bytes" for key in encoded)}
        self.writer = pq.ParquetWriter(
            path,
            self._schema,
            compression={leaf: "NONE" if leaf in plain else "ZSTD" for leaf in leaves},
            use_dictionary=[leaf for leaf in leaves if leaf not in plain],
            write_statistics=[leaf for leaf in leaves if leaf not in plain],
        )

    def write(self, columns: dict[str, list | np.ndarray | pa.Array]) -> None:
        """Appends rows as one row group."""
        names = self._schema.names
        table = pa.table({name: columns[name] for name in names}, schema=self._schema)
        self.writer.write_table(table, row_group_size=max(1, len(table)))

    def finish(self, entry: dict) -> None:
        """Adds the episode's entry (JSON-able) to the footer."""
        self.writer.add_key_value_metadata({ENTRY_KEY: json.dumps(entry).encode()})


def _leaves(name: str, kind: pa.DataType) -> list[str]:
    """Parquet's paths of the columns that a field is stored as."""
    if pa.types.is_struct(kind):
        return [leaf for f in kind for leaf in _leaves(f"{name}.{f.name}", f.type)]
    return [f"{name}.list.element" if pa.types.is_list(kind) else name]


def write_episode(path: Path, frames: EpisodeFrames, contract: Contract, entry: dict) -> None:
    """Writes an episode with lossless images; the file appears complete or not at all.

    Args:
        path: The Parquet file to write.
        frames: The episode.
        contract: The contract the frames were made with.
        entry: JSON-able facts about the episode, kept in the file's footer.
    """
    columns = frame_columns(frames, slice(0, len(frames.stamps_ns)), contract)
    for stream in contract.images:
        values = frames.values[stream.key]
        columns[stream.key] = [{"bytes": encode_png(v), "path": None} for v in values]
    with episode_writer(path, contract) as file:
        file.write(columns)
        file.finish(entry)


def frame_columns(frames: EpisodeFrames, rows: slice, contract: Contract) -> dict:
    """Columns of some frames, all but the images."""
    count = len(frames.stamps_ns[rows])
    return {
        "episode_id": [frames.episode_id] * count,
        "frame_index": frames.indices[rows].astype(np.int32),
        "stamp_ns": frames.stamps_ns[rows],
        "instruction": [frames.instruction] * count,
        "outcome": [frames.outcome] * count,
        "action": list(frames.actions[rows]),
        **{s.key: list(frames.values[s.key][rows]) for s in contract.states},
    }


def read_entry(path: Path) -> dict:
    """The episode's entry from the footer of its file.

    Raises:
        DatasetError: When the file is no Parquet file or was not written by `write_episode`.
    """
    try:
        metadata = pq.read_metadata(path).metadata or {}
        return json.loads(metadata[ENTRY_KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise DatasetError(path, f"is no episode of a data set: {error!r}") from error

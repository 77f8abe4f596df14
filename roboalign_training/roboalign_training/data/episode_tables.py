"""The tables of a data set's episodes, and their columns over several episodes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.index import DatasetIndex


def read_table(index: DatasetIndex, entry: dict) -> pa.Table:
    """One episode's table, checked against its entry.

    Raises:
        DatasetError: When it or a video that it names is missing, damaged, or not what the index
            says.
    """
    path = index.folder / entry["file"]
    keys = [s.key for s in index.contract.observations]
    try:
        # ParquetFile, not read_table: a dot in a column's name is no path into a struct here.
        table = pq.ParquetFile(path).read()
        table = table.select(["frame_index", "stamp_ns", *keys, "action"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error
    if len(table) != entry["frames"]:
        raise DatasetError(path, f"{len(table)} frames, but {entry['frames']} in dataset.json")
    for name in entry.get("videos", {}).values():
        if not (index.folder / name).is_file():
            raise DatasetError(index.folder / name, f"is missing: {path.name} names it")
    return table


def int_column(tables: list[pa.Table], name: str) -> np.ndarray:
    """A column of integers over all tables, (N,) int64."""
    parts = [table[name].to_numpy().astype(np.int64) for table in tables]
    return np.concatenate(parts or [np.zeros(0, np.int64)])


def vector_column(tables: list[pa.Table], name: str, width: int) -> np.ndarray:
    """A column of vectors over all tables, (N, width) float32."""
    parts = [
        table[name].combine_chunks().flatten().to_numpy().reshape(len(table), width)
        for table in tables
    ]
    return np.concatenate(parts or [np.zeros((0, width), np.float32)])

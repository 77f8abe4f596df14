"""One episode of a data set of ours on its way out: numbers at once, images one at a time."""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.data.errors import DatasetError
from roboalign_training.data.index import DatasetIndex
from roboalign_training.data.table import decode_image
from roboalign_training.lerobot.images import image_cells, row_batches


class OwnEpisode:
    """An episode of a data set.

    Attributes:
        frame_indices: (N,) int64, position on the grid of frame times.
        stamps_ns: (N,) int64.
        states: State stream key -> (N, D) float32.
        actions: (N, A) float32.
    """

    def __init__(self, index: DatasetIndex, name: str) -> None:
        """Reads the numbers of the episode `name`.

        Raises:
            DatasetError: When its file is missing, damaged, or not what the index says.
        """
        contract, frames = index.contract, index.episodes[name]["frames"]
        self._images = [stream.key for stream in contract.images]
        self._path = index.folder / index.episodes[name]["file"]
        widths = {stream.key: len(stream.fields) for stream in contract.states}
        widths["action"] = len(contract.action.dims)
        columns = ["frame_index", "stamp_ns", *widths]
        try:
            self._file = pq.ParquetFile(self._path)
            table = self._file.read(columns=columns).select(columns)
            vectors = {
                key: table[key].combine_chunks().flatten().to_numpy().reshape(frames, width)
                for key, width in widths.items()
            }
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            raise DatasetError(self._path, f"cannot be read: {error}") from error
        if len(table) != frames:
            raise DatasetError(self._path, f"{len(table)} frames, but {frames} in dataset.json")
        self.frame_indices = table["frame_index"].to_numpy().astype(np.int64)
        self.stamps_ns = table["stamp_ns"].to_numpy()
        self.actions = vectors.pop("action")
        self.states = vectors

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def images(self, key: str, wanted: Container[int]) -> Iterator[np.ndarray | None]:
        """The images of a stream, (H, W, 3) uint8 RGB; None for frames that are not wanted."""
        for at, cell in enumerate(image_cells(self._path, key, slice(0, len(self)))):
            yield decode_image(cell["bytes"]) if at in wanted else None

    def pictures(self, frames: int) -> Iterator[pa.RecordBatch]:
        """All images as they are stored, of at most `frames` frames at a time."""
        yield from row_batches(self._file, self._images, slice(0, len(self)), frames)

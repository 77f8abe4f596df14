"""One episode of a data set of ours on its way out: numbers at once, images one at a time."""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.index import DatasetIndex
from roboalign_training.images.image_storage import VIDEO, decode_image, video_rate
from roboalign_training.images.png import encode_png
from roboalign_training.images.video import VideoReader
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
        self._folder, self._videos = index.folder, None
        if index.recipe.get("images") == VIDEO:
            self._videos = VideoReader(video_rate(contract))
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
            yield self._decoded(cell) if at in wanted else None

    def pictures(self, frames: int) -> Iterator[pa.RecordBatch]:
        """All images as JPEG or PNG, of at most `frames` frames at a time.

        As they are stored; frames of a video become PNGs.
        """
        for batch in row_batches(self._file, self._images, slice(0, len(self)), frames):
            if self._videos is None:
                yield batch
                continue
            columns = [
                pa.array(
                    [
                        {"bytes": encode_png(self._decoded(cell)), "path": None}
                        for cell in batch.column(key).to_pylist()
                    ],
                    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
                )
                for key in self._images
            ]
            yield pa.RecordBatch.from_arrays(columns, self._images)

    def _decoded(self, cell: dict) -> np.ndarray:
        """An image from what the table holds of it."""
        if self._videos is None:
            return decode_image(cell["bytes"])
        return self._videos.image(self._folder / cell["path"], cell["frame"])

"""The images of one episode on their way in: decoded once, in order, a few in memory at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as PilImage

from roboalign_policy.core.contract.contract import Contract, Stream
from roboalign_policy.core.messages.compressed import depth_fault
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.table import episode_writer, frame_columns
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.images.png import encode_png
from roboalign_training.images.video import read_frames
from roboalign_training.lerobot.listing import SourceEpisode
from roboalign_training.lerobot.source import LeRobotSource

_BATCH = 32  # encoded images in memory at a time

Picture = tuple[np.ndarray, bytes | None]
"""(H, W, 3) uint8 RGB, and the lossless PNG it was stored as, if it was."""


def read_images(
    source: LeRobotSource, episode: SourceEpisode, feature: str, rows: slice, start_s: float
) -> Iterator[Picture]:
    """The images of a feature in one episode.

    Args:
        source: The data set.
        episode: The episode.
        feature: Stored as video, or as images in the data file.
        rows: Where the episode stands in its data file.
        start_s: s; when the first image is shown, where it is a video.

    Raises:
        DatasetError: When one is missing or cannot be decoded.
    """
    if feature in episode.videos:
        path = source.folder / episode.videos[feature].file
        for image in read_frames(path, start_s, episode.frames, source.fps):
            yield image, None
        return
    path = source.folder / episode.data
    try:
        for at, item in enumerate(image_cells(path, feature, rows)):
            yield _decoded(item, path, f"{feature} of frame {at}")
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(path, f"cannot be read: {error}") from error


def image_cells(path: Path, feature: str, rows: slice) -> Iterator[object]:
    """The cells of one column in `rows`, a few in memory at a time."""
    for batch in row_batches(pq.ParquetFile(path), [feature], rows, _BATCH):
        yield from batch.column(feature).to_pylist()


def row_batches(
    file: pq.ParquetFile, columns: list[str], rows: slice, size: int
) -> Iterator[pa.RecordBatch]:
    """The `rows` of some columns, at most `size` at a time.

    Row groups are opened one after the other: asked for all of them, Arrow keeps what it has read.
    """
    start = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if start + count > rows.start and start < rows.stop:
            first = start
            for batch in file.iter_batches(size, row_groups=[group], columns=columns):
                low, high = max(rows.start - first, 0), min(rows.stop - first, len(batch))
                first += len(batch)
                if low < high:
                    yield batch.slice(low, high - low)
        start += count


def _decoded(item: object, path: Path, name: str) -> Picture:
    """An image cell decoded, and its bytes where they are a PNG of RGB."""
    data = item.get("bytes") if isinstance(item, dict) else None
    if not data:
        raise DatasetError(path, f"{name}: holds no image")
    try:
        with PilImage.open(io.BytesIO(data)) as image:
            if fault := depth_fault(data, image.mode):
                raise DatasetError(path, f"{name}: is {fault}, expected 8-bit colour or grey")
            plain = image.format == "PNG" and image.mode == "RGB"
            return np.asarray(image.convert("RGB")), data if plain else None
    except (OSError, SyntaxError, ValueError, PilImage.DecompressionBombError) as error:
        raise DatasetError(path, f"{name}: cannot be decoded: {error}") from error


class SpooledImages:
    """Images of one stream; once looked at, their PNGs wait in a temporary file.

    Looks like an array (N, H, W, 3) uint8 to `content_hash`, and is never in memory as a whole.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        pictures: Iterator[Picture],
        kept: np.ndarray,
        stream: Stream,
        spool: IO[bytes],
        on_frame: Callable[[], None],
        name: str,
    ) -> None:
        """Of `pictures` those where `kept` (M,) is True, all of the stream's shape.

        Args:
            pictures: All images of the episode.
            kept: (M,) bool.
            stream: What they are.
            spool: An empty file.
            on_frame: Called after each.
            name: Of the episode, for errors.
        """
        self.shape = (int(kept.sum()), *stream.value_shape)
        self._pictures, self._kept, self._stream = pictures, kept, stream
        self._spool, self._on_frame, self._name = spool, on_frame, name
        self._lengths: list[int] = []

    def __iter__(self) -> Iterator[np.ndarray]:
        """The images, which can be gone through once."""
        for at, (image, png) in enumerate(self._pictures):
            if image.shape != self._stream.value_shape:
                raise DatasetError(
                    self._name,
                    f"{self._stream.key} of frame {at}: found {image.shape}, expected "
                    f"{self._stream.value_shape}",
                )
            if self._kept[at]:
                self._lengths.append(self._spool.write(png or encode_png(image)))
                yield image
            self._on_frame()

    def encoded(self) -> Iterator[bytes]:
        """The PNGs of all images that were looked at."""
        self._spool.seek(0)
        for length in self._lengths:
            yield self._spool.read(length)


def write_spooled(
    path: Path,
    frames: EpisodeFrames,
    images: dict[str, SpooledImages],
    contract: Contract,
    entry: dict,
) -> None:
    """Writes an episode as `table.write_episode` does, a few images at a time.

    Args:
        path: The Parquet file to write; it appears complete or not at all.
        frames: The episode, without images.
        images: Image stream -> its images, all looked at.
        contract: The robot.
        entry: Kept in the file's footer.
    """
    waiting = {key: found.encoded() for key, found in images.items()}
    with episode_writer(path, contract) as file:
        for start in range(0, len(frames), _BATCH):
            rows = slice(start, min(start + _BATCH, len(frames)))
            columns = frame_columns(frames, rows, contract)
            for key, encoded in waiting.items():
                columns[key] = [
                    {"bytes": next(encoded), "path": None} for _ in range(rows.start, rows.stop)
                ]
            file.write(columns)
        file.finish(entry)

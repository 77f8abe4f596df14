"""Videos of a LeRobot data set: episodes one after the other in MP4 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from roboalign_training.data.video import Codec, VideoWriter
from roboalign_training.lerobot.files import Place
from roboalign_training.lerobot.layout import VIDEO_PATH


class VideoFiles:
    """The videos of one image feature."""

    def __init__(
        self,
        root: Path,
        feature: str,
        fps: int,
        shape: tuple[int, int, int],
        codec: Codec,
        crf: int,
        limit_mb: float,
    ) -> None:
        """Files below `root` for images of `shape`, each of about `limit_mb` at most."""
        self._root, self._feature, self._fps, self._limit_mb = root, feature, fps, limit_mb
        self._shape, self._codec, self._crf = shape, codec, crf
        self._place = Place()
        self._writer: VideoWriter | None = None

    def begin(self, frames: int) -> dict[str, int | float]:
        """Says where the next `frames` images go, as columns of LeRobot's episode table."""
        size = 0 if self._writer is None else self._writer.size
        if self._place.full(size, frames, self._limit_mb):
            self.close()
            self._place = self._place.next()
        start = self._place.rows
        name = f"videos/{self._feature}"
        return {
            f"{name}/chunk_index": self._place.chunk,
            f"{name}/file_index": self._place.file,
            f"{name}/from_timestamp": start / self._fps,
            f"{name}/to_timestamp": (start + frames) / self._fps,
        }

    def add(self, image: np.ndarray) -> None:
        """Appends an image, (H, W, 3) uint8 RGB."""
        if self._writer is None:
            path = self._root / VIDEO_PATH.format(
                video_key=self._feature,
                chunk_index=self._place.chunk,
                file_index=self._place.file,
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = VideoWriter(path, self._fps, self._shape, self._codec, self._crf)
        self._writer.add(image)
        self._place.rows += 1

    def close(self) -> None:
        """Completes the present file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

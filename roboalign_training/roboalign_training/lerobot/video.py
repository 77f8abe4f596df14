"""Videos of a LeRobot data set: episodes one after the other in MP4 files, written and read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from roboalign_training.data.errors import DatasetError
from roboalign_training.lerobot.files import Place
from roboalign_training.lerobot.layout import VIDEO_PATH

_PIX_FMT = "yuv420p"
_KEY_EVERY = 2  # frames; LeRobot's choice: training reads frames in any order
_TIME_SHARE = 0.25  # of a period: a frame this near to its time is the one that is meant


@dataclass(frozen=True)
class Codec:
    """How images become video.

    Attributes:
        encoder: FFmpeg's name of the encoder.
        crf: Quality unless told otherwise; lower is better and larger.
        options: What the encoder is told beside it.
    """

    encoder: str
    crf: int
    options: dict[str, str]

    def info(self, name: str, fps: int, crf: int) -> dict:
        """What `info.json` says of the videos, in LeRobot's words."""
        return {
            "video.codec": name,
            "video.pix_fmt": _PIX_FMT,
            "video.fps": fps,
            "video.channels": 3,
            "has_audio": False,
            "video.g": _KEY_EVERY,
            "video.crf": crf,
            "video.video_backend": "pyav",
        }


CODECS = {
    # Told no more than by LeRobot: it merges sets by joining such videos without encoding anew.
    "h264": Codec("libx264", 23, {}),
    "av1": Codec("libsvtav1", 30, {"preset": "12"}),  # its own choice
}


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
        self._container = self._stream = None
        self._size = 0  # bytes of the present file

    def begin(self, frames: int) -> dict[str, int | float]:
        """Says where the next `frames` images go, as columns of LeRobot's episode table."""
        if self._place.full(self._size, frames, self._limit_mb):
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
        if self._container is None:
            self._open()
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._place.rows, Fraction(1, self._fps)
        self._mux(frame)
        self._place.rows += 1

    def close(self) -> None:
        """Completes the present file."""
        if self._container is not None:
            self._mux(None)
            self._container.close()
            self._container = self._stream = None
            self._size = 0

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Encodes a frame, or with None those that the encoder still holds."""
        for packet in self._stream.encode(frame):
            self._size += packet.size
            self._container.mux(packet)

    def _open(self) -> None:
        # The SVT encoder writes a page about itself to stderr unless told to report errors only.
        os.environ.setdefault("SVT_LOG", "1")
        path = self._root / VIDEO_PATH.format(
            video_key=self._feature, chunk_index=self._place.chunk, file_index=self._place.file
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # faststart: the index stands first, so that a part of the file can be played from afar.
        self._container = av.open(str(path), "w", options={"movflags": "faststart"})
        options = {"g": str(_KEY_EVERY), "crf": str(self._crf), **self._codec.options}
        stream = self._container.add_stream(self._codec.encoder, self._fps, options=options)
        stream.height, stream.width = self._shape[:2]
        stream.pix_fmt, stream.time_base = _PIX_FMT, Fraction(1, self._fps)
        self._stream = stream


def read_frames(path: Path, start_s: float, count: int, fps: float) -> Iterator[np.ndarray]:
    """Decodes the images of one episode, one at a time.

    Args:
        path: The video.
        start_s: s; when the episode begins in it.
        count: Frames that the episode has.
        fps: Frames a second; frame i is the one at `start_s` + i / fps.

    Yields:
        `count` images, (H, W, 3) uint8 RGB.

    Raises:
        DatasetError: When the file cannot be decoded, or has no frame at one of these times.
    """
    at = 0
    try:
        with av.open(str(path)) as container:
            stream = next((s for s in container.streams if s.type == "video"), None)
            if stream is None:
                raise DatasetError(path, "has no video in it")
            stream.thread_type = "AUTO"
            if start_s > 0:
                begin = max(0, round(start_s / stream.time_base) - 1)
                container.seek(begin, stream=stream, backward=True)
            for frame in container.decode(stream):
                wanted = start_s + at / fps
                if frame.time is None or frame.time < wanted - _TIME_SHARE / fps:
                    continue  # before the episode, or between two of its frames
                if frame.time > wanted + _TIME_SHARE / fps:
                    raise DatasetError(
                        path,
                        f"frame {at} of the episode: found the next one at {frame.time:.4f} s, "
                        f"expected one at {wanted:.4f} s",
                    )
                yield frame.to_ndarray(format="rgb24")
                at += 1
                if at == count:
                    return
    except av.error.FFmpegError as error:
        raise DatasetError(path, f"cannot be decoded: {error}") from error
    raise DatasetError(
        path, f"ends after {at} of the {count} frames from {start_s:.4f} s on that it should have"
    )

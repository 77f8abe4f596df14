"""Images as video: encoded one by one, read in order or at any place."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Lock

import av
import numpy as np

from roboalign_training.bags.errors import DatasetError

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

# Of the same images x264 makes the same bytes only without its macroblock tree and weighted
# prediction: with them they depend on what stood in its memory before.
REPEATABLE = Codec("libx264", 23, {"x264-params": "mbtree=0:weightp=0:bframes=0"})


class VideoWriter:
    """An MP4 file that images are appended to; image n stands at n / rate.

    Attributes:
        size: Bytes of what was encoded so far.
    """

    def __init__(
        self,
        path: Path,
        rate: Fraction | int,
        shape: tuple[int, ...],
        codec: Codec,
        crf: int,
        threads: int | None = None,
    ) -> None:
        """Opens a file.

        Args:
            path: The file to make.
            rate: Images a second.
            shape: Height, width (both even), 3.
            codec: The encoder.
            crf: Its quality.
            threads: Of the encoder: with a fixed number the same images give the same file on
                every computer. None leaves it to the encoder.
        """
        # The SVT encoder writes a page about itself to stderr unless told to report errors only.
        os.environ.setdefault("SVT_LOG", "1")
        # faststart: the index stands first, so that a part of the file can be played from afar.
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "faststart"})
        options = {"g": str(_KEY_EVERY), "crf": str(crf), **codec.options}
        if threads is not None:
            options["threads"] = str(threads)
        stream = self._container.add_stream(codec.encoder, rate, options=options)
        stream.height, stream.width = shape[:2]
        stream.pix_fmt, stream.time_base = _PIX_FMT, Fraction(1, 1) / rate
        self._stream, self._time_base, self._count, self.size = stream, stream.time_base, 0, 0

    def __len__(self) -> int:
        """Images so far."""
        return self._count

    def add(self, image: np.ndarray) -> None:
        """Appends an image, (H, W, 3) uint8 RGB."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self._count, self._time_base
        self._mux(frame)
        self._count += 1

    def close(self) -> None:
        """Completes the file; one that could not be written on is left as it is."""
        if self._container is not None:
            if self._count:
                self._mux(None)
            container, self._container = self._container, None
            container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        """Encodes a frame, or with None those that the encoder still holds."""
        try:
            for packet in self._stream.encode(frame):
                self.size += packet.size
                self._container.mux(packet)
        except BaseException:
            self._let_go()
            raise

    def _let_go(self) -> None:
        """Ends writing for good: FFmpeg crashes if it goes on where a file's head has no room."""
        container, self._container = self._container, None
        with contextlib.suppress(av.error.FFmpegError):
            self._stream.encode(None)  # else the SVT encoder complains on stderr
        with contextlib.suppress(av.error.FFmpegError):
            container.close()


_of_parent: list[object] = []


class VideoReader:
    """Images of videos by number, in any order; a few files stay open.

    Safe in threads, and in processes that were forked or spawned: each opens its own files.
    """

    _OPEN = 8

    def __init__(self, rate: Fraction) -> None:
        """Of videos with `rate` images a second."""
        self._rate, self._lock, self._process = rate, Lock(), os.getpid()
        self._open: OrderedDict[Path, _OpenVideo] = OrderedDict()

    def __getstate__(self) -> dict:
        return {"_rate": self._rate}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["_rate"])

    def image(self, path: Path, number: int) -> np.ndarray:
        """Image `number` of a file, (H, W, 3) uint8 RGB.

        Raises:
            DatasetError: When the file cannot be decoded, or has no such image.
        """
        if self._process != os.getpid():
            # Forked: lock and decoders are the parent's. Ending a decoder would wait for threads
            # that this process has not.
            _of_parent.append(self._open)
            self.__init__(self._rate)
        with self._lock:
            try:
                video = self._open.pop(path, None) or _OpenVideo(path, self._rate)
                found = video.image(number)
            except av.error.FFmpegError as error:
                raise DatasetError(path, f"image {number} cannot be decoded: {error}") from error
            self._open[path] = video
            while len(self._open) > self._OPEN:
                self._open.popitem(last=False)[1].close()
            return found


class _OpenVideo:
    """A video and the place up to which it was decoded."""

    def __init__(self, path: Path, rate: Fraction) -> None:
        self._path, self._rate = path, rate
        self._container = av.open(str(path))
        if not self._container.streams.video:
            raise DatasetError(path, "has no video in it")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type, self._stream.codec_context.thread_count = "NONE", 1
        self._frames, self._next = None, 0

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def image(self, number: int) -> np.ndarray:
        """See `VideoReader.image`."""
        if self._frames is None or not self._next <= number <= self._next + _KEY_EVERY:
            at = round(Fraction(number) / self._rate / self._stream.time_base)
            self._container.seek(at, stream=self._stream, backward=True)
            self._frames = self._container.decode(self._stream)
        for frame in self._frames:
            found = round(frame.pts * self._stream.time_base * self._rate)
            self._next = found + 1
            if found == number:
                return frame.to_ndarray(format="rgb24")
            if found > number:
                break
        self._frames = None
        raise DatasetError(self._path, f"has no image {number}")


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

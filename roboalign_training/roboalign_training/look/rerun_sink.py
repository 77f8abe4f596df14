"""What is in a recording, to the Rerun viewer or into a file that it opens: every sample of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roboalign_training.bags.errors import DataError
from roboalign_training.episodes.channels import IMAGE, Channel, Moment, Sink

APPLICATION = "roboalign_inspect"
INSTALL = "pip install 'rerun-sdk>=0.24,<1'"
OLDEST = (0, 24)
"""Version of the SDK from which its names are those used here."""

JPEG_QUALITY = 85


class RerunError(DataError):
    """The Rerun SDK is missing or too old, or did not take what it was told to do."""


def load_rerun() -> Any:
    """The module of the Rerun SDK; the one place that imports it.

    Raises:
        RerunError: Where it is not installed, or older than what this was written for.
    """
    try:
        import rerun

        version = tuple(int(part) for part in rerun.__version__.split(".")[:2])
    except ImportError as error:
        raise RerunError("--rerun", f"needs the Rerun SDK ({error}): {INSTALL}") from error
    except (AttributeError, ValueError) as error:
        raise RerunError("--rerun", f"is no Rerun SDK ({error}): {INSTALL}") from error
    if version < OLDEST:
        raise RerunError(
            "--rerun", f"found rerun-sdk {rerun.__version__}, expected 0.24 or newer: {INSTALL}"
        )
    return rerun


class RerunLog:
    """One Rerun recording of a bag or a data set, each episode under its own name.

    Samples are logged as they are read, so memory does not grow with the recording. There are two
    times to choose from in the viewer: `stamp` (of the header, where the contract goes by it) and
    `received`.
    """

    def __init__(self, source: Path, file: Path | None) -> None:
        """Opens the file, or the viewer where there is none.

        Args:
            source: What is looked at; names the recording.
            file: The `.rrd` to write.

        Raises:
            RerunError: When there is no SDK, or it cannot write the file or find its viewer.
        """
        self._rr = load_rerun()
        self._file = file
        self.stream = self._rr.RecordingStream(APPLICATION, recording_id=source.name or "bag")
        try:
            if file is None:
                self.stream.spawn()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                self.stream.save(str(file))
        except (OSError, RuntimeError) as error:
            raise RerunError(str(file or "--rerun"), f"the Rerun SDK says: {error}") from error

    def sinks(self, episode_id: str) -> Sequence[Sink]:
        """What takes the samples of an episode."""
        return [RerunSink(self._rr, self.stream, episode_id)]

    def close(self) -> list[Path]:
        """Waits until all is written; returns the files."""
        self.stream.flush()
        self.stream.disconnect()
        return [] if self._file is None else [self._file]


class RerunSink(Sink):
    """Logs an episode: images as JPEG, vectors as series with names and units, texts as log."""

    def __init__(self, rerun: Any, stream: Any, episode_id: str) -> None:
        """Logs below the entity `episode_id` of a RecordingStream."""
        self._rr, self._stream, self._root = rerun, stream, episode_id
        self._paths: dict[str, list[str]] = {}

    def declare(self, channel: Channel) -> None:
        """Names the lines of a channel."""
        # As a list, Rerun escapes each part: a topic's slashes make no tree of their own.
        path = self._paths[channel.key] = [self._root, channel.kind, channel.key]
        if channel.kind != IMAGE:
            names = [f"{axis.name} [{axis.unit}]" for axis in channel.axes]
            self._stream.log(path, self._rr.SeriesLines(names=names), static=True)

    def image(self, key: str, when: Moment, pixels: Callable[[], np.ndarray]) -> None:
        """Logs an image."""
        self._at(when)
        image = self._rr.Image(pixels()).compress(jpeg_quality=JPEG_QUALITY)
        self._stream.log(self._paths[key], image)

    def vector(self, key: str, when: Moment, values: np.ndarray) -> None:
        """Logs a sample of every axis."""
        self._at(when)
        self._stream.log(self._paths[key], self._rr.Scalars(values))

    def unreadable(self, key: str, when: Moment, reason: str) -> None:
        """Logs why there is no sample."""
        self._tell(when, f"{key}: {reason}", "WARN")

    def event(self, when: Moment, kind: str, text: str) -> None:
        """Logs a text."""
        self._tell(when, f"{kind}: {text}", "INFO")

    def _tell(self, when: Moment, text: str, level: str) -> None:
        self._at(when)
        self._stream.log([self._root, "events"], self._rr.TextLog(text, level=level))

    def _at(self, when: Moment) -> None:
        """Sets both times of what is logged next."""
        for name, time_ns in zip(("stamp", "received"), when, strict=True):
            self._stream.set_time(name, timestamp=np.datetime64(time_ns, "ns"))

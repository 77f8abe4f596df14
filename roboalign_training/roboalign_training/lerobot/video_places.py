"""Where the videos of a LeRobot data set hold the images of its episodes, checked against them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from roboalign_training.bags.errors import EpisodeError
from roboalign_training.lerobot.layout import INFO
from roboalign_training.lerobot.listing import SourceEpisode
from roboalign_training.lerobot.source import LeRobotSource
from roboalign_training.lerobot.spans import Start, VideoSpan, find_starts

_RATE_SHARE = 0.1  # a video's images a second may differ by so much: each is held to its time too


class VideoPlaces:
    """The starts of episodes in their videos; a video is looked at when it is first asked for.

    Attributes:
        surplus: Video feature -> file -> images in it that belong to no episode.
        moved: Video feature -> episode_index -> frames by which its metadata was off.
    """

    def __init__(self, source: LeRobotSource, features: Iterable[str]) -> None:
        """Of the videos of these features."""
        self._source = source
        self._features = [f for f in features if source.features[f].get("dtype") == "video"]
        self._in_file: dict[tuple[str, str], list[VideoSpan]] = defaultdict(list)
        for episode in (e for e in source.episodes if e.frames):
            for feature in self._features:
                place = episode.videos[feature]
                span = VideoSpan(episode.number, episode.frames, place.from_s, place.to_s)
                self._in_file[feature, place.file].append(span)
        self._starts: dict[tuple[str, str], dict[int, Start]] = {}
        self._rates: dict[tuple[str, str], float] = {}
        self.surplus: dict[str, dict[str, int]] = defaultdict(dict)
        self.moved: dict[str, dict[int, int]] = defaultdict(dict)

    def of(self, episode: SourceEpisode) -> dict[str, Start]:
        """Video feature -> where the images of an episode begin."""
        found = {}
        for feature in self._features:
            place = episode.videos[feature]
            key = (feature, place.file)
            if key not in self._starts:
                self._starts[key] = self._look(*key)
            found[feature] = self._starts[key].get(episode.number, Start(place.from_s))
            if found[feature].moved:
                self.moved[feature][episode.number] = found[feature].moved
        return found

    def check(self, episode: SourceEpisode) -> None:
        """Makes sure that it can be told which images are an episode's.

        Raises:
            EpisodeError: When it cannot, by how many there are and when they are shown; or when
                the video has another frame rate than the data set.
        """
        name = f"{self._source.folder.name} episode {episode.number}"
        for feature, start in self.of(episode).items():
            file = episode.videos[feature].file
            if (rate := self._rates.get((feature, file))) is not None:
                raise EpisodeError(
                    name,
                    f"frame rate of {feature}: {file} has {rate:.4g} images a second, expected "
                    f"{self._source.fps:g}, the fps in {INFO}",
                )
            if start.fault:
                cause = f"images of {feature} cannot be told: {start.fault} ({file})"
                raise EpisodeError(name, cause)

    def notes(self) -> list[str]:
        """What a user should know."""
        found = []
        for feature, moved in self.moved.items():
            named = ", ".join(map(str, sorted(moved)[:5])) + (", ..." if len(moved) > 5 else "")
            most = max(map(abs, moved.values()))
            found.append(
                f"{feature}: from_timestamp is off by {most} frames or less in {len(moved)} of "
                f"{len(self._source.episodes)} episodes ({named}): a video with as many images as "
                "its episodes have frames shows where each begins, and images are taken from there"
            )
        for feature, files in self.surplus.items():
            found.append(
                f"{feature}: images without a frame: {sum(files.values())}, in {len(files)} "
                f"videos (first: {next(iter(files))}); taken are those at the times of the "
                "frames, which is right where the others come last, as those of a discarded take "
                "do: look at how these episodes end"
            )
        return found

    def _look(self, feature: str, file: str) -> dict[int, Start]:
        """Where the episodes of one video begin; empty where it cannot be read: reading says."""
        try:
            times_s = image_times(self._source.folder / file)
        except (av.error.FFmpegError, OSError):
            return {}
        spans, fps = self._in_file[feature, file], self._source.fps
        if not (spans and len(times_s)):
            return {}
        if len(times_s) > 1:
            rate = 1 / max(float(np.median(np.diff(times_s))), 1e-9)
            if abs(rate / fps - 1) > _RATE_SHARE:
                self._rates[feature, file] = rate
                return {}
        starts = find_starts(spans, times_s, fps)
        more = len(times_s) - sum(span.frames for span in spans)
        if more > 0 and any(not start.fault for start in starts.values()):
            self.surplus[feature][file] = more
        return starts


def image_times(path: Path) -> np.ndarray:
    """When the images of a video are shown, (N,) float64 s, ascending; nothing is decoded.

    Raises:
        FFmpegError: When the file cannot be read.
        OSError: When there is none.
    """
    with av.open(str(path)) as container:
        stream = next((s for s in container.streams if s.type == "video"), None)
        if stream is None:
            return np.empty(0)
        times = [
            float(packet.pts * packet.time_base)
            for packet in container.demux(stream)
            if packet.pts is not None and not packet.is_discard
        ]
    return np.sort(np.array(times))

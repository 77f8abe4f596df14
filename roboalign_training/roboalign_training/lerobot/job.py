"""Takes episodes of a LeRobot data set into a data set of ours, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from tempfile import TemporaryFile

import numpy as np

from roboalign_policy.core.instruction import instruction_fault
from roboalign_training.bags.errors import DataError, DatasetError, EpisodeError
from roboalign_training.conversion.target import Converted, safe_name
from roboalign_training.data.content import CONTENT_VERSION, content_hash
from roboalign_training.data.index import DATA, DatasetIndex
from roboalign_training.episodes.episodes import UNKNOWN, EpisodeFrames, Span
from roboalign_training.episodes.recipe import Recipe, frames_fault, span_fault
from roboalign_training.lerobot.feature_map import FeatureMap
from roboalign_training.lerobot.identity import Identity
from roboalign_training.lerobot.images import SpooledImages, read_images, write_spooled
from roboalign_training.lerobot.layout import ACTION, PNG
from roboalign_training.lerobot.listing import SourceEpisode
from roboalign_training.lerobot.passport import FrameTimes, Passport, values_hash
from roboalign_training.lerobot.ranges import Ranges
from roboalign_training.lerobot.source import LeRobotSource
from roboalign_training.lerobot.texts import text_fault
from roboalign_training.lerobot.values import (
    DataFile,
    check_times,
    finite_frames,
    read_data_file,
    read_task,
    read_values,
)
from roboalign_training.lerobot.video_places import VideoPlaces


class ImportJob:
    """Reads episodes of `source` and writes their files into the data set of `index`.

    Attributes:
        identity: How episodes are named and known again.
        places: Where the images of episodes are in the videos.
        ranges: What the vectors of the episodes that came in reach over.
        known: Episode_index -> the hash by which it was known.
        kept: Episode_index of those whose older version stays in the data set.
    """

    def __init__(
        self,
        source: LeRobotSource,
        index: DatasetIndex,
        fmap: FeatureMap,
        passport: Passport | None,
        on_frame: Callable[[], None],
        overwrite: bool = False,
    ) -> None:
        """A job.

        Args:
            source: What is read.
            index: Of the data set that it comes into.
            fmap: What becomes of what.
            passport: Where the source is an export of ours.
            on_frame: Called for every image of every frame.
            overwrite: Whether an episode that is there may be replaced by another content.

        Raises:
            DatasetError: When the export's table of frames cannot be read.
        """
        self._source, self._index, self._fmap, self._passport = source, index, fmap, passport
        self._contract, self._recipe = index.contract, Recipe.from_dict(index.recipe)
        self._on_frame, self._had = on_frame, index.known_bags()
        self._overwrite = overwrite
        self._times = FrameTimes(source.folder) if passport else None
        self._file: DataFile | None = None
        self.identity = Identity(source, index, fmap, passport)
        self.places = VideoPlaces(source, fmap.images.values())
        self.ranges = Ranges()
        self.known: dict[int, str] = {}
        self.kept: set[int] = set()

    def take(self, episode: SourceEpisode) -> Converted:
        """Converts one episode.

        Returns:
            What became of it, as of a bag; its file has a pending name.
        """
        folder = self._source.folder
        base = {"source": self.identity.place, "bag_sha256": ""}
        name, held = f"episode {episode.number}", None
        try:
            name = self.identity.episode_id(episode)
            base |= self.identity.origin(episode, self.places.of(episode))
            if base["bag_sha256"] in self._had or self.identity.is_there(episode, name):
                self.known[episode.number] = base["bag_sha256"]
                self._pass_over(episode)
                return Converted(folder, known=True)
            held = self._index.episodes.get(name)
            self.places.check(episode)
            frames, kept = self._frames(episode, name)
            span = Span(name, frames.instruction, frames.outcome, 0, 0)
            fault = span_fault(span, self._recipe)
            fault = fault or frames_fault(frames, self._contract, self._recipe)
            if fault is None:
                entry = self._write(episode, frames, kept, base)
                if held is not None and not self._may_replace(held, entry):
                    (self._index.folder / entry["pending"]).unlink()
                    return self._keep(episode, name, "has another content now")
                return Converted(folder, (entry,))
        except EpisodeError as error:
            fault = error.cause
        except DataError as error:
            there = ""
            if name in self._index.episodes:
                self.kept.add(episode.number)
                there = f": {name}, as it was imported before, stays"
            return Converted(folder, error=f"episode {episode.number}: {error}{there}")
        self._pass_over(episode)
        if held is not None and not self._overwrite:
            return self._keep(episode, name, f"is not fit any more ({fault})")
        return Converted(folder, skipped=({"id": name, **base, "reason": fault},))

    def _may_replace(self, held: dict, entry: dict) -> bool:
        """Whether an episode may take the place of one of the same source."""
        return self._overwrite or held["content_sha256"] == entry["content_sha256"]

    def _keep(self, episode: SourceEpisode, name: str, why: str) -> Converted:
        """Leaves an episode in the data set as it is."""
        self.kept.add(episode.number)
        return Converted(
            self._source.folder,
            error=f"episode {episode.number}: was imported as {name} before, and {why}: what is "
            "there stays; replace it with --overwrite",
        )

    def _pass_over(self, episode: SourceEpisode) -> None:
        for _ in range(episode.frames * max(1, len(self._contract.images))):
            self._on_frame()

    def _frames(self, episode: SourceEpisode, name: str) -> tuple[EpisodeFrames, np.ndarray]:
        """An episode without its images, and which of its frames are kept, (N,) bool."""
        source, passport = self._source, self._passport
        if self._file is None or self._file.path != source.folder / episode.data:
            self._file = read_data_file(source, episode.data, self._fmap.columns)
        check_times(self._file, episode, source)
        values = read_values(self._file, episode, self._fmap)
        kept, dropped, trimmed = finite_frames(values)
        given = self._recipe.instruction
        if passport is None:
            indices = np.arange(episode.frames, dtype=np.int64)
            stamps = np.rint(indices * (1e9 / self._contract.rate_hz)).astype(np.int64)
            outcome, task = UNKNOWN, given or read_task(self._file, episode, source)
        else:
            entry = self.identity.exported(episode)
            indices, stamps = self._times.of(episode.number, episode.frames)
            outcome, task = entry["outcome"], given or entry["instruction"]
            dropped, trimmed = entry["dropped"], entry["trimmed"]
        if fault := text_fault(task):
            raise EpisodeError(name, f"its task is no text: {fault}")
        if fault := instruction_fault(task):
            raise EpisodeError(name, f"instruction: {fault}")
        frames = EpisodeFrames(
            indices[kept],
            stamps[kept],
            {s.key: values[s.key][kept] for s in self._contract.states},
            values[ACTION][kept],
            dropped,
            trimmed,
            episode_id=name,
            instruction=task,
            outcome=outcome,
            source=source.folder,
        )
        return frames, kept

    def _write(
        self, episode: SourceEpisode, frames: EpisodeFrames, kept: np.ndarray, base: dict
    ) -> dict:
        """Reads the images, checks and writes the episode; returns its entry."""
        data = self._index.folder / DATA
        data.mkdir(parents=True, exist_ok=True)
        rows, starts = self._file.rows(episode), self.places.of(episode)
        with ExitStack() as stack:
            images = {}
            for stream in self._contract.images:
                feature = self._fmap.images[stream.key]
                start = starts[feature].start_s if feature in starts else 0.0
                pictures = read_images(self._source, episode, feature, rows, start)
                spool = stack.enter_context(TemporaryFile(dir=data))
                name = f"{self._source.folder.name} episode {episode.number}"
                images[stream.key] = SpooledImages(
                    pictures, kept, stream, spool, self._on_frame, name
                )
            whole = replace(frames, values={**frames.values, **images})
            version = CONTENT_VERSION
            if self._passport is not None:  # what comes back has the hash that went out
                version = self.identity.exported(episode).get("content_hash")
            digest = content_hash(whole, version=version)
            self._compare(episode, frames, digest)
            entry = {
                "id": frames.episode_id,
                "file": f"{DATA}/episode-{safe_name(frames.episode_id)}.parquet",
                "frames": len(frames),
                "instruction": frames.instruction,
                "outcome": frames.outcome,
                **base,
                "content_sha256": digest,
                **({"content_hash": version} if version else {}),
                "dropped": frames.dropped,
                "trimmed": frames.trimmed,
                "contract": self._contract.hash,
                "recipe": self._index.recipe,
            }
            pending = f"{DATA}/.pending-{base['bag_sha256'][:16]}-0.parquet"
            write_spooled(self._index.folder / pending, frames, images, self._contract, entry)
        self.ranges.add({**frames.values, ACTION: frames.actions})
        return {**entry, "pending": pending}

    def _compare(self, episode: SourceEpisode, frames: EpisodeFrames, digest: str) -> None:
        """Makes sure that what comes back of an export is what went out."""
        if self._passport is None:
            return
        entry = self.identity.exported(episode)
        same = replace(frames, instruction=entry["instruction"])
        pictures = self._passport.images["storage"] == PNG and not self._passport.lossy
        pictures = pictures and frames.instruction == entry["instruction"]
        for key, found in (
            ("values_sha256", values_hash(same, self._contract, entry.get("content_hash"))),
            ("content_sha256", digest if pictures else entry["content_sha256"]),
        ):
            if found != entry[key]:
                raise DatasetError(
                    self._source.folder,
                    f"{key} of episode {episode.number}: found {found}, but {entry[key]} was "
                    f"exported: changed since",
                )

"""Takes episodes of a LeRobot data set into a data set of ours, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from os.path import relpath
from tempfile import TemporaryFile

import numpy as np

from roboalign_policy.core.contract import Contract
from roboalign_policy.core.hashing import sha256_json
from roboalign_training.conversion.target import Converted, safe_name
from roboalign_training.data.content import CONTENT_VERSION, content_hash
from roboalign_training.data.episodes import UNKNOWN, EpisodeFrames, Span
from roboalign_training.data.errors import DataError, DatasetError, EpisodeError
from roboalign_training.data.index import DATA, DatasetIndex
from roboalign_training.data.recipe import Recipe, frames_fault, span_fault
from roboalign_training.lerobot.images import SpooledImages, read_images, write_spooled
from roboalign_training.lerobot.layout import ACTION, PASSPORT, PNG
from roboalign_training.lerobot.mapping import FeatureMap
from roboalign_training.lerobot.passport import FrameTimes, Passport, values_hash
from roboalign_training.lerobot.source import LeRobotSource, SourceEpisode
from roboalign_training.lerobot.values import (
    DataFile,
    check_times,
    finite_frames,
    read_data_file,
    read_task,
    read_values,
)

_FROM_EXPORT = ("id", "source", "bag_sha256", "recorded_contract", "content_sha256", "origin")


@dataclass
class Ranges:
    """Least and greatest value of every dimension over the episodes that came in."""

    least: dict[str, np.ndarray] = field(default_factory=dict)
    most: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, values: dict[str, np.ndarray]) -> None:
        """Takes in the vectors of an episode, (N, D) by contract key."""
        for key, rows in values.items():
            least, most = rows.min(axis=0), rows.max(axis=0)
            self.least[key] = np.minimum(self.least.get(key, least), least)
            self.most[key] = np.maximum(self.most.get(key, most), most)

    def notes(self, contract: Contract) -> list[str]:
        """Says which dimensions never change: nothing can be learned of them."""
        names = {s.key: s.names for s in contract.states} | {ACTION: contract.action.names}
        found = []
        for key, least in self.least.items():
            still = [names[key][d] for d in np.flatnonzero(least == self.most[key])]
            if len(still) == len(names[key]):
                what = "the arm is never told to move" if key == ACTION else "it never changes"
                found.append(f"{key}: {what}: constant in all episodes ({', '.join(still)})")
            elif still:
                found.append(f"{key}: constant in all episodes: {', '.join(still)}")
        return found


class ImportJob:
    """Reads episodes of `source` and writes their files into the data set of `index`.

    Attributes:
        ranges: What the vectors of the episodes that came in reach over.
    """

    def __init__(
        self,
        source: LeRobotSource,
        index: DatasetIndex,
        fmap: FeatureMap,
        passport: Passport | None,
        on_frame: Callable[[], None],
    ) -> None:
        """A job; `passport` where the source is an export of ours, `on_frame` for progress.

        Raises:
            DatasetError: When the export's table of frames cannot be read.
        """
        self._source, self._index, self._fmap, self._passport = source, index, fmap, passport
        self._contract, self._recipe = index.contract, Recipe.from_dict(index.recipe)
        self._on_frame, self._known = on_frame, index.known_bags()
        self._times = FrameTimes(source.folder) if passport else None
        self._file: DataFile | None = None
        self._name = safe_name((source.repo or source.folder.resolve().name).rsplit("/", 1)[-1])
        self.ranges = Ranges()

    def take(self, episode: SourceEpisode) -> Converted:
        """Converts one episode.

        Returns:
            What became of it, as of a bag; its file has a pending name.
        """
        folder = self._source.folder
        base = {"source": relpath(folder, self._index.folder), "bag_sha256": ""}
        name = self._episode_id(episode)
        try:
            base |= self._origin(episode)
            if base["bag_sha256"] in self._known:
                self._pass_over(episode)
                return Converted(folder, known=True)
            frames, kept = self._frames(episode)
            name = frames.episode_id
            span = Span(name, frames.instruction, frames.outcome, 0, 0)
            fault = span_fault(span, self._recipe)
            fault = fault or frames_fault(frames, self._contract, self._recipe)
            if fault is None:
                return Converted(folder, (self._write(episode, frames, kept, base),))
        except EpisodeError as error:
            fault = error.cause
        except DataError as error:
            return Converted(folder, error=f"episode {episode.number}: {error}")
        self._pass_over(episode)
        return Converted(folder, skipped=({"id": name, **base, "reason": fault},))

    def _pass_over(self, episode: SourceEpisode) -> None:
        for _ in range(episode.frames * max(1, len(self._contract.images))):
            self._on_frame()

    def _episode_id(self, episode: SourceEpisode) -> str:
        if self._passport is not None:
            return self._exported(episode)["id"]
        return f"{self._name}-{episode.number:06d}"

    def _exported(self, episode: SourceEpisode) -> dict:
        """The entry of an episode in the data set that was exported."""
        entries = self._passport.episodes
        if not 0 <= episode.number < len(entries):
            raise DatasetError(
                self._source.folder / PASSPORT, f"knows no episode {episode.number}"
            )
        return entries[episode.number]

    def _origin(self, episode: SourceEpisode) -> dict:
        """Where an episode comes from, and the hash by which it is known again."""
        source = self._source
        origin = {
            "format": f"LeRobot {source.version}",
            "repo": source.repo,
            "revision": source.revision,
            "episode_index": episode.number,
            "files": {file: source.sha256(file) for file in episode.files},
            "features": self._fmap.features,
        }
        gains = {
            f"{key} {place}": [gain, offset]
            for key, v in self._fmap.vectors.items()
            for place, gain, offset in zip(v.places, v.gains, v.offsets, strict=True)
            if not v.exact
        }
        if gains:
            origin["gains"] = gains
        if self._passport is not None:
            entry = self._exported(episode)
            origin["exported"] = {key: entry[key] for key in _FROM_EXPORT if key in entry}
        vectors = {k: [v.places, v.gains, v.offsets] for k, v in self._fmap.vectors.items()}
        places = {key: [source.sha256(f), start] for key, (f, start) in episode.videos.items()}
        parts = [source.sha256(episode.data), places, origin["features"], vectors]
        known = sha256_json([episode.number, *parts])
        return {"bag_sha256": known, "origin": origin}

    def _frames(self, episode: SourceEpisode) -> tuple[EpisodeFrames, np.ndarray]:
        """An episode without its images, and which of its frames are kept, (N,) bool."""
        source, passport = self._source, self._passport
        if self._file is None or self._file.path != source.folder / episode.data:
            self._file = read_data_file(source, episode.data, self._fmap.columns)
        check_times(self._file, episode, source)
        values = read_values(self._file, episode, self._fmap)
        kept, dropped, trimmed = finite_frames(values)
        if passport is None:
            indices = np.arange(episode.frames, dtype=np.int64)
            stamps = np.rint(indices * (1e9 / self._contract.rate_hz)).astype(np.int64)
            outcome, task = UNKNOWN, self._recipe.instruction
            task = task or read_task(self._file, episode, source)
        else:
            entry = self._exported(episode)
            indices, stamps = self._times.of(episode.number, episode.frames)
            outcome, task = entry["outcome"], self._recipe.instruction or entry["instruction"]
            dropped, trimmed = entry["dropped"], entry["trimmed"]
        frames = EpisodeFrames(
            indices[kept],
            stamps[kept],
            {s.key: values[s.key][kept] for s in self._contract.states},
            values[ACTION][kept],
            dropped,
            trimmed,
            episode_id=self._episode_id(episode),
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
        rows = self._file.rows(episode)
        with ExitStack() as stack:
            images = {}
            for stream in self._contract.images:
                feature = self._fmap.images[stream.key]
                pictures = read_images(self._source, episode, feature, rows)
                spool = stack.enter_context(TemporaryFile(dir=data))
                name = f"{self._source.folder.name} episode {episode.number}"
                images[stream.key] = SpooledImages(
                    pictures, kept, stream, spool, self._on_frame, name
                )
            whole = replace(frames, values={**frames.values, **images})
            version = CONTENT_VERSION
            if self._passport is not None:  # what comes back has the hash that went out
                version = self._exported(episode).get("content_hash")
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
        entry = self._exported(episode)
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

"""How episodes of a LeRobot data set are named in a data set of ours, and known again."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from os.path import relpath

from roboalign_policy.core.hashing import sha256_json
from roboalign_training.bags.errors import DatasetError, RefusedError
from roboalign_training.data.index import DatasetIndex
from roboalign_training.lerobot.feature_map import FeatureMap
from roboalign_training.lerobot.layout import PASSPORT
from roboalign_training.lerobot.listing import SourceEpisode
from roboalign_training.lerobot.passport import Passport
from roboalign_training.lerobot.source import LeRobotSource
from roboalign_training.lerobot.spans import Start
from roboalign_training.shared.differences import differences

_FROM_EXPORT = ("id", "source", "bag_sha256", "recorded_contract", "content_sha256", "origin")
_OPTIONS = frozenset({"features", "dimensions", "gains"})

_REPLACED_EARLIER = re.compile(r"[^A-Za-z0-9._-]")  # by "_" in the ids of earlier releases


class Identity:
    """Names and hashes of the episodes of one source in one data set.

    Attributes:
        place: The source, as entries of the data set name it.
    """

    def __init__(
        self,
        source: LeRobotSource,
        index: DatasetIndex,
        fmap: FeatureMap,
        passport: Passport | None,
    ) -> None:
        """Of the episodes of `source` that come into the data set of `index`."""
        self._source, self._index, self._fmap, self._passport = source, index, fmap, passport
        self._name = (source.repo or source.folder.resolve().name).rsplit("/", 1)[-1]
        self.place = relpath(source.folder, index.folder)

    def episode_id(self, episode: SourceEpisode) -> str:
        """The id of an episode; another one where one of another source has its usual one.

        Raises:
            DatasetError: When the source is an export that does not know the episode.
        """
        if self._passport is not None:
            usual = earlier = self.exported(episode)["id"]
        else:
            usual, earlier = (
                f"{name}-{episode.number:06d}"
                for name in (self._name, _REPLACED_EARLIER.sub("_", self._name))
            )
        for name in (usual, earlier):
            held = self._index.episodes.get(name)
            if held is not None and self._is_same(held, episode):
                return name
        if usual not in self._index.episodes:
            return usual
        return f"{usual}-{sha256_json(self.place)[:8]}"

    def is_there(self, episode: SourceEpisode, name: str) -> bool:
        """Whether the data set holds what an export of ours gives back, from its own source."""
        held = self._index.episodes.get(name)
        if held is None or self._passport is None or held["source"] == self.place:
            return False
        return held["content_sha256"] == self.exported(episode)["content_sha256"]

    def exported(self, episode: SourceEpisode) -> dict:
        """The entry of an episode in the data set that was exported.

        Raises:
            DatasetError: When there is none.
        """
        entries = self._passport.episodes
        if not 0 <= episode.number < len(entries):
            raise DatasetError(
                self._source.folder / PASSPORT, f"knows no episode {episode.number}"
            )
        return entries[episode.number]

    def origin(self, episode: SourceEpisode, starts: Mapping[str, Start]) -> dict:
        """Where an episode comes from, and the hash by which it is known again.

        Args:
            episode: The episode.
            starts: Video feature -> where its images begin.

        Raises:
            DatasetError: When a file of it cannot be read.
        """
        source, features = self._source, self._fmap.features.values()
        origin = {
            "format": f"LeRobot {source.version}",
            "repo": source.repo,
            "revision": source.revision,
            "episode_index": episode.number,
            "files": {file: source.sha256(file) for file in episode.files(features)},
            **self._options(),
        }
        moved = {feature: start.moved for feature, start in starts.items() if start.moved}
        if moved:
            origin["frames_moved"] = moved
        if self._passport is not None:
            entry = self.exported(episode)
            origin["exported"] = {key: entry[key] for key in _FROM_EXPORT if key in entry}
        vectors = {k: [v.places, v.gains, v.offsets] for k, v in self._fmap.vectors.items()}
        places = {
            feature: [
                source.sha256(found.file),
                starts[feature].start_s if feature in moved else found.from_s,
            ]
            for feature, found in episode.videos.items()
            if feature in features
        }
        parts = [source.sha256(episode.data), places, self._fmap.features, vectors]
        return {"bag_sha256": sha256_json([episode.number, *parts]), "origin": origin}

    def check_options(self, episodes: Iterable[SourceEpisode]) -> None:
        """Makes sure that episodes which are there were imported as they would be now.

        Raises:
            DatasetError: Naming the first one that was not, and what differs.
        """
        now = self._options()
        for episode in episodes:
            try:
                name = self.episode_id(episode)
            except DatasetError:
                continue  # it cannot be read, and says so when it is its turn
            before = self._index.episodes.get(name, {}).get("origin")
            if not before:
                continue
            lacks = {"dimensions"} - before.keys()  # made by an older release
            held, given = (_chosen(of, _OPTIONS - lacks) for of in (before, now))
            if differing := differences(held, given, all_keys=True):
                raise RefusedError(
                    self._index.folder,
                    f"{name} was imported with other options: {'; '.join(differing)}; nothing was "
                    "changed: give the same options, import into another folder, or replace what "
                    "is there with --overwrite",
                )

    def _options(self) -> dict:
        """Options of the import in the form in which an entry stores them."""
        vectors = self._fmap.vectors
        gains = {
            f"{key} {place}": [gain, offset]
            for key, v in vectors.items()
            for place, gain, offset in zip(v.places, v.gains, v.offsets, strict=True)
            if not v.exact
        }
        dimensions = {key: list(v.places) for key, v in vectors.items()}
        found = {"features": self._fmap.features, "dimensions": dimensions}
        return {**found, "gains": gains} if gains else found

    def _is_same(self, held: dict, episode: SourceEpisode) -> bool:
        """Whether an entry of the data set is of this very episode, be it an older version."""
        if held["source"] == self.place:
            return True
        if self._passport is not None:
            return held["content_sha256"] == self.exported(episode)["content_sha256"]
        origin = held.get("origin", {})
        return origin.get("episode_index") == episode.number and origin.get("files", {}).get(
            episode.data
        ) == self._source.sha256(episode.data)


def _chosen(origin: Mapping, keys: Collection[str]) -> dict:
    """The options in the origin of an episode; no gains that change nothing."""
    gains = {name: gain for name, gain in origin.get("gains", {}).items() if gain != [1.0, 0.0]}
    found = {**origin, "gains": gains}
    return {key: found[key] for key in keys if found.get(key)}

"""Episodes that take the place of older versions, or of which none is left: all at the end.

Until then the data set is what it was, to the byte. A new version has a file of another name, so
that `dataset.json`, which is replaced in one step, names files that are there at any moment.
"""

from __future__ import annotations

from pathlib import Path

from roboalign_training.conversion.entering import enter_episodes, listed
from roboalign_training.conversion.target import Converted
from roboalign_training.data.index import DATA, DatasetIndex


class Replacements:
    """What an import will change of episodes that are in the data set already.

    Attributes:
        removed: Ids of episodes of which neither the older version stays nor a new one comes.
    """

    def __init__(self, index: DatasetIndex) -> None:
        """Of the data set of `index`, which is changed; its files are not, before `finish`."""
        self._index = index
        self._taken = {entry["file"] for entry in index.episodes.values()}
        self._moves: list[tuple[Path, Path]] = []
        self.removed: list[str] = []

    def enter(self, done: Converted) -> None:
        """Enters an episode; what is there of it already stays on disk."""
        index, added = self._index, []
        for entry in done.entries:
            held = index.episodes.get(entry["id"])
            if held is None:
                added.append(entry)
            elif held["content_sha256"] == entry["content_sha256"]:
                # The same again, whose source has grown; by another path perhaps.
                index.episodes[entry["id"]] = {**held, "source": entry["source"]}
                added.append({**entry, "file": held["file"]})
            else:
                self._replace(held, entry)
        for entry in done.skipped:
            held = index.episodes.pop(entry["id"], None)
            if held is not None:
                self.removed.append(entry["id"])
                index.balance.pop(held["bag_sha256"], None)
        enter_episodes(
            index, Converted(done.path, tuple(added), skipped=done.skipped, error=done.error)
        )

    def _replace(self, held: dict, entry: dict) -> None:
        """Lets an episode take the place of an older version, in the index alone."""
        index, stem = self._index, Path(entry["file"]).stem
        names = (entry["file"], f"{DATA}/{stem}-{entry['content_sha256'][:8]}.parquet")
        file = next(name for name in names if name not in self._taken)
        self._taken.add(file)
        self._moves.append((index.folder / entry["pending"], index.folder / file))
        index.balance.pop(held["bag_sha256"], None)
        index.episodes[entry["id"]] = {**listed(entry), "file": file}
        index.skipped = [
            e for e in index.skipped if (e["source"], e["id"]) != (entry["source"], entry["id"])
        ]

    def finish(self) -> None:
        """Gives the new versions their places, saves the index, and removes the older ones."""
        placed: list[Path] = []
        try:
            for pending, target in self._moves:
                pending.replace(target)
                placed.append(target)
            self._index.save()
        except OSError:
            for path in placed:
                path.unlink(missing_ok=True)
            raise
        # Also what an import left that was killed here.
        named = {entry["file"] for entry in self._index.episodes.values()}
        for path in (self._index.folder / DATA).glob("episode-*.parquet"):
            if f"{DATA}/{path.name}" not in named:
                path.unlink()

    def give_up(self) -> None:
        """Removes the new versions that have no place yet."""
        for pending, _ in self._moves:
            pending.unlink(missing_ok=True)

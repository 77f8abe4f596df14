"""Additional files of an export that keep what LeRobot's format cannot express.

`meta/contract.yaml` is the robot, `meta/roboalign.json` the hashes, rules and episodes of the data
set, `meta/roboalign_frames.parquet` position and time of every frame.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from roboalign_policy.core.contract.contract import Contract, ContractError, contract_from_yaml
from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.content import CONTENT_VERSION, content_hash
from roboalign_training.data.index import write_json
from roboalign_training.episodes.episodes import EpisodeFrames
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.image_storage import ImageStorage
from roboalign_training.lerobot.layout import CONTRACT, FRAMES, PASSPORT, SCHEMA

FRAME_COLUMNS = pa.schema(
    [("episode_index", pa.int64()), ("frame_index", pa.int32()), ("stamp_ns", pa.int64())]
)
_ENTRY_KEYS = (
    "id",
    "instruction",
    "outcome",
    "dropped",
    "trimmed",
    "content_sha256",
    "values_sha256",
)


@dataclass(frozen=True)
class Passport:
    """The content of `meta/roboalign.json`, and the contract beside it.

    Attributes:
        contract: The robot.
        hashes: Of the data set that was exported, as its index has them.
        recipe: Its rules.
        images: How images are stored: `storage`, and `crf` of videos.
        episodes: Its entries in order of their episode_index, with `values_sha256`.
        files: All other files of the export with their sizes, bytes, as it was saved; None in an
            export of an older release.
    """

    contract: Contract
    hashes: dict[str, str]
    recipe: dict
    images: dict
    episodes: tuple[dict, ...]
    files: dict[str, int] | None = None

    @property
    def lossy(self) -> bool:
        """Whether the exported data set stored other pixels than live saw."""
        recipe = Recipe.from_dict(self.recipe)
        return ImageStorage(recipe.images, recipe.quality).lossy is not None

    @property
    def identity(self) -> dict:
        """What makes two exports the same."""
        return {"dataset": self.hashes["dataset"], **self.images}

    def save(self, folder: Path) -> None:
        """Writes both files below `folder`, where all others of the export have to be."""
        (folder / CONTRACT).write_text(self.contract.to_yaml(), "utf-8")
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
        sizes.pop(PASSPORT, None)
        write_json(
            folder / PASSPORT,
            {
                "schema": SCHEMA,
                "tool": tool(),
                "hashes": self.hashes,
                "recipe": self.recipe,
                "images": self.images,
                "episodes": self.episodes,
                "files": sizes,
            },
        )


def tool() -> str:
    """Name and version of this program."""
    try:
        return f"roboalign_training {version('roboalign_training')}"
    except PackageNotFoundError:
        return "roboalign_training"


def load_passport(folder: Path) -> Passport | None:
    """The passport of an export; None where a LeRobot data set is not one of ours.

    Raises:
        DatasetError: When it is damaged, or the contract is not the one it names.
    """
    path = folder / PASSPORT
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema: found {found['schema']!r}, expected {SCHEMA!r}")
        contract = contract_from_yaml(
            (folder / CONTRACT).read_text("utf-8"), source=str(folder / CONTRACT)
        )
        Recipe.from_dict(found["recipe"])
        for entry in found["episodes"]:
            lacking = [key for key in _ENTRY_KEYS if key not in entry]
            if lacking:
                raise ValueError(f"an episode without {', '.join(lacking)}")
        hashes, images = dict(found["hashes"]), dict(found["images"])
        files = found.get("files")
        if files is not None and not all(isinstance(size, int) for size in files.values()):
            raise ValueError("files: expected names with a number of bytes each")
        episodes = tuple(map(dict, found["episodes"]))
        passport = Passport(contract, hashes, found["recipe"], images, episodes, files)
        passport.identity  # noqa: B018  (raises where a part is missing)
    except (OSError, AttributeError, KeyError, TypeError, ValueError, ContractError) as error:
        raise DatasetError(path, f"is damaged: {error!r}") from error
    if contract.hash != hashes.get("contract"):
        raise DatasetError(
            folder / CONTRACT,
            f"hash: found {contract.hash}, but {PASSPORT} names {hashes.get('contract')}",
        )
    return passport


class FrameTimes:
    """Position on the grid and time of every exported frame."""

    def __init__(self, folder: Path) -> None:
        """Opens the table of an export.

        Raises:
            DatasetError: When it cannot be read.
        """
        self._path = folder / FRAMES
        try:
            table = pq.read_table(self._path, schema=FRAME_COLUMNS)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(self._path, f"cannot be read: {error}") from error
        self._episodes, self._indices, self._stamps = (c.to_numpy() for c in table.columns)

    def of(self, number: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and times, (N,) int64 each, of episode `number`, which has `frames` frames.

        Raises:
            DatasetError: When the table has another number of them.
        """
        start, stop = np.searchsorted(self._episodes, [number, number + 1])
        if stop - start != frames:
            raise DatasetError(
                self._path, f"episode {number}: {stop - start} frames, expected {frames}"
            )
        rows = slice(start, stop)
        return self._indices[rows].astype(np.int64), self._stamps[rows].astype(np.int64)


def values_hash(
    frames: EpisodeFrames, contract: Contract, version: str | None = CONTENT_VERSION
) -> str:
    """SHA-256 over all of an episode but its images: what must come back also from videos.

    `version` is that of the episode's content hash, see `content.content_hash`.
    """
    states = {stream.key: frames.values[stream.key] for stream in contract.states}
    return content_hash(
        EpisodeFrames(
            frames.indices,
            frames.stamps_ns,
            states,
            frames.actions,
            instruction=frames.instruction,
            outcome=frames.outcome,
        ),
        version=version,
    )

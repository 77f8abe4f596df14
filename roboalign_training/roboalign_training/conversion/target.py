"""What a conversion is to make, and what became of a bag."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roboalign_policy.core.contract.contract import Contract
from roboalign_training.conversion.memory import MemoryBudget
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.images.image_storage import ImageStorage

VIDEOS = "videos"
LONGEST_NAME = 100
"""Characters of an id that stand in file names; with what is added, far below 255 bytes."""
_UNSAFE_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")

Report = Callable[[float], None]
"""Takes the share of the work on a bag, 0 .. 1, that is done."""


@dataclass(frozen=True)
class Converted:
    """What became of one bag.

    Attributes:
        path: The bag.
        entries: Episodes that were written, as in `dataset.json`, and `pending`, the file's name
            until it has its place, relative to the data set (`pending_videos` alike).
        skipped: Episodes that were left out, with the reason.
        error: Why the bag could not be read at all, or "".
        known: The data set had it already.
        copy: It is the same recording as another one of the same run.
        bag_sha256: Of a bag that is known or a copy; else "".
        balance: Its balance sheet; None where it was not read.
    """

    path: Path
    entries: tuple[dict, ...] = ()
    skipped: tuple[dict, ...] = ()
    error: str = ""
    known: bool = False
    copy: bool = False
    bag_sha256: str = ""
    balance: dict | None = None


@dataclass(frozen=True)
class Target:
    """The data set that bags are converted to.

    Attributes:
        out: Its folder.
        contract: The robot.
        recipe: Which episodes are taken, and how images are stored.
        known: SHA-256 of bags that it has.
        sources: Bags that it has, as it names them.
        budget: Memory and processes.
    """

    out: Path
    contract: Contract
    recipe: Recipe
    known: frozenset[str]
    sources: frozenset[str]
    budget: MemoryBudget

    @property
    def storage(self) -> ImageStorage:
        """How images are stored."""
        return ImageStorage(self.recipe.images, self.recipe.quality)


def safe_name(episode_id: str) -> str:
    """An episode's id as a part of file names: another one for every id.

    An id of up to `LONGEST_NAME` letters A-Z, digits, '.', '_' and '-' is its own name. Of any
    other the name ends with the beginning of its SHA-256: ids in one script, or of one beginning,
    would fall together otherwise.
    """
    clean = _UNSAFE_IN_NAMES.sub("_", episode_id)
    if clean == episode_id and len(clean) <= LONGEST_NAME:
        return clean
    return f"{clean[:LONGEST_NAME]}-{name_digest(episode_id)}"


def name_digest(episode_id: str) -> str:
    """Beginning of an id's SHA-256, hex."""
    return hashlib.sha256(episode_id.encode()).hexdigest()[:10]

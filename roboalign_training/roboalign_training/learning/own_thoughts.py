"""A model's own thoughts on disk: generated once, however often their frames are read.

They are of the pictures as they were recorded, by the model before any training of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from roboalign_training.learning.features import FeaturePlan
from roboalign_training.learning.hidden_reader import HiddenReader
from roboalign_training.learning.run_record import write_json

INDEX, PART = "thoughts.json", "thoughts-{:05d}.json"


def thought_plan(folder: Path, key: Mapping[str, Any], own: Collection[int]) -> FeaturePlan | None:
    """What is wanted in a folder; None where no frame is read with the model's own thought.

    Args:
        folder: where they are, or will be.
        key: JSON values that tell whose they are.
        own: the frames.
    """
    if not own:
        return None
    frames = np.array(sorted(own), np.int64)
    return FeaturePlan(folder, key, frames, frozenset(own), INDEX, PART, "thoughts")


def make_thoughts(
    plan: FeaturePlan,
    reader: HiddenReader,
    stopped: Callable[[], bool],
    tell: Callable[[int, int], None],
) -> dict[int, str] | None:
    """Generate the thoughts that are missing, and read all.

    Args:
        plan: of `thought_plan`, that was checked.
        reader: of the model.
        stopped: whether to stop; asked before every part.
        tell: is told how many frames are done, and of how many.

    Returns:
        By frame; None when it was stopped, and the same call goes on.

    Raises:
        OutputError: another process is writing there.
        OSError: the disk is full.
    """

    def write(path: Path, frames: np.ndarray) -> None:
        texts = reader.own_thoughts(frames.tolist())
        write_json(path, {"frames": frames.tolist(), "thoughts": texts})

    if not plan.fill(write, stopped, tell):
        return None
    found: dict[int, str] = {}
    for number in range(plan.parts):
        part = json.loads(plan.path(number).read_text("utf-8"))
        found |= dict(zip(part["frames"], part["thoughts"], strict=True))
    return found

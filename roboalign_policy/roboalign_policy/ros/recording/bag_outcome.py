"""Judges a finished bag: its outcome, rewritten in the metadata in one step."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from roboalign_policy.core import keys
from roboalign_policy.core.recording.episodes import (
    RecordingError,
    check_episode_id,
    check_outcome,
)
from roboalign_policy.ros.recording.bag_writer import (
    INFORMATION,
    dump_yaml,
    sync_folder,
    sync_stream,
)


def mark_outcome(root: Path, episode_id: str, outcome: str) -> Path:
    """Write the outcome of a finished episode into its ``metadata.yaml``.

    The bag's storage keeps what was said when it was recorded; readers go by the metadata.

    Args:
        root: folder of the episodes.
        episode_id: which.
        outcome: one of ``core.recording.episodes.OUTCOMES``.

    Returns:
        The bag's folder.

    Raises:
        RecordingError: no such bag, a bag of somebody else, or a wrong value.
        OSError: it cannot be written; the metadata is as before.
    """
    check_episode_id(episode_id)
    check_outcome(outcome)
    folder = root / episode_id
    path = folder / "metadata.yaml"
    if not path.is_file():
        raise RecordingError(f"episode_id: found {episode_id!r}, expected a bag in {root}")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    custom = document.get(INFORMATION, {}).get("custom_data") or {}
    if keys.BAG_OUTCOME not in custom:
        raise RecordingError(
            f"{path}: found no {keys.BAG_OUTCOME}, expected a bag of recorder_node"
        )
    custom[keys.BAG_OUTCOME] = outcome
    new = path.with_name(".metadata.yaml.new")
    with new.open("w", encoding="utf-8") as stream:
        stream.write(dump_yaml(document))
        sync_stream(stream)
    os.replace(new, path)
    sync_folder(folder)
    return folder

"""The end of the way where episodes were imported: a LeRobot data set and what it says of itself.

An export of this suite is not the end: it carries where its own episodes came from.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roboalign_training.bags.errors import DatasetError
from roboalign_training.lerobot.layout import INFO
from roboalign_training.lerobot.passport import load_passport
from roboalign_training.lerobot.source import hub_of
from roboalign_training.origins.trace_step import (
    AS_IT_WAS,
    CHANGED,
    GONE,
    LEROBOT,
    OF_ANOTHER,
    UNCHECKED,
    Step,
    TraceFiles,
)

_DEPTH = 3  # folders between a LeRobot data set and a video in it
_SAID = {
    "robot_type": "robot", "total_episodes": "episodes", "total_frames": "frames", "fps": "fps",
}  # fmt: skip
"""Keys of its `info.json`, and what they are called here."""


def lerobot_root(path: Path) -> Path | None:
    """The LeRobot data set that a folder or file is, or is in; None for anything else."""
    folder = path if path.is_dir() else path.parent
    places = (folder, *list(folder.absolute().parents)[:_DEPTH])
    return next((place for place in places if (place / INFO).is_file()), None)


def lerobot_step(folder: Path) -> Step:
    """A LeRobot data set by itself; of an export of ours every episode and its source.

    Raises:
        DatasetError: what an export says of its source is damaged.
    """
    repo, revision = hub_of(folder)
    known = {"repo": repo, "revision": revision}
    facts = _info(folder) | {key: value for key, value in known.items() if value}
    step = Step(LEROBOT, str(folder.resolve()), facts)
    passport = load_passport(folder)
    for number, entry in enumerate(passport.episodes if passport else ()):
        facts = {"episode": str(number)}
        step.children.append(Step("episode", entry["id"], facts, "", [_exported(entry)]))
    return step


def imported_step(folder: Path, entry: Mapping[str, Any], look: TraceFiles) -> Step:
    """Where an imported episode comes from; compared file by file with what was imported.

    Args:
        folder: the LeRobot data set, be it gone.
        entry: of the episode, with its `origin`.
        look: how closely.
    """
    origin = entry["origin"]
    folder = there(folder)
    facts = _origin(origin)
    for name, said in look.once(folder, _info).items():
        facts.setdefault(name, said)  # it may be another data set by now
    step = Step(LEROBOT, str(folder.resolve()), facts, UNCHECKED)
    files = {folder / name: known for name, known in origin["files"].items()}
    if missing := [file for file in files if not file.is_file()]:
        step.state = GONE if not folder.exists() else f"{CHANGED}: no {missing[0].name}"
    elif look.verify:
        same = all(look.sha256(file) == known for file, known in files.items())
        step.state = AS_IT_WAS if same else CHANGED
    if "exported" in origin:
        step.children.append(_exported(origin["exported"]))
    return step


def there(path: Path) -> Path:
    """The path; "data/../bags" is there also when data is not."""
    return path if path.exists() else Path(os.path.normpath(path))


def _exported(record: Mapping[str, Any]) -> Step:
    """What an episode of an export was made of: a bag, or once more a LeRobot data set.

    Its place is told from the folder of the data set that was exported, so only hashes and names
    are known of it.
    """
    origin = record.get("origin")
    if origin is None:
        known = {"sha256": record.get("bag_sha256", "")[:12]}
        return Step("bag", record.get("source", ""), known, OF_ANOTHER)
    step = Step(LEROBOT, record.get("source", ""), _origin(origin), OF_ANOTHER)
    if "exported" in origin:
        step.children.append(_exported(origin["exported"]))
    return step


def _origin(origin: Mapping[str, Any]) -> dict[str, str]:
    """What was written down when an episode was imported."""
    facts = {"format": origin["format"], "episode": str(origin["episode_index"])}
    return facts | {key: origin[key] for key in ("repo", "revision") if origin.get(key)}


def _info(folder: Path) -> dict[str, str]:
    """What a LeRobot data set that is there says of itself."""
    path = folder / INFO
    if not path.is_file():
        return {}
    try:
        info = json.loads(path.read_text("utf-8-sig"))
        facts = {"format": f"LeRobot {info.get('codebase_version')}"}
        facts |= {name: str(info[key]) for key, name in _SAID.items() if info.get(key) is not None}
        passport = load_passport(folder)
    except (OSError, ValueError, AttributeError) as error:  # a DatasetError names its file
        text = str(error)
        return {INFO: text if isinstance(error, DatasetError) else f"cannot be read: {text}"}
    if passport is not None:
        of = f"data set {passport.hashes['dataset'][:12]} ({passport.contract.name})"
        facts["export of"] = of
    return facts

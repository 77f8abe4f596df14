"""A recording that is damaged or unfinished: its files, and whatever is still said about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import yaml
from rosbags.typesys.store import Typestore

from roboalign_policy.core.keys import BAG_EPISODE_ID
from roboalign_policy.core.recording.begun import read_begun
from roboalign_training.bags.bag_checks import refuse_empty, refuse_pointers
from roboalign_training.bags.bagmeta import SUFFIXES, YAML_FAULTS, bag_information
from roboalign_training.bags.definition_folder import handed_folder
from roboalign_training.bags.definition_text import plain_text
from roboalign_training.bags.errors import BagError, NoBagError
from roboalign_training.bags.folders import ZIPPED, storage_files, storage_of
from roboalign_training.bags.losses import Loss
from roboalign_training.bags.rescue.salvage_mcap import McapSalvage
from roboalign_training.bags.rescue.salvage_sqlite import SqliteSalvage
from roboalign_training.bags.storage import StoredTopic
from roboalign_training.bags.typestores import bag_store, store_for
from roboalign_training.bags.unpacking import unpack_file

# rmw's numbers, which rosbag2 wrote before version 9.
# Source: rmw/types.h of ROS 2 Jazzy.
_POLICIES = {
    "history": {0: "system_default", 1: "keep_last", 2: "keep_all", 3: "unknown"},
    "reliability": {0: "system_default", 1: "reliable", 2: "best_effort", 3: "unknown"},
    "durability": {0: "system_default", 1: "transient_local", 2: "volatile", 3: "unknown"},
    "liveliness": {0: "system_default", 1: "automatic", 3: "manual_by_topic", 4: "unknown"},
}
PARTIAL = ".partial"
"""Ending of the hidden folder in which the recorder lets an episode grow."""


@dataclass
class Damaged:
    """What is left of a recording.

    Attributes:
        path: What was asked for.
        files: Its storage files in recording order.
        order: Names of its files in recording order, those among them that are not there.
        zipped: Whether messages are compressed one by one.
        promised: Messages by topic, by the metadata; None where it does not say so.
        custom: Custom data, as far as it is left.
    """

    path: Path
    files: tuple[Path, ...]
    order: tuple[str, ...] = ()
    zipped: bool = False
    promised: Mapping[str, int] | None = None
    custom: dict[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> list[str]:
        """Names of the files that its metadata lists and that are not there."""
        there = {file.name for file in self.files}
        return [name for name in self.order if name not in there]

    @property
    def name(self) -> str:
        """Name of the recording; an episode's id for what the recorder left."""
        name = self.path.resolve().name
        if self.path.is_dir():
            return name.removeprefix(".").removesuffix(PARTIAL)
        for ending in (ZIPPED, *SUFFIXES.values()):
            name = name.removesuffix(ending)
        return name

    def understand(self, text: str) -> None:
        """Takes in metadata (YAML), of the folder or as a file repeats it, if it can be read."""
        try:
            info = (bag_information(text) if text else None) or {}
        except YAML_FAULTS:
            return  # damaged like the rest
        self.zipped = self.zipped or str(info.get("compression_mode")).lower() == "message"
        custom = info.get("custom_data")
        for key, value in (custom if isinstance(custom, Mapping) else {}).items():
            self.custom.setdefault(str(key), str(value))


def find_damaged(path: Path) -> Damaged:
    """Finds the storage files of a recording, with or without readable metadata.

    Raises:
        BagError: When there is none, a Git LFS pointer in place of one, or no byte in any.
    """
    if path.is_file() and storage_of(path):
        refuse_pointers([path])
        refuse_empty([path])
        return Damaged(path, (path,), (path.name,))
    if not path.is_dir():
        fault = "is no recording: expected a folder, a .mcap or a .db3 file"
        raise NoBagError(path, fault if path.exists() else "does not exist")
    folder = _folder_of_files(path)
    there = storage_files(folder)
    refuse_pointers(there)
    refuse_empty(there, all_of_them=True)
    found = Damaged(path, ())
    text = ""
    try:
        text = (folder / "metadata.yaml").read_text("utf-8", errors="replace")
        info = bag_information(text) or {}
        listed = [PurePath(str(name)).name for name in info.get("relative_file_paths") or ()]
        found.promised = {
            str(entry["topic_metadata"]["name"]): int(entry["message_count"])
            for entry in info.get("topics_with_message_count") or ()
        } or None
    except (OSError, KeyError, AttributeError, *YAML_FAULTS):
        listed = []
    by_name = {file.name: file for file in there}
    found.order = tuple(dict.fromkeys([*listed, *by_name]))
    found.files = tuple(by_name[name] for name in found.order if name in by_name)
    found.understand(text)
    if not found.files:
        raise NoBagError(path, "is no recording: no .mcap or .db3 file in it")
    if path.name.startswith(".") and path.name.endswith(PARTIAL):
        for key, value in read_begun(path).items():
            found.custom.setdefault(key, value)
        found.custom.setdefault(BAG_EPISODE_ID, found.name)
    return found


def _folder_of_files(path: Path) -> Path:
    """Where the files of a recording lie: in its folder, or in the only one below that has some.

    `ros2 bag record` makes a folder of its own within the one that the recorder keeps hidden.

    Raises:
        BagError: When several folders below have some.
    """
    if storage_files(path):
        return path
    below = [p for p in sorted(path.iterdir()) if p.is_dir() and storage_files(p)]
    if len(below) > 1:
        names = ", ".join(p.name for p in below[:4]) + (" ..." if below[4:] else "")
        raise NoBagError(path, f"holds {len(below)} recordings ({names}): name one")
    return below[0] if below else path


def open_salvage(
    file: Path, folder: Path, on_bytes: Callable[[int], None]
) -> tuple[McapSalvage | SqliteSalvage, list[Loss]]:
    """Opens one storage file for what still reads of it.

    Args:
        file: The file; it is not changed.
        folder: Where copies are made; the caller removes it.
        on_bytes: Told how far reading is.

    Returns:
        The salvage, and what was lost already in decompressing the file.

    Raises:
        BagError: When nothing of it can be read at all.
    """
    plain, losses = file, []
    if file.suffix == ZIPPED:
        folder.mkdir(parents=True, exist_ok=True)
        plain = folder / file.stem
        try:
            unpack_file(file, plain)
        except BagError as error:
            if not plain.exists() or not plain.stat().st_size:
                raise
            losses = [Loss(file.name, plain.stat().st_size, 0, error.cause)]
    try:
        if storage_of(file) == "mcap":
            return McapSalvage(plain, file.name, on_bytes), losses
        return SqliteSalvage(plain, file, folder / "copy", on_bytes), losses
    except OSError as error:
        raise BagError(file, f"cannot be read: {error}") from error


def written_definition(topic: StoredTopic, definitions: frozenset[tuple[str, str, str]]) -> str:
    """The type's definition as `ros2msg` text, else the one handed in; "" where there is none."""
    if topic.form == "MSG":
        return plain_text(topic.definition)
    store: Typestore | None = None
    if topic.form == "IDL":
        store, faults = bag_store(definitions)
        store = None if topic.type in faults or topic.type not in store.fielddefs else store
    elif (folder := handed_folder()) and folder.has(topic.type):
        store, _ = store_for(topic.type, definitions, topic.type_hash)
    return store.generate_msgdef(topic.type, ros_version=2)[0] if store else ""


def profiles(text: str) -> tuple[dict, ...]:
    """QoS profiles as data, in the words of metadata version 9; none where they do not parse."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return ()
    if not isinstance(found, list):
        return ()
    return tuple(
        {key: _policy(key, value) for key, value in profile.items()}
        for profile in found
        if isinstance(profile, dict)
    )


def _policy(key: object, value: object) -> object:
    """A policy's word in place of its number."""
    return (
        _POLICIES[key].get(value, "unknown") if key in _POLICIES and type(value) is int else value
    )

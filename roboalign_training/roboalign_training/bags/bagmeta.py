"""The `metadata.yaml` of a rosbag2 folder: parsed, checked, with one error for all its faults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import yaml

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_training.bags.errors import BagError

SUFFIXES = {"mcap": ".mcap", "sqlite3": ".db3"}
NEWEST_VERSION = 9
TYPE_NAME = re.compile(r"[A-Za-z]\w*/(msg|srv|action)/[A-Za-z]\w*")


@dataclass(frozen=True)
class TopicRecord:
    """What the metadata says about one topic of one type."""

    name: str
    type: str
    encoding: str
    count: int
    type_hash: str = ""


@dataclass(frozen=True)
class BagMetadata:
    """The checked content of `metadata.yaml`.

    Attributes:
        storage: "mcap" or "sqlite3".
        files: Storage files in recording order, absolute; all of them exist.
        compression: "", "file" or "message"; the format is always zstd.
        message_count: The number of messages that the bag promises.
        topics: One record a topic and type.
        custom: The free text entries of the recorder (`roboalign.*` among them).
    """

    storage: str
    files: tuple[Path, ...]
    compression: str
    message_count: int
    topics: tuple[TopicRecord, ...]
    custom: dict[str, str] = field(default_factory=dict)


def type_name_fault(name: str) -> str | None:
    """Says why `name` is no ROS 2 interface name, or None if it is one."""
    if TYPE_NAME.fullmatch(name):
        return None
    parts = name.split("/")
    if len(parts) == 2:
        return (
            f"type {name!r} is a ROS 1 (or early ROS 2) name, expected '{parts[0]}/msg/{parts[1]}'"
        )
    return f"type {name!r} is no ROS 2 interface name, expected 'package/msg/Name'"


def foreign_fault(kind: str, encoding: str) -> str:
    """Says why ROS 2 has no topic of a type whose messages are encoded so; "" where it may."""
    if encoding != "cdr":
        return f"message encoding {encoding!r}, expected 'cdr'"
    return type_name_fault(kind) or ""


def load_metadata(folder: Path) -> BagMetadata:
    """Reads and checks `<folder>/metadata.yaml`.

    Args:
        folder: The bag's folder.

    Returns:
        The metadata; every file it names exists.

    Raises:
        BagError: Naming every fault: YAML that does not parse, a missing or wrong key, a file that
            is not there, a storage, version, compression or encoding that is not supported.
    """
    path = folder / "metadata.yaml"
    if fault := pointer_fault(path):
        raise BagError(path, fault)
    try:
        info = bag_information(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, *YAML_FAULTS) as error:
        raise BagError(path, f"cannot be read: {error}") from error
    if info is None:
        raise BagError(path, "no mapping 'rosbag2_bagfile_information', so it describes no bag")
    faults: list[str] = []
    version = _get(info, "version", int, faults)
    if version is not None and version > NEWEST_VERSION:
        faults.append(f"version: found {version}, expected at most {NEWEST_VERSION}")
    storage = _get(info, "storage_identifier", str, faults)
    if storage is not None and storage not in SUFFIXES:
        faults.append(f"storage_identifier: found {storage!r}, expected 'mcap' or 'sqlite3'")
    count = _get(info, "message_count", int, faults)
    topics = _topics(info, faults)
    foreign = [
        f"topic {t.name}: {fault}" for t in topics if (fault := foreign_fault(t.type, t.encoding))
    ]
    if count is not None and not faults and count != (total := sum(t.count for t in topics)):
        faults.append(f"message_count: found {count}, but its topics sum to {total}")
    mode = str(info.get("compression_mode") or "none").lower()
    mode = "" if mode == "none" else mode
    if mode not in ("", "file", "message"):
        faults.append(f"compression_mode: found {mode!r}, expected none, file or message")
    if mode and info.get("compression_format") != "zstd":
        faults.append(
            f"compression_format: found {info.get('compression_format')!r}, expected zstd"
        )
    names = _get(info, "relative_file_paths", list, faults) or []
    # Versions before 4 wrote "<folder>/<file>"; the files always lie beside the metadata.
    files = tuple(folder / PurePath(str(name)).name for name in names)
    missing = [file.name for file in files if not _is_file(file)]
    if missing:
        found = sorted(p.name for p in folder.iterdir() if p.name != path.name)
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if missing[3:] else "")
        faults.append(
            f"relative_file_paths: {len(missing)} of {len(files)} files are missing ({shown}); "
            f"the folder holds {', '.join(found) or 'nothing else'}"
        )
    elif not files:
        faults.append("relative_file_paths: found no file")
    custom = info.get("custom_data") or {}
    if not isinstance(custom, Mapping):
        faults.append(f"custom_data: found {type(custom).__name__}, expected a mapping")
        custom = {}
    if faults:
        # With all else, where no topic is of ROS 2: then that is what is wrong.
        raise BagError(
            path, "; ".join([*faults, *(foreign if len(foreign) == len(topics) else ())])
        )
    return BagMetadata(
        storage, files, mode, count, tuple(topics), {str(k): str(v) for k, v in custom.items()}
    )


def embedded_metadata(text: str, file: Path) -> tuple[str, dict[str, str]]:
    """Compression mode and custom data from the metadata that a storage file repeats.

    Args:
        text: The YAML in the file; "" for none.
        file: The file, for errors.

    Raises:
        BagError: When the text does not parse.
    """
    try:
        info = (bag_information(text) if text else None) or {}
    except YAML_FAULTS as error:
        raise BagError(file, f"the metadata in it cannot be read: {error}") from error
    mode = str(info.get("compression_mode") or "none").lower()
    custom = info.get("custom_data")
    custom = custom if isinstance(custom, Mapping) else {}
    return ("" if mode == "none" else mode), {str(k): str(v) for k, v in custom.items()}


def bag_information(text: str) -> dict | None:
    """The mapping that describes a bag, from YAML; None where there is none.

    Raises:
        One of YAML_FAULTS: When the text does not parse.
    """
    document = yaml.load(text, Loader=_LOADER)  # noqa: S506 - it is a safe one
    if isinstance(document, dict) and "rosbag2_bagfile_information" in document:
        document = document["rosbag2_bagfile_information"]
    elif not (isinstance(document, dict) and "storage_identifier" in document):
        return None
    return document if isinstance(document, dict) else None


def _topics(info: dict, faults: list[str]) -> list[TopicRecord]:
    """The topic table, with its faults appended to `faults`."""
    topics = []
    for entry in _get(info, "topics_with_message_count", list, faults) or []:
        try:
            meta = entry["topic_metadata"]
            record = TopicRecord(
                str(meta["name"]),
                str(meta["type"]),
                str(meta["serialization_format"]),
                int(entry["message_count"]),
                str(meta.get("type_description_hash") or ""),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"topics_with_message_count: malformed entry ({error!r})")
            continue
        topics.append(record)
    return topics


def _get(info: dict, key: str, kind: type, faults: list[str]):
    """`info[key]` if it is a `kind`, else None with the fault noted."""
    value = info.get(key)
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    faults.append(f"{key}: found {value!r}, expected {kind.__name__}")
    return None


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a name that cannot be one is none."""
    try:
        return path.is_file()
    except OSError:
        return False


# What the parser raises for text that is no YAML, and for values that look like dates or numbers.
YAML_FAULTS = (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError)
# libyaml where PyYAML was built with it: ten times faster, the same result.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

"""What the files of a bag say together, and whether its metadata says the same."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rosbags.typesys.store import Typestore

from roboalign_policy.core.git_lfs import pointer_fault
from roboalign_training.bags.bagmeta import BagMetadata, embedded_metadata, foreign_fault
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.folders import ZIPPED
from roboalign_training.bags.merging import merged
from roboalign_training.bags.sqlite_file import SIDE_FILES
from roboalign_training.bags.storage import ALL_TIMES, StorageFile
from roboalign_training.bags.typestores import store_for
from roboalign_training.bags.unpacking import ZSTD_MAGIC, unpack_file


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: As recorded.
        type: ROS 2 type name; "" where the bag does not say.
        count: Messages the bag holds.
        fault: Why its messages cannot be decoded, or None.
        foreign: Whether ROS 2 has no such topic: another encoding, or a type that is none of its.
    """

    name: str
    type: str
    count: int
    fault: str | None = None
    foreign: bool = False


def refuse_pointers(files: Sequence[Path]) -> None:
    """Refuses Git LFS pointers in place of a bag's files.

    Raises:
        BagError: Naming the first one, and how to get the file.
    """
    for file in files:
        if fault := pointer_fault(file):
            raise BagError(file, fault)


def refuse_empty(files: Sequence[Path], *, all_of_them: bool = False) -> None:
    """Refuses files of no bytes, of which nobody can rescue anything.

    Args:
        files: Of one bag.
        all_of_them: Refuse only where no file of the bag has a byte.

    Raises:
        BagError: Naming the first one, and whether the bag's other files hold something.
    """
    empty = [file for file in files if _is_empty(file)]
    if not empty or (all_of_them and len(empty) < len(files)):
        return
    cause = "is empty, 0 bytes: there is nothing in it to rescue"
    if len(empty) < len(files):
        cause += "; `roboalign recover` can rescue what is in the bag's other files"
    raise BagError(empty[0], cause)


def _is_empty(file: Path) -> bool:
    """Whether a file has no bytes, nor a journal of SQLite beside it that has them."""
    beside = [file.with_name(f"{file.name}{end}") for end in SIDE_FILES]
    return not any(path.is_file() and path.stat().st_size for path in (file, *beside))


def plain_files(
    files: Sequence[Path], metadata: BagMetadata | None
) -> tuple[list[Path], Path | None]:
    """The files as they are, or decompressed into a temporary folder, which is the second value.

    Raises:
        BagError: When one does not decompress, or the disk has no room.
    """
    by_file = metadata is not None and metadata.compression == "file"
    plain, folder = [], None
    try:
        for number, file in enumerate(files):
            if file.suffix == ZIPPED or (by_file and _is_zipped(file)):
                folder = folder or Path(tempfile.mkdtemp(prefix="roboalign-bag-"))
                target = folder / f"{number}-{file.stem}"
                unpack_file(file, target)
                file = target
            plain.append(file)
    except BaseException:
        remove(folder)
        raise
    return plain, folder


def remove(folder: Path | None) -> None:
    """Removes a temporary folder, if there is one."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def join_topics(
    opened: Sequence[StorageFile],
) -> tuple[dict[str, Topic], dict[str, Typestore], list[str]]:
    """Joins the topics of all files, and finds the types that decode them.

    Returns:
        Topics by name, type stores by type name, and what is wrong with the files.
    """
    stored = [(file, number, t) for file in opened for number, t in file.topics.items()]
    definitions = frozenset((t.type, t.form, t.definition) for _, _, t in stored if t.form)
    topics: dict[str, Topic] = {}
    stores: dict[str, Typestore] = {}
    faults: list[str] = []
    for file, number, t in stored:
        known = topics.get(t.name)
        store, fault = (
            (None, t.foreign) if t.foreign else store_for(t.type, definitions, t.type_hash)
        )
        if known and known.type != t.type:
            kinds = " and ".join(kind or "one that is unknown" for kind in (known.type, t.type))
            store, fault = None, f"has two types, {kinds}"
        elif known and known.fault:
            fault = known.fault
        if store is not None:
            stores[t.type] = store
        count = file.counts.get(number, 0) + (known.count if known else 0)
        foreign = bool(t.foreign) and (known is None or known.foreign)
        topics[t.name] = Topic(t.name, t.type, count, fault, foreign)
    for file in opened:
        if orphans := sum(n for number, n in file.counts.items() if number not in file.topics):
            faults.append(f"{file.source.name}: {orphans} messages belong to no topic")
    return topics, stores, faults


def disagreements(metadata: BagMetadata, topics: dict[str, Topic]) -> list[str]:
    """What the metadata promises and the storage does not hold, and the other way round."""
    faults = []
    promised: dict[str, int] = {}
    for record in metadata.topics:
        promised[record.name] = promised.get(record.name, 0) + record.count
        topic = topics.get(record.name)
        if topic is None:
            if record.count:
                faults.append(
                    f"topic {record.name}: metadata promises {record.count}, storage has none"
                )
        elif topic.type != record.type and not topic.foreign:
            faults.append(
                f"topic {record.name}: metadata says type {record.type}, storage says {topic.type}"
            )
    for topic in topics.values():
        if topic.count != promised.get(topic.name, 0):
            faults.append(
                f"topic {topic.name}: metadata promises {promised.get(topic.name, 0)} messages, "
                f"storage holds {topic.count}"
            )
    return faults


def mark_foreign(topics: dict[str, Topic], metadata: BagMetadata | None) -> list[str]:
    """Takes in what the metadata says of the topics' encodings.

    Args:
        topics: By name; those that the metadata calls none of ROS 2 are replaced.
        metadata: Of the bag.

    Returns:
        What is wrong with the bag where none of its topics is of ROS 2.
    """
    for record in metadata.topics if metadata else ():
        fault = foreign_fault(record.type, record.encoding)
        if fault and record.name in topics and not topics[record.name].foreign:
            topics[record.name] = replace(
                topics[record.name], fault=f"{fault} (by metadata.yaml)", foreign=True
            )
    if not topics or not all(topic.foreign for topic in topics.values()):
        return []
    listed = "; ".join(f"topic {t.name}: {t.fault}" for t in topics.values())
    return [f"holds no topic of ROS 2 ({listed})"]


def repeated_metadata(opened: Sequence[StorageFile]) -> tuple[str, dict[str, str]]:
    """Compression mode and custom data, from what the files repeat of their bag's metadata.

    Raises:
        BagError: When the metadata in a file cannot be read.
    """
    custom: dict[str, str] = {}
    mode = ""
    for file in opened:
        found, entries = embedded_metadata(file.information, file.source)
        custom.update(entries)
        mode = mode or (found if found == "message" else "")
    return mode, custom


def first_compression(opened: Sequence[StorageFile]) -> str:
    """Tells by the first message whether messages are compressed one by one.

    Returns:
        "message" or "".

    Raises:
        BagError: When the part of the storage that holds it is damaged.
    """
    names = {t.name for file in opened for t in file.topics.values()}
    first = next(merged([s for f in opened for s in f.segments(names, ALL_TIMES)]), None)
    return "message" if first and first.message[:4] == ZSTD_MAGIC else ""


def _is_zipped(file: Path) -> bool:
    """Whether a file is a zstd frame: of a bag compressed by file, the last one may not be."""
    try:
        with file.open("rb") as stream:
            return stream.read(4) == ZSTD_MAGIC
    except OSError as error:
        raise BagError(file, f"cannot be opened: {error}") from error

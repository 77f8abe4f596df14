"""Reads rosbag2 recordings without ROS: every promised message, or an error with the true reason.

MCAP and SQLite files are read here, record by record, because the readers at hand trust what a
file says about its sizes, hold unbounded parts of it, or yield nothing without a word where
details differ. `rosbags` knows the message types and decodes CDR.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path

from roboalign_training.bags.bag import Bag
from roboalign_training.bags.bag_checks import (
    Topic,
    disagreements,
    first_compression,
    join_topics,
    mark_foreign,
    plain_files,
    refuse_empty,
    refuse_pointers,
    remove,
    repeated_metadata,
)
from roboalign_training.bags.bagmeta import BagMetadata, load_metadata
from roboalign_training.bags.errors import BagError, NoBagError
from roboalign_training.bags.folders import only_recording, storage_of
from roboalign_training.bags.mcap_file import McapFile
from roboalign_training.bags.sqlite_file import SqliteFile
from roboalign_training.bags.storage import Message, StorageFile

__all__ = ["Bag", "Message", "Topic", "read_bag"]


def read_bag(path: str | Path, checked: Sequence[Path] = ()) -> Bag:
    """Opens a recording and checks that storage and metadata tell the same story.

    Args:
        path: A bag folder, a `.mcap` or a `.db3` file (compressed ones end in `.zstd` too), or a
            folder with the files of one recording and no `metadata.yaml`. Nothing is written
            there.
        checked: The `plain_files` of the same recording as another process has opened and checked
            it; they are not decompressed or checked anew.

    Returns:
        The bag; its messages are read when asked for.

    Raises:
        BagError: Naming file and cause: no bag, a file missing, cut off or damaged, an encoding,
            compression or type name that ROS 2 does not have, counts that disagree, no message.
    """
    path = Path(path)
    metadata = None
    if path.is_dir():
        if (path / "metadata.yaml").exists():
            metadata = load_metadata(path)
        files = metadata.files if metadata else only_recording(path)
    elif path.is_file() and storage_of(path):
        files = (path,)
    elif not path.exists():
        raise NoBagError(path, "does not exist")
    else:
        raise NoBagError(path, "is no bag: expected a folder, a .mcap or a .db3 file")
    refuse_pointers(files)
    refuse_empty(files)
    plain, folder = (list(checked), None) if checked else plain_files(files, metadata)
    try:
        bag = _opened_bag(path, files, plain, metadata, verify=not checked)
    except BaseException:
        remove(folder)
        raise
    if folder:
        weakref.finalize(bag, remove, folder)
    return bag


def _opened_bag(
    path: Path,
    files: tuple[Path, ...],
    plain: list[Path],
    metadata: BagMetadata | None,
    verify: bool,
) -> Bag:
    """Opens the files of a bag, as decompressed, and compares them with its metadata."""
    opened: list[StorageFile] = []
    for file, source in zip(plain, files, strict=True):
        storage = metadata.storage if metadata else storage_of(source)
        opened.append(McapFile(file, source) if storage == "mcap" else SqliteFile(file, source))
    topics, stores, faults = join_topics(opened)
    faults += mark_foreign(topics, metadata)
    if metadata is not None:
        faults += disagreements(metadata, topics)
    if faults:
        raise BagError(path, "; ".join(dict.fromkeys(faults)))
    if not any(file.span for file in opened):
        listed = ", ".join(sorted(topics))
        raise BagError(
            path, "holds no message" + (f" on any of its topics ({listed})" if listed else "")
        )
    if metadata is None and verify:
        for file in opened:
            file.verify()
    if metadata is not None and metadata.custom:
        compression, custom = metadata.compression, metadata.custom
    else:  # `ros2 bag reindex` drops custom data that the files repeat
        compression, custom = repeated_metadata(opened)
        if metadata is not None:
            compression = metadata.compression
        compression = compression or ("" if metadata else first_compression(opened))
    return Bag(path, files, opened, compression, topics, custom, stores)

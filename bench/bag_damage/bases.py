"""Whole bags of every kind, small enough that damage at random places finds every part of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mcap.writer import CompressionType, IndexType
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "training"))

from mcap_bags import (  # noqa: E402
    STORE,
    TOPICS,
    Row,
    make_rows,
    write_mcap,
    write_metadata,
)

COUNT = 160


@dataclass(frozen=True)
class Base:
    """One whole bag.

    Attributes:
        name: What it is.
        folder: Where it is; all its files and nothing else.
        rows: Every message in order of time.
        checked: Whether CRCs cover every message, so that no altered one may be read.
        parts: By file name: first byte, end and messages of each part that reads by itself; empty
            for files without such parts.
        data_ends: By file name: where an MCAP file's summary begins, 0 where it has none.
    """

    name: str
    folder: Path
    rows: tuple[Row, ...]
    checked: bool
    parts: dict[str, tuple[tuple[int, int, tuple[Row, ...]], ...]]
    data_ends: dict[str, int]


def _mcap(folder: Path, files: int = 1, metadata: bool = True, **options) -> tuple[dict, dict]:
    """An MCAP bag of one or several files."""
    rows, parts, ends, paths = make_rows(COUNT), {}, {}, []
    share = COUNT // files
    for number in range(files):
        path = folder / f"bag_{number}.mcap"
        written = write_mcap(path, rows[number * share : (number + 1) * share], **options)
        parts[path.name] = written.parts
        ends[path.name] = written.data_end if options.get("repeat_channels", True) else 0
        paths.append(path)
    if metadata:
        write_metadata(folder, paths, rows)
    return parts, ends


def _rosbags(folder: Path, plugin: StoragePlugin, mode=None, metadata: bool = True) -> tuple:
    """A bag written by `rosbags`."""
    folder.rmdir()
    out = Writer(folder, version=9, storage_plugin=plugin)
    if mode is not None:
        out.set_compression(mode, CompressionFormat.ZSTD)
    with out:
        topics = {t: out.add_connection(t, kind, typestore=STORE) for t, kind in TOPICS.items()}
        for topic, ns, data in make_rows(COUNT):
            out.write(topics[topic], ns, data)
    if not metadata:
        (folder / "metadata.yaml").unlink()
    return {}, {}


_MCAP, _SQLITE = StoragePlugin.MCAP, StoragePlugin.SQLITE3
_NO_SUMMARY = {
    "index_types": IndexType.NONE,
    "repeat_channels": False,
    "repeat_schemas": False,
    "use_statistics": False,
    "use_summary_offsets": False,
}
# name -> (whether CRCs cover every message, how it is made)
KINDS: dict[str, tuple[bool, Callable[[Path], tuple[dict, dict]]]] = {
    "mcap zstd": (True, _mcap),
    "mcap zstd, no metadata": (True, lambda f: _mcap(f, metadata=False)),
    "mcap lz4": (True, lambda f: _mcap(f, compression=CompressionType.LZ4)),
    "mcap plain": (True, lambda f: _mcap(f, compression=CompressionType.NONE)),
    "mcap plain, no metadata": (
        True,
        lambda f: _mcap(f, metadata=False, compression=CompressionType.NONE),
    ),
    "mcap zstd, no CRC": (False, lambda f: _mcap(f, enable_crcs=False)),
    "mcap zstd, no summary": (True, lambda f: _mcap(f, metadata=False, **_NO_SUMMARY)),
    "mcap loose": (False, lambda f: _mcap(f, use_chunking=False)),
    "mcap loose, no metadata": (False, lambda f: _mcap(f, metadata=False, use_chunking=False)),
    "mcap split in 4": (True, lambda f: _mcap(f, files=4)),
    "mcap split, no metadata": (True, lambda f: _mcap(f, files=4, metadata=False)),
    "mcap zstd by file": (False, lambda f: _rosbags(f, _MCAP, CompressionMode.FILE)),
    "sqlite": (False, lambda f: _rosbags(f, _SQLITE)),
    "sqlite, no metadata": (False, lambda f: _rosbags(f, _SQLITE, metadata=False)),
    "sqlite zstd by message": (False, lambda f: _rosbags(f, _SQLITE, CompressionMode.MESSAGE)),
    "sqlite zstd by file": (False, lambda f: _rosbags(f, _SQLITE, CompressionMode.FILE)),
}


def make_base(name: str, folder: Path) -> Base:
    """Writes the bag of a kind into an empty folder, which is made."""
    folder.mkdir(parents=True)
    checked, make = KINDS[name]
    parts, ends = make(folder)
    return Base(name, folder, tuple(make_rows(COUNT)), checked, parts, ends)

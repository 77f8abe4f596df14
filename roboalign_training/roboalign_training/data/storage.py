"""One storage file of a bag: decompressed where need be, checked, opened, read, faults named."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import zstandard
from mcap.exceptions import McapError
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from roboalign_training.data.bagmeta import type_name_fault
from roboalign_training.data.errors import BagError

Item = TypeVar("Item")


@contextlib.contextmanager
def plain_files(files: tuple[Path, ...], compression: str) -> Iterator[tuple[Path, ...]]:
    """The files as they are, or decompressed into a temporary folder while in use."""
    if compression != "file":
        yield files
        return
    with tempfile.TemporaryDirectory(prefix="roboalign-bag-") as folder:
        plain = []
        for file in files:
            target = Path(folder, file.stem)
            try:
                with file.open("rb") as source, target.open("wb") as sink:
                    zstandard.ZstdDecompressor().copy_stream(source, sink)
            except (OSError, zstandard.ZstdError) as error:
                raise BagError(file, f"zstd decompression failed: {error}") from error
            plain.append(target)
        yield tuple(plain)


def check_mcap(file: Path, source: Path) -> None:
    """Finds what is wrong with an MCAP file before `rosbags` trips over it.

    Raises:
        BagError: For a file that is unfinished or damaged, or holds what ROS 2 cannot decode.
    """
    try:
        with file.open("rb") as stream:
            summary = make_reader(stream).get_summary()
    except (McapError, OSError, ValueError) as error:
        cause = f"is no complete MCAP file ({type(error).__name__}: {error})"
        raise BagError(
            source, cause + ": was its recorder stopped? `mcap recover` can rescue what is in it"
        ) from error
    faults = []
    for channel in summary.channels.values() if summary else ():
        schema = summary.schemas.get(channel.schema_id)
        if channel.message_encoding != "cdr":
            faults.append(
                f"topic {channel.topic}: encoding {channel.message_encoding!r}, expected 'cdr'"
            )
        if schema is None:
            faults.append(f"topic {channel.topic}: no schema, so its type is unknown")
        elif schema.encoding not in ("ros2msg", "ros2idl"):
            faults.append(
                f"topic {channel.topic}: schema encoding {schema.encoding!r}, "
                "expected 'ros2msg' or 'ros2idl'"
            )
        elif fault := type_name_fault(schema.name):
            faults.append(f"topic {channel.topic}: {fault}")
    if faults:
        raise BagError(source, "; ".join(faults))


@contextlib.contextmanager
def open_storage(file: Path, source: Path | None = None) -> Iterator[Reader]:
    """Opens one storage file; failures become a BagError that names it."""
    reader = Reader(file)
    try:
        reader.open()
    except Exception as error:  # noqa: BLE001 - as in `guarded`
        raise BagError(source or file, f"cannot be opened: {error!r}") from error
    try:
        yield reader
    finally:
        reader.close()


def guarded(items: Iterator[Item], path: Path) -> Iterator[Item]:
    """Passes `items` on; whatever their parser raises becomes a BagError that names `path`.

    A damaged file can make a parser raise anything at all: nothing narrower than Exception is
    true here.
    """
    count = 0
    while True:
        try:
            item = next(items)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001
            raise BagError(path, f"is damaged after {count} messages: {error!r}") from error
        count += 1
        yield item

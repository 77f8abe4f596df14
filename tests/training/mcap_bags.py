"""Writes small bags of known messages with the `mcap` package: any layout, any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import yaml
from mcap.data_stream import ReadDataStream
from mcap.records import Chunk, Message
from mcap.stream_reader import breakup_chunk
from mcap.writer import CompressionType, Writer
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
STRING, JOINTS = "std_msgs/msg/String", "sensor_msgs/msg/JointState"
TOPICS = {"/text": STRING, "/joints": JOINTS}
START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 10_000_000

Row = tuple[str, int, bytes]
"""Topic, log time in ns, CDR bytes."""


@dataclass(frozen=True)
class Written:
    """A file that was written: its path, and the place of every chunk or loose message in it.

    Attributes:
        path: The file.
        parts: (first byte, end, rows) of each chunk; of each message where there are no chunks.
        data_end: Where the summary begins.
    """

    path: Path
    parts: tuple[tuple[int, int, tuple[Row, ...]], ...]
    data_end: int


def make_rows(count: int, seed: int = 0, start: int = 0, padding: int = 60) -> list[Row]:
    """`count` messages, texts and joint states in turns, 10 ms apart from number `start` on."""
    rng = np.random.default_rng([seed, start])
    kinds, rows = STORE.types, []
    for number in range(start, start + count):
        ns = START_NS + number * PERIOD_NS
        if number % 2:
            time = kinds["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)
            header = kinds["std_msgs/msg/Header"](time, "base")
            position = rng.normal(size=6)
            message = kinds[JOINTS](header, list("abcdef"), position, position * 2, position * 3)
        else:
            text = rng.integers(33, 127, padding, dtype=np.uint8).tobytes().decode()
            message = kinds[STRING](f"text {number} {text}")
        topic = "/joints" if number % 2 else "/text"
        data = bytes(STORE.serialize_cdr(message, message.__msgtype__))
        rows.append((topic, ns, data))
    return rows


def write_mcap(
    path: Path,
    rows: Sequence[Row],
    *,
    chunk_size: int = 4000,
    compression: CompressionType = CompressionType.ZSTD,
    **options: object,
) -> Written:
    """Writes one file with the rows in the order given; `options` are those of `mcap`'s writer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=chunk_size, compression=compression, **options)
        writer.start(profile="ros2", library="test")
        channels = {}
        for topic, kind in TOPICS.items():
            text = STORE.generate_msgdef(kind, ros_version=2)[0]
            schema = writer.register_schema(kind, "ros2msg", text.encode())
            channels[topic] = writer.register_channel(topic, "cdr", schema, {})
        for topic, ns, data in rows:
            writer.add_message(channels[topic], ns, data, ns)
        writer.finish()
    return _places(path, rows)


def write_metadata(folder: Path, files: Sequence[Path], rows: Sequence[Row], **changes) -> Path:
    """Writes the metadata.yaml of a folder; `changes` replace entries of it."""
    times = [ns for _, ns, _ in rows]
    counts = {topic: sum(t == topic for t, _, _ in rows) for topic in TOPICS}
    information = {
        "version": 9,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": max(times) - min(times)},
        "starting_time": {"nanoseconds_since_epoch": min(times)},
        "message_count": len(rows),
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": topic,
                    "type": kind,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [],
                    "type_description_hash": "",
                },
                "message_count": counts[topic],
            }
            for topic, kind in TOPICS.items()
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file.name for file in files],
        "files": [],
        "custom_data": {"roboalign.operator": "somebody"},
        "ros_distro": "jazzy",
        **changes,
    }
    (folder / "metadata.yaml").write_text(
        yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False)
    )
    return folder


def write_bag(folder: Path, rows: Sequence[Row], **options: object) -> Written:
    """Writes a folder with one file and its metadata."""
    written = write_mcap(folder / f"{folder.name}_0.mcap", rows, **options)
    write_metadata(folder, [written.path], rows)
    return written


def _places(path: Path, rows: Sequence[Row]) -> Written:
    """Where chunks (or loose messages) stand; rows go into them in the order written."""
    data, at, found, left = path.read_bytes(), 8, [], list(rows)
    while data[at] != 15:
        end = at + 9 + int.from_bytes(data[at + 1 : at + 9], "little")
        count = int(data[at] == 5)
        if data[at] == 6:
            chunk = Chunk.read(ReadDataStream(BytesIO(data[at + 9 : end])))
            count = sum(isinstance(record, Message) for record in breakup_chunk(chunk))
        if data[at] in (5, 6):
            found.append((at, end, tuple(left[:count])))
            del left[:count]
        at = end
    assert not left, "every message has its place"
    return Written(path, tuple(found), at)

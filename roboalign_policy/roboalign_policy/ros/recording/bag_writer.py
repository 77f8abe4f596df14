"""Writes one episode as a rosbag2 folder with MCAP storage, visible only when complete.

The folder is made as ``.<name>.partial`` and renamed after everything in it is on disk, so that a
recorder killed at any moment leaves finished episodes and nothing that looks like one. Messages
come serialised and are stored as they are. What was handed over is with the operating system after
``FLUSH_S``: a killed process loses no more, a power cut no more than the last `sync_s` seconds.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from mcap.well_known import SchemaEncoding

from roboalign_policy.core.keys import MCAP_BEGUN
from roboalign_policy.core.recording.compression import ZSTD
from roboalign_policy.ros.recording.mcap_writer import McapWriter

METADATA_VERSION = 9  # rosbag2 of ROS 2 Jazzy
INFORMATION = "rosbag2_bagfile_information"
"""The one key of metadata.yaml."""
CHUNK_BYTES = 1 << 20
FLUSH_S = 0.5
PARTIAL = ".partial"


# libyaml where PyYAML has it: an episode ends 30 ms sooner.
class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """Writes no anchors for what stands there twice: rosbag2 need not understand them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


@dataclass(frozen=True)
class BagTopic:
    """What a bag has to know about a topic.

    Attributes:
        name: resolved name, e.g. ``/camera/front/image_raw``.
        type: e.g. ``sensor_msgs/msg/Image``.
        definition: ``ros2msg`` text of the type and all it depends on.
        type_hash: ``RIHS01_...``.
        qos: profiles offered on it, as ``roboalign_policy.ros.qos.qos_to_dict`` renders them.
        compression: of its chunks, one of ``core.recording.compression.COMPRESSIONS``.
    """

    name: str
    type: str
    definition: str
    type_hash: str
    qos: tuple[dict[str, Any], ...]
    compression: str = ZSTD


@dataclass(frozen=True)
class BagSummary:
    """What a finished bag holds.

    Attributes:
        path: its folder.
        counts: messages by topic name.
        start_ns: log time of the first message; 0 in an empty bag.
        end_ns: log time of the last message; 0 in an empty bag.
        verdict: what the bag says of itself, where that was only known when it was finished.
    """

    path: Path
    counts: dict[str, int]
    start_ns: int
    end_ns: int
    verdict: str = ""


def partial_folder(root: Path, name: str) -> Path:
    """Folder in which an unfinished bag grows."""
    return root / f".{name}{PARTIAL}"


def leftover_partials(root: Path) -> list[Path]:
    """Unfinished bags in a folder: of a running recorder, or of one that was killed."""
    return sorted(root.glob(f".*{PARTIAL}")) if root.is_dir() else []


class BagWriter:
    """One bag that is being written."""

    def __init__(
        self,
        root: Path,
        name: str,
        topics: Sequence[BagTopic],
        sync_s: float = 0.0,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Create the unfinished bag.

        Args:
            root: folder of the episodes; made where it is missing.
            name: name of the bag.
            topics: all topics it may hold; messages refer to them by index.
            sync_s: s; how often everything is brought to the disk; 0: at the end alone.
            known: custom data known by now, for whoever recovers the bag if it is never finished.

        Raises:
            FileExistsError: a finished or an unfinished bag of that name is there.
            OSError: the folder cannot be written.
        """
        self.path = root / name
        self._partial = partial_folder(root, name)
        if self.path.exists():
            raise FileExistsError(f"{self.path}: exists already, expected a new episode id")
        root.mkdir(parents=True, exist_ok=True)
        self._partial.mkdir()
        self._topics = tuple(topics)
        self._counts = [0] * len(self._topics)
        self._start_ns, self._end_ns = 2**63 - 1, 0
        self._storage = f"{name}_0.mcap"
        self._stream = (self._partial / self._storage).open("wb")
        self._mcap = McapWriter(self._stream, CHUNK_BYTES)
        if known:
            self._mcap.add_metadata(MCAP_BEGUN, dict(known))
        self._sync_s = sync_s
        self._flushed_s = self._synced_s = time.monotonic()
        schemas: dict[str, int] = {}
        self._channels = []
        for topic in self._topics:
            if topic.type not in schemas:
                schemas[topic.type] = self._mcap.add_schema(
                    topic.type, SchemaEncoding.ROS2, topic.definition.encode()
                )
            metadata = {
                "offered_qos_profiles": dump_yaml(topic.qos).strip(),
                "topic_type_hash": topic.type_hash,
            }
            schema = schemas[topic.type]
            self._channels.append(
                self._mcap.add_channel(topic.name, schema, metadata, topic.compression)
            )

    def write(self, index: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Store one serialised message of topic ``index``.

        Raises:
            OSError: the disk is full or gone.
        """
        sequence = self._counts[index]
        self._mcap.add_message(self._channels[index], log_ns, publish_ns, data, sequence)
        self._counts[index] += 1
        self._start_ns, self._end_ns = min(self._start_ns, log_ns), max(self._end_ns, log_ns)
        self.tick()

    def tick(self) -> None:
        """Flush and sync where it is time to; call it when nothing is written, too.

        Raises:
            OSError: the disk is full or gone.
        """
        now_s = time.monotonic()
        if now_s - self._flushed_s < FLUSH_S:
            return
        self._flushed_s = now_s
        self._mcap.flush()
        if self._sync_s and now_s - self._synced_s >= self._sync_s:
            self._synced_s = now_s
            os.fdatasync(self._stream.fileno())

    def finish(self, custom: Mapping[str, str]) -> BagSummary:
        """Complete the bag and give it its name.

        Args:
            custom: custom data for its metadata.

        Raises:
            OSError: it could not be brought to disk; the unfinished folder stays.
        """
        total = sum(self._counts)
        start, end = (self._start_ns, self._end_ns) if total else (0, 0)
        information = self._information(custom, start, end)
        # rosbag2 reads it without the key under which it stands in metadata.yaml.
        self._mcap.add_metadata("rosbag2", {"serialized_metadata": dump_yaml(information)})
        self._mcap.finish()
        sync_stream(self._stream)
        self._stream.close()
        with (self._partial / "metadata.yaml").open("w", encoding="utf-8") as stream:
            stream.write(dump_yaml({INFORMATION: information}))
            sync_stream(stream)
        sync_folder(self._partial)
        self._partial.rename(self.path)
        sync_folder(self.path.parent)
        counts = {
            topic.name: count for topic, count in zip(self._topics, self._counts, strict=True)
        }
        return BagSummary(self.path, counts, start, end)

    def discard(self) -> None:
        """Remove the unfinished bag."""
        self._stream.close()
        shutil.rmtree(self._partial)

    def _information(
        self, custom: Mapping[str, str], start_ns: int, end_ns: int
    ) -> dict[str, Any]:
        """What metadata.yaml says, and the MCAP file repeats.

        Source: rosbag2_storage/yaml.hpp of ROS 2 Jazzy.
        """
        begin = {"starting_time": {"nanoseconds_since_epoch": start_ns}}
        duration = {"duration": {"nanoseconds": end_ns - start_ns}}
        count = {"message_count": sum(self._counts)}
        topics = [
            {
                "topic_metadata": {
                    "name": topic.name,
                    "type": topic.type,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": list(topic.qos),
                    "type_description_hash": topic.type_hash,
                },
                "message_count": count,
            }
            for topic, count in zip(self._topics, self._counts, strict=True)
        ]
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            **duration,
            **begin,
            **count,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._storage],
            "files": [{"path": self._storage, **begin, **duration, **count}],
            "custom_data": dict(custom),
            "ros_distro": os.environ.get("ROS_DISTRO", "unknown"),
        }


def dump_yaml(value: Any) -> str:
    """YAML text without anchors, which rosbag2 need not understand."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def sync_stream(stream: Any) -> None:
    """Bring a file's content to disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

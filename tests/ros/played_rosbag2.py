"""Plays `ros2 bag record` of Jazzy: its command line, its words, its bag byte for byte in form.

The file is laid out as its MCAP plugin does it by profile; metadata stands in it twice, without
custom data and without the key of metadata.yaml.

Also in what it does not do: nothing sent before publishers know of it is in the bag, and nothing
that it has not taken when it is told to stop. PLAYED_MODE: ``fails`` before it subscribes,
``loses`` the joint states, ``dies`` at the first message, ``killed`` in mid-episode.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import rclpy
import yaml
from mcap.writer import CompressionType, Writer
from rclpy.node import Node

from roboalign_policy.ros.definitions import message_class, message_definition, type_hash
from roboalign_policy.ros.recording.raw_streams import recording_qos

KILLED_AT = 20  # messages


class PlayedRecorder(Node):
    """Subscribes to the topics as they get publishers, and remembers what comes."""

    def __init__(self, topics: list[str], mode: str):
        """Look for publishers at once and then ten times a second."""
        super().__init__("rosbag2_recorder")
        self.kinds: dict[str, str] = {}
        self.channels: dict[str, int] = {}
        self.taken: list[tuple[str, int]] = []
        self._topics, self._mode = topics, mode
        self.create_timer(0.1, self.discover)

    def discover(self) -> None:
        """Subscribe to what is new."""
        for name in self._topics:
            infos = self.get_publishers_info_by_topic(name)
            if infos and name not in self.kinds:
                self.kinds[name] = kind = infos[0].topic_type
                schema = self.writer.register_schema(
                    kind, "ros2msg", message_definition(kind).encode()
                )
                metadata = {"offered_qos_profiles": "[]", "topic_type_hash": type_hash(kind)}
                self.channels[name] = self.writer.register_channel(name, "cdr", schema, metadata)
                qos = recording_qos([info.qos_profile for info in infos], 100)
                take = functools.partial(self.take, name)
                self.create_subscription(message_class(kind), name, take, qos, raw=True)
                print(f"[INFO] [rosbag2_recorder]: Subscribed to topic '{name}'", flush=True)

    def take(self, name: str, data: bytes) -> None:
        """Remember a message."""
        if self._mode == "dies":
            print("[ERROR] the disk is gone", flush=True)
            os._exit(1)
        if self._mode != "loses" or not name.endswith("joint_states"):
            stamp_ns = time.time_ns()
            self.writer.add_message(self.channels[name], stamp_ns, data, stamp_ns)
            self.taken.append((name, stamp_ns))
        if self._mode == "killed" and len(self.taken) == KILLED_AT:
            self.stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def open(self, path: Path, profile: str) -> None:
        """Make the folder and begin the file."""
        path.mkdir()
        self.path, self.file = path, f"{path.name}_0.mcap"
        zstd = profile.startswith("zstd")
        self.stream = (path / self.file).open("wb")
        self.writer = Writer(
            self.stream,
            chunk_size=20_000,
            compression=CompressionType.ZSTD if zstd else CompressionType.NONE,
            use_chunking=profile != "fastwrite",
            enable_crcs=profile == "zstd_small",
        )
        self.writer.start(profile="ros2", library="libmcap 1.1.0")
        self.repeat_metadata()

    def repeat_metadata(self) -> dict:
        """Write the metadata as it is now into the file."""
        counts = Counter(name for name, _ in self.taken)
        stamps = [stamp_ns for _, stamp_ns in self.taken] or [2**63 - 1]
        span = {
            "duration": {"nanoseconds": max(stamps) - min(stamps)},
            "starting_time": {"nanoseconds_since_epoch": min(stamps)},
            "message_count": len(self.taken),
        }
        topics = [
            {
                "topic_metadata": {
                    "name": name,
                    "type": kind,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": [],
                    "type_description_hash": type_hash(kind),
                },
                "message_count": counts[name],
            }
            for name, kind in self.kinds.items()
        ]
        information = {
            "version": 9,
            "storage_identifier": "mcap",
            **span,
            "topics_with_message_count": topics,
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.file],
            "files": [{"path": self.file, **span}],
            "custom_data": None,
            "ros_distro": "jazzy",
        }
        text = yaml.safe_dump(information, sort_keys=False)
        self.writer.add_metadata("rosbag2", {"serialized_metadata": text})
        return information

    def write(self) -> None:
        """Finish the bag."""
        information = self.repeat_metadata()
        self.writer.finish()
        self.stream.close()
        document = {"rosbag2_bagfile_information": information}
        (self.path / "metadata.yaml").write_text(yaml.safe_dump(document, sort_keys=False))


def main() -> None:
    """Record until SIGINT."""
    words = sys.argv[1:]
    assert words[:4] == ["bag", "record", "--storage", "mcap"], words
    out = Path(words[words.index("--output") + 1])
    mode = os.environ.get("PLAYED_MODE", "")
    if mode == "fails":
        print("[ERROR] no disk", flush=True)
        sys.exit(1)
    rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
    ended: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: ended.append(number))
    node = PlayedRecorder(words[words.index("--topics") + 1 :], mode)
    node.open(out, words[words.index("--storage-preset-profile") + 1])
    while not ended:
        rclpy.spin_once(node, timeout_sec=0.05)
    node.write()


if __name__ == "__main__":
    main()

"""Plays `ros2 bag record` of Jazzy: its command line, its words, its bag.

Also in what it does not do: nothing sent before publishers know of it is in the bag, and nothing
that it has not taken when it is told to stop. PLAYED_MODE: ``fails`` before it subscribes,
``loses`` the joint states, ``dies`` at the first message.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from pathlib import Path

import rclpy
from rclpy.node import Node

from roboalign_policy.ros.bag_writer import BagTopic, BagWriter
from roboalign_policy.ros.definitions import message_class, message_definition, type_hash
from roboalign_policy.ros.publisher_qos import recording_qos


class PlayedRecorder(Node):
    """Subscribes to the topics as they get publishers, and remembers what comes."""

    def __init__(self, topics: list[str], mode: str):
        """Look for publishers at once and then ten times a second."""
        super().__init__("rosbag2_recorder")
        self.kinds: dict[str, str] = {}
        self.messages: list[tuple[str, int, bytes]] = []
        self._topics, self._mode = topics, mode
        self.create_timer(0.1, self.discover)

    def discover(self) -> None:
        """Subscribe to what is new."""
        for name in self._topics:
            infos = self.get_publishers_info_by_topic(name)
            if infos and name not in self.kinds:
                self.kinds[name] = kind = infos[0].topic_type
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
            self.messages.append((name, time.time_ns(), data))

    def write(self, path: Path) -> None:
        """Make the bag."""
        names = list(self.kinds)
        topics = [
            BagTopic(name, kind, message_definition(kind), type_hash(kind), ())
            for name, kind in self.kinds.items()
        ]
        bag = BagWriter(path.parent, path.name, topics)
        for name, stamp_ns, data in self.messages:
            bag.write(names.index(name), stamp_ns, stamp_ns, data)
        bag.finish({})


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
    while not ended:
        rclpy.spin_once(node, timeout_sec=0.05)
    node.write(out)


if __name__ == "__main__":
    main()

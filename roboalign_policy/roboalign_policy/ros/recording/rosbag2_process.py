"""`ros2 bag record` in place of the suite's own writer, with the same bookkeeping of episodes.

One process an episode, started and ended here; the recorder's own subscriptions then only count.
The bag grows in a hidden folder and gets its name when everything is on disk, as with
`bag_writer`. What it holds is compared with what was counted.

Facts: rosbag2_transport/recorder.cpp and rosbag2_py of Jazzy. It says that it has subscribed when
the subscription is made, which is before any publisher knows of it; told to stop, it drops what
it has not taken yet.
"""

from __future__ import annotations

import functools
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml
from rclpy.node import Node

from roboalign_policy.core.recording.begun import remove_begun, write_begun
from roboalign_policy.core.recording.compression import ZSTD
from roboalign_policy.core.recording.episodes import BAG_VERDICT
from roboalign_policy.core.recording.stream_stats import BY_TIMES, FIT, LOST_SHARE
from roboalign_policy.ros.recording.bag_writer import (
    INFORMATION,
    BagSummary,
    BagTopic,
    dump_yaml,
    partial_folder,
    sync_folder,
    sync_stream,
)
from roboalign_policy.ros.recording.writer_thread import Result

START_S, END_S = 20.0, 30.0
SETTLE_S = 0.5  # what was sent before the end has arrived and is taken by then
_SUBSCRIBED = "Subscribed to topic '"
_NODE_NAME = "rosbag2_recorder"


class Rosbag2Process:
    """Stands where `WriterThread` does; nothing waits in it, so its queue is always empty."""

    waiting_bytes = peak_bytes = limit_bytes = 0

    def __init__(self, node: Node) -> None:
        """Find the command.

        Args:
            node: sees in the graph what the process subscribes to.

        Raises:
            FileNotFoundError: `ros2 bag` is not installed.
        """
        self._command = shutil.which("ros2")
        if self._command is None:
            raise FileNotFoundError(
                "storage: found rosbag2, but there is no ros2 command: "
                "sudo apt install ros-$ROS_DISTRO-rosbag2 ros-$ROS_DISTRO-rosbag2-storage-mcap, "
                "or storage:=mcap"
            )
        self._node = node
        self._process: subprocess.Popen[str] | None = None
        self._closing: list[threading.Thread] = []

    @property
    def fault(self) -> OSError | None:
        """What has gone wrong with the open bag: its process is gone."""
        if self._process is None or self._process.poll() is None:
            return None
        return OSError(f"ros2 bag record ended by itself; it said: {self._last_words()}")

    def begin(
        self,
        root: Path,
        name: str,
        topics: Sequence[BagTopic],
        sync_s: float = 0.0,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Start recording; returns when every topic that has a publisher is subscribed to.

        What arrived before that may not be in the bag.

        Args:
            root: folder of the episodes.
            name: of the bag.
            topics: names; the last one is the marker's.
            sync_s: not used: `ros2 bag record` brings a bag to disk as it likes.
            known: custom data known by now, for whoever recovers the bag if it is never finished.

        Raises:
            FileExistsError: a bag of that name is there.
            OSError: the process does not start recording.
        """
        path, partial = root / name, partial_folder(root, name)
        if path.exists():
            raise FileExistsError(f"{path}: exists already, expected a new episode id")
        partial.mkdir(parents=True)
        names = [topic.name for topic in topics]
        write_begun(partial, known or {})
        # Not "fastwrite": that has neither chunks nor an index, and readers refuse it.
        profile = "zstd_fast" if all(topic.compression == ZSTD for topic in topics) else "none"
        arguments = ["--storage", "mcap", "--storage-preset-profile", profile]
        arguments += ["--output", str(partial / name)]
        self._path, self._partial, self._names = path, partial, names
        self._counts = dict.fromkeys(range(len(names)), 0)
        self._latched = {
            index
            for index, topic in enumerate(topics)
            if any(profile["durability"] == "transient_local" for profile in topic.qos)
        }
        self._last: dict[int, bytes] = {}
        self._said: list[str] = []
        awaited = {topic.name: self._listeners(topic.name) for topic in topics if topic.qos}
        self._process = subprocess.Popen(
            [self._command, "bag", "record", *arguments, "--topics", *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        threading.Thread(
            target=self._listen, args=(self._process, self._said), daemon=True
        ).start()
        self._wait_for_start(awaited)

    def put(self, index: int, log_ns: int, publish_ns: int, data: bytes) -> bool:
        """Count a message that the process records by itself; True: nothing is lost here."""
        self.skip(index, data)
        return True

    def skip(self, index: int, data: bytes) -> None:
        """Count a message of a pause: the process knows none and records it.

        A latched one that is delivered again, as after a pause, was sent to the process once.
        """
        if index in self._latched:
            if self._last.get(index) == data:
                return
            self._last[index] = data
        self._counts[index] += 1

    def end(self, custom: Mapping[str, str] | None, done: Callable[[Result], None]) -> None:
        """End the process; ``done`` is called from a thread with what became of the bag.

        Args:
            custom: custom data for the metadata; None discards the bag.
            done: called once.
        """
        fault = self.fault
        process, self._process = self._process, None
        finish = functools.partial(
            _finished, process, fault, self._path, self._partial, self._expected(), custom
        )

        def run() -> None:
            try:
                done(finish())
            except OSError as error:
                done(error)

        thread = threading.Thread(target=run, name="rosbag2")
        thread.start()
        self._closing = [t for t in self._closing if t.is_alive()] + [thread]

    def close(self) -> None:
        """Wait for bags that are being finished."""
        for thread in self._closing:
            thread.join()

    def _listeners(self, topic: str) -> set[bytes]:
        """Subscriptions of `ros2 bag record` that this process and its middleware know of."""
        return {
            bytes(info.endpoint_gid)
            for info in self._node.get_subscriptions_info_by_topic(topic)
            if info.node_name == _NODE_NAME
        }

    def _wait_for_start(self, before: Mapping[str, set[bytes]]) -> None:
        """Until there is a subscription more on each topic, and it is known beyond its process.

        Args:
            before: the topics that have publishers, and who of rosbag2 listened already.
        """
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            text = "".join(self._said)
            if all(
                f"{_SUBSCRIBED}{name}'" in text and self._listeners(name) - listeners
                for name, listeners in before.items()
            ):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._partial)
        raise OSError(
            f"ros2 bag record did not subscribe within {START_S:g} s; it said: "
            f"{self._last_words()}"
        )

    def _last_words(self) -> str:
        return "".join(self._said[-5:]).strip() or "nothing"

    @staticmethod
    def _listen(process: subprocess.Popen[str], said: list[str]) -> None:
        for line in process.stdout:
            said.append(line)

    def _expected(self) -> dict[str, int]:
        """Messages that the bag should hold, by topic."""
        return {name: self._counts[index] for index, name in enumerate(self._names)}


def _finished(
    process: subprocess.Popen[str],
    fault: OSError | None,
    path: Path,
    partial: Path,
    expected: Mapping[str, int],
    custom: Mapping[str, str] | None,
) -> BagSummary | None:
    """End a process; what became of its bag, None where it is thrown away.

    Raises:
        OSError: it had a fault, does not end, or the bag cannot be brought to disk.
    """
    try:
        if custom is not None and fault is None:
            _settle()
        process.send_signal(signal.SIGINT)
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise OSError(f"ros2 bag record did not end within {END_S:g} s") from None
    if custom is None:
        shutil.rmtree(partial)
        return None
    if fault is not None:
        raise fault
    return _named(path, partial, expected, custom)


def _settle() -> None:
    """Wait for SETTLE_S; a machine that stands still meanwhile makes it longer."""
    for _ in range(50):
        time.sleep(SETTLE_S / 50)


def _named(
    path: Path, partial: Path, expected: Mapping[str, int], custom: Mapping[str, str]
) -> BagSummary:
    """Complete the metadata of a bag and give it its name."""
    folder = partial / path.name
    file = folder / "metadata.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    information = document[INFORMATION]
    counts = {
        entry["topic_metadata"]["name"]: entry["message_count"]
        for entry in information["topics_with_message_count"]
    }
    custom = dict(custom)
    missing = [
        f"{name}: the bag holds {counts.get(name, 0)} of {count} messages"
        for name, count in expected.items()
        if counts.get(name, 0) < (1 - LOST_SHARE) * count
    ]
    if missing:
        judged = custom[BAG_VERDICT]
        complete = judged == FIT or judged.startswith(BY_TIMES)  # until now
        before = "unfit:" if complete else f"{judged};"
        custom[BAG_VERDICT] = f"{before} {'; '.join(missing)}"
    information["custom_data"] = {**(information.get("custom_data") or {}), **custom}
    with file.open("w", encoding="utf-8") as stream:
        stream.write(dump_yaml(document))
        sync_stream(stream)
    sync_folder(folder)
    folder.rename(path)
    remove_begun(partial)
    partial.rmdir()
    sync_folder(path.parent)
    start_ns = information["starting_time"]["nanoseconds_since_epoch"]
    end_ns = start_ns + information["duration"]["nanoseconds"]
    return BagSummary(path, counts, start_ns, end_ns, custom[BAG_VERDICT])

"""`ros2 bag record` in place of the suite's own writer, with the same bookkeeping of episodes.

One process an episode, started and ended here; the recorder's own subscriptions then only count.
The bag grows in a hidden folder and gets its name when everything is on disk, as with
`bag_writer`. What it holds is compared with what was counted.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from roboalign_policy.core.compression import ZSTD
from roboalign_policy.core.recording import BAG_VERDICT
from roboalign_policy.core.stream_stats import FIT, LOST_SHARE
from roboalign_policy.ros.bag_writer import (
    BagSummary,
    BagTopic,
    dump_yaml,
    partial_folder,
    sync_folder,
    sync_stream,
)
from roboalign_policy.ros.writer_thread import Result

START_S, END_S = 20.0, 30.0
_SUBSCRIBED = "Subscribed to topic '"


class Rosbag2Process:
    """Stands where `WriterThread` does; nothing waits in it, so its queue is always empty."""

    waiting_bytes = peak_bytes = limit_bytes = 0

    def __init__(self) -> None:
        """Find the command.

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
        self._process: subprocess.Popen[str] | None = None
        self._closing: list[threading.Thread] = []

    def begin(
        self,
        root: Path,
        name: str,
        topics: Sequence[BagTopic],
        sync_s: float = 0.0,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Start recording; returns when every topic that has a publisher is subscribed to.

        Args:
            root: folder of the episodes.
            name: of the bag.
            topics: names; the last one is the marker's.
            sync_s: not used: `ros2 bag record` brings a bag to disk as it likes.
            known: not used: it writes custom data only at the end.

        Raises:
            FileExistsError: a bag of that name is there.
            OSError: the process does not start recording.
        """
        path, partial = root / name, partial_folder(root, name)
        if path.exists():
            raise FileExistsError(f"{path}: exists already, expected a new episode id")
        partial.mkdir(parents=True)
        names = [topic.name for topic in topics]
        zstd = all(topic.compression == ZSTD for topic in topics)
        arguments = ["--storage", "mcap", "--storage-preset-profile"]
        arguments += ["zstd_fast" if zstd else "fastwrite", "--output", str(partial / name)]
        self._path, self._partial, self._names = path, partial, names
        self._counts = dict.fromkeys(range(len(names)), 0)
        self._said: list[str] = []
        self._awaited = {topic.name for topic in topics if topic.qos}
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
        self._wait_for_start()

    def put(self, index: int, log_ns: int, publish_ns: int, data: bytes) -> bool:
        """Count a message that the process records by itself."""
        self._counts[index] += 1
        return True

    def end(self, custom: Mapping[str, str] | None, done: Callable[[Result], None]) -> None:
        """End the process; ``done`` is called from a thread with what became of the bag.

        Args:
            custom: custom data for the metadata; None discards the bag.
            done: called once.
        """
        process, self._process = self._process, None
        process.send_signal(signal.SIGINT)
        job = (process, self._path, self._partial, self._names, self._counts, custom, done)
        thread = threading.Thread(target=self._finish, args=job, name="rosbag2")
        thread.start()
        self._closing = [t for t in self._closing if t.is_alive()] + [thread]

    def close(self) -> None:
        """Wait for bags that are being finished."""
        for thread in self._closing:
            thread.join()

    def _wait_for_start(self) -> None:
        until_s = time.monotonic() + START_S
        while time.monotonic() < until_s:
            text = "".join(self._said)
            if all(f"{_SUBSCRIBED}{name}'" in text for name in self._awaited):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._partial)
        said = "".join(self._said[-5:]).strip() or "nothing"
        raise OSError(f"ros2 bag record did not subscribe within {START_S:g} s; it said: {said}")

    @staticmethod
    def _listen(process: subprocess.Popen[str], said: list[str]) -> None:
        for line in process.stdout:
            said.append(line)

    @staticmethod
    def _finish(
        process: subprocess.Popen[str],
        path: Path,
        partial: Path,
        names: Sequence[str],
        counts: Mapping[int, int],
        custom: Mapping[str, str] | None,
        done: Callable[[Result], None],
    ) -> None:
        try:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise OSError(f"ros2 bag record did not end within {END_S:g} s") from None
            if custom is None:
                shutil.rmtree(partial)
                done(None)
                return
            expected = {name: counts[index] for index, name in enumerate(names)}
            done(_named(path, partial, expected, custom))
        except OSError as error:
            done(error)


def _named(
    path: Path, partial: Path, expected: Mapping[str, int], custom: Mapping[str, str]
) -> BagSummary:
    """Complete the metadata of a bag and give it its name."""
    folder = partial / path.name
    file = folder / "metadata.yaml"
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    information = document["rosbag2_bagfile_information"]
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
        before = "unfit:" if custom[BAG_VERDICT] == FIT else f"{custom[BAG_VERDICT]};"
        custom[BAG_VERDICT] = f"{before} {'; '.join(missing)}"
    information["custom_data"] = {**(information.get("custom_data") or {}), **custom}
    with file.open("w", encoding="utf-8") as stream:
        stream.write(dump_yaml(document))
        sync_stream(stream)
    sync_folder(folder)
    folder.rename(path)
    partial.rmdir()
    sync_folder(path.parent)
    start_ns = information["starting_time"]["nanoseconds_since_epoch"]
    end_ns = start_ns + information["duration"]["nanoseconds"]
    return BagSummary(path, counts, start_ns, end_ns, custom[BAG_VERDICT])

"""What brings an episode to the disk: the suite's own writer, or `ros2 bag record`."""

from __future__ import annotations

from rclpy.node import Node

from roboalign_policy.core.recording.parameters import RecorderParameters
from roboalign_policy.ros.recording.rosbag2_process import Rosbag2Process
from roboalign_policy.ros.recording.writer_thread import WriterThread

MB = 1_000_000
EpisodeWriter = WriterThread | Rosbag2Process


def make_writer(settings: RecorderParameters, node: Node) -> EpisodeWriter:
    """What brings messages to the disk.

    Args:
        settings: what the node was told.
        node: the recorder's.

    Raises:
        ValueError: `ros2 bag record` is asked for what it cannot do.
        FileNotFoundError: it is not installed.
    """
    if settings.storage == "mcap":
        return WriterThread(settings.queue_mb * MB)
    if settings.log_time != "receive" or settings.ring_s:
        raise ValueError(
            f"storage: found rosbag2 with log_time {settings.log_time} and ring_s "
            f"{settings.ring_s:g}, expected log_time receive and ring_s 0: it files messages "
            "under their arrival, and what came before it was started it never saw"
        )
    return Rosbag2Process(node)

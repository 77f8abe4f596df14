"""Parameters of recorder_node: name, default, unit, range and description of each, once."""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core.parameters.declared import param
from roboalign_policy.core.recording.episodes import LogClock


@dataclass(frozen=True)
class RecorderParameters:
    """What recorder_node can be told; `config/recorder.yaml` repeats the defaults."""

    contract: str = param(
        "sim_panda", "robot contract (path or packaged name) whose topics are recorded"
    )
    bag_dir: str = param("bags", "folder of the episodes; made where it is missing")
    dataset_dir: str = param("", "data set to which each episode is appended; empty: none")
    lossless: bool = param(
        False,
        "for lock step: all subscriptions reliable, unlimited history (so must be the publishers)",
    )
    log_time: str = param(
        "receive",
        "time under which a message is filed: its arrival (node's clock), or its header's stamp",
        choices=LogClock.MODES,
    )
    storage: str = param(
        "mcap",
        "mcap: the suite's own writer; rosbag2: a process of `ros2 bag record` an episode",
        choices=("mcap", "rosbag2"),
    )
    compression: str = param(
        "auto",
        "auto (raw images lz4, compressed ones none, the rest zstd), none, lz4 or zstd, then "
        "exceptions: zstd, camera/front/image_raw=none",
    )
    sync_s: float = param(
        5.0,
        "the bag is brought to the disk this often, so that a power cut loses no more; 0: at the "
        "end of an episode alone",
        unit="s",
        low=0.0,
        high=3600.0,
    )
    ring_s: float = param(
        0.0,
        "time before an episode that is held in memory for ~/keep_last; 0: none",
        unit="s",
        low=0.0,
        high=600.0,
    )
    ring_mb: int = param(512, "most that is held in memory for ~/keep_last", unit="MB", low=1)
    queue_mb: int = param(
        256, "messages that may wait for the disk; more are lost and counted", unit="MB", low=1
    )
    min_free_mb: int = param(
        500, "an episode ends when less space is left on the disk", unit="MB", low=0
    )
    health_period_s: float = param(1.0, "period of ~/health", unit="s", low=0.1, high=60.0)

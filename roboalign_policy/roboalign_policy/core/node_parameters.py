"""Parameters of sim_robot_node and recorder_node.

Name, default, unit, range and description of each, once.
"""

from __future__ import annotations

from dataclasses import dataclass

from roboalign_policy.core.parameters import param
from roboalign_policy.core.recording import LogClock


@dataclass(frozen=True)
class SimRobotParameters:
    """What sim_robot_node can be told; `config/sim_robot.yaml` repeats the defaults."""

    contract: str = param(
        "sim_panda", "robot contract (path or packaged name) whose commands are obeyed"
    )
    mode: str = param(
        "realtime",
        "realtime: steps at the contract's rate; lockstep: when every command for a stamp came",
        choices=("realtime", "lockstep"),
    )
    suite: str = param(
        "object", "suite of the first episode", choices=("object", "spatial", "goal", "long")
    )
    task: str = param("", "task of the first episode; empty: the first of the suite")
    seed: int = param(0, "seed of the first episode: scene, start pose and action noise", low=0)
    action_noise: float = param(
        0.0,
        "standard deviation of the noise between command and arm, in units of the action",
        low=0.0,
        high=1.0,
    )
    demonstrator: str = param(
        "none",
        "expert: the scripted expert commands the arm over the command topics",
        choices=("none", "expert"),
    )
    linger_steps: int = param(
        4,
        "expert: steps it goes on after success, so that release and retreat are in the recording",
        low=0,
        high=100,
    )
    command_timeout_s: float = param(
        0.5,
        "real time: a command older than this is not obeyed, the arm holds",
        unit="s",
        low=0.05,
        high=60.0,
    )
    republish_s: float = param(
        1.0,
        "lock step: an observation without answer is sent again after this time, for late nodes",
        unit="s",
        low=0.1,
        high=60.0,
    )


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

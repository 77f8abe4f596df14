"""Writes recordings of the simulated arm's topics with `rosbags`, and returns what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from roboalign_policy.core import keys
from roboalign_policy.core.contract.contract import Contract, load_contract
from roboalign_policy.core.recording.episodes import BAG_VERDICT

PERIOD_NS = 100_000_000
STORE = get_typestore(Stores.ROS2_JAZZY)
EPISODE_MSG = next(
    (p / "roboalign_msgs/msg/Episode.msg").read_text()
    for p in Path(__file__).resolve().parents
    if (p / "roboalign_msgs/msg/Episode.msg").is_file()
)
STORE.register(get_types_from_msg(EPISODE_MSG, "roboalign_msgs/msg/Episode"))
JOINTS = [f"panda_joint{i}" for i in range(1, 8)]


@dataclass(frozen=True)
class Demo:
    """What a written recording holds.

    Attributes:
        folder: The bag.
        stamps_ns: (N,) int64, stamps of the observations.
        images: (N, 128, 128, 3) uint8.
        ee: (N, 7) float64, position and quaternion.
        actions: (N, 7) float32, the command that answers each observation.
    """

    folder: Path
    stamps_ns: np.ndarray
    images: np.ndarray
    ee: np.ndarray
    actions: np.ndarray


def sim_contract() -> Contract:
    """The packaged contract of the simulated arm."""
    return load_contract("sim_panda")


def make_actions(count: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth motion with a gripper that closes half-way; no rotation, as the scripted experts'."""
    actions = np.zeros((count, 7), np.float32)
    phase = np.linspace(0, np.pi, count)[:, None]
    actions[:, :3] = 0.8 * np.sin(phase * rng.uniform(0.5, 2, 3)) * rng.choice([-1, 1], 3)
    actions[:, 6] = np.where(np.arange(count) < count // 2, -1, 1)
    return actions


def write_demo(
    folder: Path,
    *,
    episode_id: str | None = None,
    count: int = 20,
    seed: int = 0,
    outcome: str = "success",
    instruction: str = "put the red cube on the blue plate",
    custom: bool = True,
    verdict: str = "fit",
    task: tuple[str, ...] = (),
    markers: tuple[tuple[int, int, str, str, str], ...] = (),
    prefix: str = "/",
    start_ns: int = 5_000_000_000,
    without_image: tuple[int, ...] = (),
    without_command: tuple[int, ...] = (),
    actions: np.ndarray | None = None,
    stamp_jump: tuple[int, int] | None = None,
    pauses: tuple[int | tuple[int, int], ...] = (),
    plugin: StoragePlugin = StoragePlugin.MCAP,
    twist_type: str = "geometry_msgs/msg/TwistStamped",
) -> Demo:
    """Writes one bag: `count` observations in lock step, each answered by both commands.

    `folder` is the bag to make; `markers` are (first frame, last frame, id, instruction, outcome)
    of `episode` markers; `prefix` is the namespace, ending in a slash; `without_image` and
    `without_command` name the frames at which that is missing; `stamp_jump` is (frame, ns), from
    where on all stamps are shifted by so much; a pause begins after each frame in `pauses` and
    ends before the next one, or before the one that is named with it; `custom` says whether the
    recorder's custom data is there.
    """
    rng = np.random.default_rng(seed)
    t = STORE.types
    contract = sim_contract()
    actions = make_actions(count, rng) if actions is None else actions
    images = rng.integers(0, 255, (count, 16, 16, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    ee = np.zeros((count, 7))
    ee[:, :3] = np.array([0.4, 0.0, 0.3]) + np.cumsum(np.nan_to_num(actions[:, :3]), 0) * 0.05
    ee[:, 6] = 1
    stamps = start_ns + np.arange(count) * PERIOD_NS
    breaks = dict(p if isinstance(p, tuple) else (p, p + 1) for p in pauses)
    if stamp_jump:
        stamps[stamp_jump[0] :] += stamp_jump[1]

    def header(ns: int, frame: str = "base_link"):
        time = t["builtin_interfaces/msg/Time"](int(ns // 10**9), int(ns % 10**9))
        return t["std_msgs/msg/Header"](time, frame)

    writer = Writer(folder, version=9, storage_plugin=plugin)
    if custom:
        writer.set_custom_data(keys.BAG_CONTRACT, contract.to_yaml())
        writer.set_custom_data(keys.BAG_EPISODE_ID, episode_id or folder.name)
        writer.set_custom_data(keys.BAG_INSTRUCTION, instruction)
        writer.set_custom_data(keys.BAG_OUTCOME, outcome)
        writer.set_custom_data(BAG_VERDICT, verdict)
    with writer:
        topics = {}

        def put(topic: str, message, ns: int) -> None:
            kind = message.__msgtype__
            if topic not in topics:
                topics[topic] = writer.add_connection(prefix + topic, kind, typestore=STORE)
            writer.write(topics[topic], int(ns), STORE.serialize_cdr(message, kind))

        def mark(event: int, ns: int, name: str, text: str, result: str) -> None:
            time = t["builtin_interfaces/msg/Time"](int(ns // 10**9), int(ns % 10**9))
            put("episode", t["roboalign_msgs/msg/Episode"](
                time, event, name, text, result, contract.hash, "test"), ns)  # fmt: skip

        for text in task:
            put("task", t["std_msgs/msg/String"](text), stamps[0])
        for i, ns in enumerate(stamps):
            for first, _, name, text, _ in markers:
                if i == first:
                    mark(0, ns - 1, name, text, "unknown")
            if i in breaks.values():
                mark(3, ns - 1, "", "", "")
            if i not in without_image:
                front = header(ns, "camera_front")
                pixels = images[i].reshape(-1)
                image = t["sensor_msgs/msg/Image"](front, 128, 128, "rgb8", 0, 384, pixels)
                put("camera/front/image_raw", image, ns + 10)
            joints = (JOINTS, np.full(7, 0.1 * i), np.zeros(0), np.zeros(0))
            put("joint_states", t["sensor_msgs/msg/JointState"](header(ns), *joints), ns + 20)
            width = np.array([0.08 if actions[i, 6] < 0 else 0.02])
            hand = (["gripper_width"], width, np.zeros(0), np.zeros(0))
            put("gripper_state", t["sensor_msgs/msg/JointState"](header(ns), *hand), ns + 25)
            pose = t["geometry_msgs/msg/Pose"](
                t["geometry_msgs/msg/Point"](*ee[i, :3]),
                t["geometry_msgs/msg/Quaternion"](*ee[i, 3:]))  # fmt: skip
            put("ee_pose", t["geometry_msgs/msg/PoseStamped"](header(ns), pose), ns + 30)
            if i not in without_command:
                _command(put, t, header(ns), actions[i].astype(float), ns + 40, twist_type)
            if i in breaks:
                mark(2, ns + 49, "", "", "")
            for _, last, name, text, result in markers:
                if i == last:
                    mark(1, ns + 50, name, text, result)
    return Demo(folder, stamps, images, ee, actions)


def write_recordings(folder: Path) -> Path:
    """Writes five recordings: three good ones, a failure, and one with a gap in its chunks."""
    for i in range(3):
        write_demo(folder / f"ep{i}", seed=i, count=20 + i)
    write_demo(folder / "ep3", seed=3, outcome="failure")
    write_demo(folder / "ep4", seed=4, count=20, without_command=(10,))
    return folder


def _command(put, t, header, action: np.ndarray, ns: int, twist_type: str) -> None:
    """The two commands of one step: speeds of the hand, and the gripper's goal."""
    vector = t["geometry_msgs/msg/Vector3"]
    speed = action[:3] * 0.5
    turn = action[3:6] * 5.0
    twist = t["geometry_msgs/msg/Twist"](vector(*speed), vector(*turn))
    stamped = twist_type.endswith("Stamped")
    put("servo_node/delta_twist_cmds", t[twist_type](header, twist) if stamped else twist, ns)
    point = t["trajectory_msgs/msg/JointTrajectoryPoint"](
        np.array([action[6]]), np.zeros(0), np.zeros(0), np.zeros(0),
        t["builtin_interfaces/msg/Duration"](0, 0))  # fmt: skip
    put("gripper_controller/joint_trajectory", t["trajectory_msgs/msg/JointTrajectory"](
        header, ["gripper"], [point]), ns + 1)  # fmt: skip

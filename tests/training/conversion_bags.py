"""Bags for the conversion: two cameras (raw and JPEG), states, commands, and what goes wrong."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from demo_bags import STORE
from mcap.writer import CompressionType, Writer
from PIL import Image

from roboalign_policy.core.contract.contract import Contract, contract_from_dict, load_contract

SHAPE = (48, 64, 3)
START_NS = 1_700_000_000_000_000_000
RAW, JPEG = "/camera/front/image_raw", "/camera/wrist/image_raw/compressed"
STATES, TWIST = "/ee_pose", "/servo_node/delta_twist_cmds"


def two_cameras(shape: tuple[int, int, int] = SHAPE, rate_hz: float = 10.0) -> Contract:
    """The simulated arm with small images, and a second camera of JPEGs."""
    data = load_contract("sim_panda").to_dict()
    front = {**data["observations"][0], "shape": list(shape)}
    wrist = {**front, "key": "image.wrist", "topic": JPEG[1:],
             "type": "sensor_msgs/msg/CompressedImage"}  # fmt: skip
    data["observations"] = [front, wrist, *data["observations"][1:]]
    return contract_from_dict({**data, "rate_hz": rate_hz})


@dataclass(frozen=True)
class Trouble:
    """How often something goes wrong, 0 .. 1 of the messages.

    Attributes:
        lost: A message is missing.
        jitter_s: Stamps are off by up to so much.
        late: An image has the stamp of the one before it, or an older one.
        bad_heads: An image whose head shows that it cannot be read.
        bad_pixels: A JPEG that is cut off: only decoding shows it.
        nan: A pose that is not finite.
        silent: (first, last) second without any image.
    """

    lost: float = 0.0
    jitter_s: float = 0.0
    late: float = 0.0
    bad_heads: float = 0.0
    bad_pixels: float = 0.0
    nan: float = 0.0
    silent: tuple[float, float] = (0.0, 0.0)


def picture(number: int, camera: int, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """An image (H, W, 3) uint8 that no other number or camera has."""
    rng = np.random.default_rng([number, camera])
    height, width, _ = shape
    y, x = np.mgrid[0:height, 0:width]
    phase = number / 5 + camera
    soft = [127 + 60 * (np.sin(x / 9 + c + phase) + np.cos(y / 7 - c)) for c in range(3)]
    return (np.stack(soft, -1) + rng.normal(0, 2, shape)).clip(0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, **options) -> bytes:
    """An image as a camera's JPEG."""
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "JPEG", **{"quality": 85, **options})
    return sink.getvalue()


def write_bag(
    path: Path,
    seconds: float = 4.0,
    *,
    seed: int = 0,
    trouble: Trouble = Trouble(),  # noqa: B008 - it is frozen
    shape: tuple[int, int, int] = SHAPE,
    camera_hz: float = 30.0,
    state_hz: float = 100.0,
    chunk_size: int = 30_000,
    markers: tuple[tuple[float, float, str, str], ...] = (),
    encode=jpeg,
    cameras: tuple[str, ...] = (RAW, JPEG),
    more: tuple[tuple[int, str, object], ...] = (),
) -> Path:
    """Writes one MCAP file; `markers` are (start s, end s, id, outcome) of episodes in it.

    `more` are further messages: received ns, topic, message.
    """
    rng, t = np.random.default_rng(seed), STORE.types
    rows: list[tuple[int, str, object]] = list(more)

    def time(ns: int):
        return t["builtin_interfaces/msg/Time"](int(ns // 10**9), int(ns % 10**9))

    def header(ns: int):
        return t["std_msgs/msg/Header"](time(ns), "base_link")

    def due(hz: float, shift_ns: int = 0):
        for number in range(int(seconds * hz)):
            if rng.random() >= trouble.lost:
                ns = START_NS + round(number * 1e9 / hz) + shift_ns
                yield number, ns, ns + round(rng.uniform(-1, 1) * trouble.jitter_s * 1e9)

    silent = [START_NS + round(s * 1e9) for s in trouble.silent]
    for camera, topic in enumerate(cameras):
        for number, ns, stamp in due(camera_hz, 2_000_000 * camera):
            if silent[0] <= ns < silent[1]:
                continue
            if rng.random() < trouble.late:
                stamp = ns - round(1e9 / camera_hz) * int(rng.integers(1, 3))
            image, bad = picture(number, camera, shape), rng.random() < trouble.bad_heads
            if topic == RAW:
                height, width, _ = shape
                step = 3 * width - bad
                message = t["sensor_msgs/msg/Image"](
                    header(stamp), height, width, "rgb8", 0, step, image.reshape(-1)
                )
            else:
                data = encode(image)
                if bad:
                    data = b"no image" + data[8:]
                elif rng.random() < trouble.bad_pixels:
                    data = data[: -len(data) // 4]
                message = t["sensor_msgs/msg/CompressedImage"](
                    header(stamp), "jpeg", np.frombuffer(data, np.uint8)
                )
            rows.append((ns, topic, message))
    joints = [f"panda_joint{i}" for i in range(1, 8)]
    for number, ns, stamp in due(state_hz, 500_000):
        angles = np.sin(number / 50 + np.arange(7))
        rows.append((ns, "/joint_states", t["sensor_msgs/msg/JointState"](
            header(stamp), joints, angles, angles * 0, np.zeros(0))))  # fmt: skip
        hand = (["gripper_width"], np.array([0.08 - number % 50 * 1e-3]))
        rows.append((ns + 1000, "/gripper_state", t["sensor_msgs/msg/JointState"](
            header(stamp), *hand, np.zeros(0), np.zeros(0))))  # fmt: skip
        x = np.nan if rng.random() < trouble.nan else 0.4 + number * 1e-4
        pose = t["geometry_msgs/msg/Pose"](
            t["geometry_msgs/msg/Point"](x, 0.1, 0.3),
            t["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        )
        rows.append((ns + 2000, STATES, t["geometry_msgs/msg/PoseStamped"](header(stamp), pose)))
    vector = t["geometry_msgs/msg/Vector3"]
    for number, ns, stamp in due(50.0, 700_000):
        twist = t["geometry_msgs/msg/Twist"](
            vector(0.2 * np.sin(number / 20), 0.0, 0.1), vector(0.0, 0.0, 0.0)
        )
        rows.append((ns, TWIST, t["geometry_msgs/msg/TwistStamped"](header(stamp), twist)))
        point = t["trajectory_msgs/msg/JointTrajectoryPoint"](
            np.array([-1.0]), np.zeros(0), np.zeros(0), np.zeros(0),
            t["builtin_interfaces/msg/Duration"](0, 0))  # fmt: skip
        goal = t["trajectory_msgs/msg/JointTrajectory"](header(stamp), ["gripper"], [point])
        rows.append((ns + 1, "/gripper_controller/joint_trajectory", goal))
    rows.append((START_NS, "/task", t["std_msgs/msg/String"]("stack the cubes")))
    for start, end, name, outcome in markers:
        for event, second in ((0, start), (1, end)):
            ns = START_NS + round(second * 1e9)
            rows.append((ns, "/episode", t["roboalign_msgs/msg/Episode"](
                time(ns), event, name, "stack the cubes", outcome, "", "test")))  # fmt: skip
    rows.sort(key=lambda row: row[0])
    write_rows(path, rows, chunk_size)
    return path


def write_rows(path: Path, rows: list, chunk_size: int = 30_000) -> None:
    """Writes (log time, topic, message) as they come."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=chunk_size, compression=CompressionType.LZ4)
        writer.start(profile="ros2", library="test")
        channels: dict[str, int] = {}
        for ns, topic, message in rows:
            kind = message.__msgtype__
            if topic not in channels:
                text = STORE.generate_msgdef(kind, ros_version=2)[0].encode()
                schema = writer.register_schema(kind, "ros2msg", text)
                channels[topic] = writer.register_channel(topic, "cdr", schema, {})
            writer.add_message(channels[topic], ns, bytes(STORE.serialize_cdr(message, kind)), ns)
        writer.finish()

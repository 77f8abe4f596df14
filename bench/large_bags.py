"""Seeded bags for the conversion's benchmarks: cameras at 30 Hz, joint states at 500 Hz."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mcap.writer import CompressionType, Writer
from PIL import Image
from rosbags.typesys import Stores, get_typestore

from roboalign_policy.core.contract.contract import Contract, contract_from_dict, load_contract

WIDTH, HEIGHT, CAMERA_HZ, JOINTS_HZ, COMMAND_HZ, RATE_HZ = 640, 480, 30, 500, 50, 10
_PICTURES = 48  # different ones a camera
_START_NS = 1_700_000_000_000_000_000
_STORE = get_typestore(Stores.ROS2_JAZZY)
_NAMES = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")


@dataclass(frozen=True)
class Kind:
    """A kind of bag: JPEG of a quality or raw rgb8, cameras, compression of chunks."""

    name: str
    jpeg_quality: int | None
    cameras: int
    compression: CompressionType


JPEG = Kind("jpeg", 92, 3, CompressionType.NONE)
RAW = Kind("raw", None, 3, CompressionType.LZ4)


def bench_contract(kind: Kind) -> Contract:
    """The packaged SO-101 at 10 Hz, with the bag's cameras."""
    data = load_contract("so101").to_dict()
    front, *states = data["observations"]
    topic = "image_raw" if kind.jpeg_quality is None else "image_raw/compressed"
    message = "Image" if kind.jpeg_quality is None else "CompressedImage"
    cameras = [
        {
            **front,
            "key": f"image.camera{n}",
            "topic": f"camera{n}/{topic}",
            "type": f"sensor_msgs/msg/{message}",
        }
        for n in range(kind.cameras)
    ]
    data["observations"] = [*cameras, *states]
    data["action"]["horizon"] = 10
    return contract_from_dict({**data, "rate_hz": float(RATE_HZ)}, source="bench")


def write_bag(path: Path, kind: Kind, megabytes: int, seed: int = 0) -> dict:
    """Writes a bag of about that many MB of messages; returns what is in it."""
    contract, t = bench_contract(kind), _STORE.types
    pictures = [_pictures(kind, np.random.default_rng([seed, n])) for n in range(kind.cameras)]
    types = {s.topic: s.type for s in (*contract.observations, *contract.action.commands)}
    counts, size, tick = dict.fromkeys(types, 0), 0, 0
    rng = np.random.default_rng(seed)
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=1 << 20, compression=kind.compression)
        writer.start(profile="ros2", library="bench")
        channels = {}
        for topic, name in types.items():
            text = _STORE.generate_msgdef(name, ros_version=2)[0].encode()
            schema = writer.register_schema(name, "ros2msg", text)
            channels[topic] = writer.register_channel("/" + topic, "cdr", schema, {})

        def put(topic: str, ns: int, message: object) -> None:
            nonlocal size
            data = bytes(_STORE.serialize_cdr(message, message.__msgtype__))
            writer.add_message(channels[topic], ns, data, ns)
            counts[topic] += 1
            size += len(data)

        def header(ns: int):
            time = t["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9)
            return t["std_msgs/msg/Header"](time, "base_link")

        while size < megabytes << 20:
            ns = _START_NS + tick * 10**9 // JOINTS_HZ
            phase = np.sin(tick / JOINTS_HZ + np.arange(6)) * 0.1 + rng.normal(0, 1e-4, 6)
            put("joint_states", ns, t["sensor_msgs/msg/JointState"](
                header(ns), list(_NAMES), phase, phase * 0, phase * 0))  # fmt: skip
            if tick % (JOINTS_HZ // COMMAND_HZ) == 0:
                _command(put, t, header(0), ns + 1000, phase)
            if tick % (JOINTS_HZ // CAMERA_HZ) == 0:
                number = tick // (JOINTS_HZ // CAMERA_HZ)
                for n, found in enumerate(pictures):
                    topic = contract.observations[n].topic
                    data = found[number % _PICTURES]
                    put(topic, ns + 2000 + n, _image(t, header(ns), data, kind))
            tick += 1
        put_task = writer.register_channel(
            "/task", "cdr", writer.register_schema("std_msgs/msg/String", "ros2msg",
                                                   b"string data\n"), {})  # fmt: skip
        text = bytes(_STORE.serialize_cdr(t["std_msgs/msg/String"]("x"), "std_msgs/msg/String"))
        writer.add_message(put_task, _START_NS, text, _START_NS)
        writer.finish()
    return {"messages": sum(counts.values()) + 1, "message_bytes": size,
            "file_bytes": path.stat().st_size, "seconds": tick / JOINTS_HZ}  # fmt: skip


def _command(put, t, header, ns: int, phase: np.ndarray) -> None:
    """Goals of arm and gripper."""
    empty, duration = np.zeros(0), t["builtin_interfaces/msg/Duration"](0, 0)
    for topic, names, values in (
        ("arm_controller/joint_trajectory", _NAMES[:5], phase[:5]),
        ("gripper_controller/joint_trajectory", _NAMES[5:], phase[5:]),
    ):
        point = t["trajectory_msgs/msg/JointTrajectoryPoint"](
            values, empty, empty, empty, duration
        )
        put(topic, ns, t["trajectory_msgs/msg/JointTrajectory"](header, list(names), [point]))


def _pictures(kind: Kind, rng: np.random.Generator) -> list[np.ndarray]:
    """Soft shapes that move, with the noise of a sensor: bytes of JPEGs, or of pixels."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    offsets, found = rng.uniform(0, 6, 3), []
    for number in range(_PICTURES):
        phase = number / 7
        image = np.stack(
            [127 + 60 * (np.sin(x / 31 + o + phase) + np.cos(y / 23 - o)) for o in offsets], -1
        ) + rng.normal(0, 4, (HEIGHT, WIDTH, 3))
        image = image.clip(0, 255).astype(np.uint8)
        if kind.jpeg_quality is None:
            found.append(image.reshape(-1))
            continue
        sink = io.BytesIO()
        Image.fromarray(image).save(sink, "JPEG", quality=kind.jpeg_quality)
        found.append(np.frombuffer(sink.getvalue(), np.uint8))
    return found


def _image(t, header, data: np.ndarray, kind: Kind):
    if kind.jpeg_quality is None:
        return t["sensor_msgs/msg/Image"](header, HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, data)
    return t["sensor_msgs/msg/CompressedImage"](header, "jpeg", data)

"""The processes of recording.py: cameras and joints, and the recorder by hand.

python bench/recording_processes.py sources SENT.json|script OUT.mcap SECONDS
"""

from __future__ import annotations

import json
import sys
import time
from array import array
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import TwistStamped
from mcap.writer import CompressionType, Writer
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

WIDTH, HEIGHT, CAMERA_HZ, JOINTS_HZ = 640, 480, 30.0, 500.0
CAMERAS = ("front", "left", "wrist")
JOINTS = tuple(f"joint{k}" for k in range(1, 8))
CAMERA_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
JOINT_QOS = QoSProfile(depth=100)
COMMANDS = "/twist"


def topics() -> dict[str, type]:
    """Message classes by topic."""
    return {
        **{f"/camera/{name}/image_raw": Image for name in CAMERAS},
        "/joint_states": JointState,
        COMMANDS: TwistStamped,
    }


def contract() -> dict:
    """The robot of the benchmark."""
    observations = [
        {
            "key": f"image.{name}",
            "topic": f"/camera/{name}/image_raw",
            "type": "sensor_msgs/msg/Image",
            "shape": [HEIGHT, WIDTH, 3],
            "max_age_s": 0.2,
        }
        for name in CAMERAS
    ]
    observations.append(
        {
            "key": "state.joints",
            "topic": "/joint_states",
            "type": "sensor_msgs/msg/JointState",
            "fields": [{"name": n, "path": f"position[{n}]", "unit": "rad"} for n in JOINTS],
            "max_age_s": 0.2,
        }
    )
    fields = {n: {"path": f"twist.linear.{n[1]}"} for n in ("dx", "dy", "dz")}
    return {
        "schema": "roboalign-contract/1",
        "name": "recording",
        "base_frame": "base_link",
        "rate_hz": CAMERA_HZ,
        "observations": observations,
        "action": {
            "control_mode": "ee_delta",
            "horizon": 8,
            "dims": [{"name": n, "unit": "m", "limits": [-1.0, 1.0]} for n in fields],
            "commands": [
                {"topic": COMMANDS, "type": "geometry_msgs/msg/TwistStamped", "fields": fields}
            ],
        },
    }


def picture(seed: int) -> np.ndarray:
    """(H, W, 3) uint8: shapes under uneven light with a sensor's noise, as hard to compress."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    image = np.stack([60 + 90 * x / WIDTH, 80 + 60 * y / HEIGHT, 110 - 50 * x / WIDTH], axis=-1)
    for _ in range(12):
        left, top = rng.integers(0, WIDTH - 90), rng.integers(0, HEIGHT - 90)
        image[top : top + 90, left : left + 90] = rng.integers(20, 236, 3)
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


def sources(sent: Path) -> None:
    """Publish until told to stop, then write the stamps of all that was published."""
    node = rclpy.create_node("sources")
    frames = [array("B", picture(seed).tobytes()) for seed in range(5)]
    stamps: dict[str, list[int]] = {topic: [] for topic in topics()}

    def publish(publisher, msg) -> None:
        now = node.get_clock().now()
        msg.header.stamp = now.to_msg()
        stamps[publisher.topic_name].append(now.nanoseconds)
        publisher.publish(msg)

    for number, name in enumerate(CAMERAS):
        camera = node.create_publisher(Image, f"/camera/{name}/image_raw", CAMERA_QOS)
        image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=WIDTH * 3)

        def shoot(camera=camera, image=image, number=number) -> None:
            image.data = frames[(len(stamps[camera.topic_name]) + number) % len(frames)]
            publish(camera, image)

        node.create_timer(1 / CAMERA_HZ, shoot)
        time.sleep(1 / CAMERA_HZ / len(CAMERAS))
    joints = node.create_publisher(JointState, "/joint_states", JOINT_QOS)
    state = JointState(name=list(JOINTS), position=[0.0] * 7, velocity=[0.0] * 7)
    node.create_timer(1 / JOINTS_HZ, lambda: publish(joints, state))
    commands = node.create_publisher(TwistStamped, COMMANDS, JOINT_QOS)
    node.create_timer(1 / CAMERA_HZ, lambda: publish(commands, TwistStamped()))
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    sent.write_text(json.dumps(stamps), encoding="utf-8")


def script(out: Path, seconds: float) -> None:
    """Decode every message and write it with `mcap`, uncompressed; as short as it can be."""
    node = Node("script")
    with out.open("wb") as stream:
        writer = Writer(stream, compression=CompressionType.NONE)
        writer.start(profile="ros2")
        for topic, kind in topics().items():
            schema = writer.register_schema(kind.__name__, "ros2msg", b"")
            channel = writer.register_channel(topic, "cdr", schema)

            def on_message(msg, channel=channel) -> None:
                now_ns = time.time_ns()
                writer.add_message(channel, now_ns, serialize_message(msg), now_ns)

            qos = CAMERA_QOS if kind is Image else JOINT_QOS
            node.create_subscription(kind, topic, on_message, qos)
        end_s = time.monotonic() + seconds + 3.0
        while time.monotonic() < end_s:
            rclpy.spin_once(node, timeout_sec=0.1)
        writer.finish()


def main() -> None:
    """Run one of the processes."""
    rclpy.init()
    if sys.argv[1] == "sources":
        sources(Path(sys.argv[2]))
    else:
        script(Path(sys.argv[2]), float(sys.argv[3]))
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()

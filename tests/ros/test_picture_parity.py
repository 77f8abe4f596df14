"""Pictures of every kind from a topic to a policy, against those from a bag to training."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

sys.path.append(str(Path(__file__).resolve().parents[1] / "training"))
from conversion_bags import START_NS, write_bag  # noqa: E402
from demo_bags import STORE  # noqa: E402
from robot_pictures import CAMERAS, HZ, camera_rows, many_cameras, sent  # noqa: E402

from roboalign_policy.core.frames.frames import Frame  # noqa: E402
from roboalign_policy.core.frames.live_frames import LiveFrames  # noqa: E402
from roboalign_policy.nodes.policy.robot_io import RobotIo  # noqa: E402
from roboalign_policy.ros.definitions import message_class  # noqa: E402
from roboalign_policy.ros.qos import lossless_qos  # noqa: E402
from roboalign_training.conversion.build import build_dataset  # noqa: E402
from roboalign_training.data.frame_dataset import load_frames  # noqa: E402
from roboalign_training.episodes.recipe import Recipe  # noqa: E402

NUMBER = 7  # of the picture that is looked at


@pytest.fixture
def sample(tmp_path):
    """What training sees at the time of that picture, and that time, ns."""
    rows = camera_rows()
    path = write_bag(tmp_path / "a.mcap", 1.5, cameras=(), more=rows)
    build_dataset([path], many_cameras(), tmp_path / "set", recipe=Recipe(min_frames=1))
    frames = load_frames(tmp_path / "set")
    time_ns = START_NS + round(NUMBER * 1e9 / HZ)
    (row,) = np.flatnonzero(np.abs(frames.stamps_ns - time_ns) < 20_000_000)
    return frames[int(row)], int(frames.stamps_ns[row])


def as_ros(msg):
    """A message of rosbags as one of rclpy, by way of its bytes."""
    kind = msg.__msgtype__
    return deserialize_message(bytes(STORE.serialize_cdr(msg, kind)), message_class(kind))


def test_a_topic_gives_the_policy_what_training_saw(sample, probe):
    """Over DDS, through the subscriptions and the frame buffer of policy_node."""
    trained, stamp_ns = sample
    contract = many_cameras()
    live, unreadable = LiveFrames(contract, silence_s=60.0), []
    arrived = set()

    def take(found):
        arrived.add(found.key)
        live.push(found, 0.0)

    io = RobotIo(
        probe.node,
        contract,
        lossless=True,
        commands=False,
        on_sample=take,
        on_unreadable=lambda *what: unreadable.append(what),
        on_note=lambda *_: None,
        on_task=lambda _: None,
    )
    publishers = {
        s.key: probe.node.create_publisher(message_class(s.type), s.topic, lossless_qos())
        for s in contract.observations
    }
    probe.until(lambda: all(p.get_subscription_count() for p in publishers.values()))
    for name in CAMERAS:
        publishers[f"image.{name}"].publish(as_ros(sent(name, NUMBER)))
    for stream in contract.states:
        publishers[stream.key].publish(state_message(stream, stamp_ns))
    probe.until(lambda: len(arrived) + len(unreadable) == len(contract.observations))
    assert unreadable == []
    frame = live.frame(stamp_ns, None, 0.0)
    assert isinstance(frame, Frame), frame
    for stream in contract.images:
        found = frame.values[stream.key]
        assert found.shape == stream.value_shape and len(np.unique(found)) > 20
        np.testing.assert_array_equal(found, trained.images[stream.key], stream.key)
    io.close()


def state_message(stream, stamp_ns):
    """Any reading of a state stream; states are not what is looked at here."""
    msg = message_class(stream.type)()
    msg.header.stamp.sec, msg.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    names = [f.path.split("[")[1][:-1] for f in stream.fields if "[" in f.path]
    if names:
        msg.name, msg.position = names, [0.0] * len(names)
    return msg


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"encoding": "nv21"}, "'nv21' is none of rgb8"),
        ({"encoding": "16UC1", "step": 64}, r"image.drgb8: range: found none"),
        ({"height": 12}, "12 x step 96"),
    ],
)
def test_what_cannot_be_read_is_told_and_is_no_sample(probe, change, words):
    contract = many_cameras()
    samples, unreadable = [], []
    io = RobotIo(
        probe.node, contract, lossless=True, commands=False, on_sample=samples.append,
        on_unreadable=lambda *what: unreadable.append(what), on_note=lambda *_: None,
        on_task=lambda _: None)  # fmt: skip
    stream = contract.stream("image.drgb8")
    publisher = probe.node.create_publisher(Image, stream.topic, lossless_qos())
    probe.until(publisher.get_subscription_count)
    msg = as_ros(sent("drgb8", 0))
    for name, value in change.items():
        setattr(msg, name, value)
    publisher.publish(msg)
    probe.until(lambda: unreadable)
    ((key, why),) = unreadable
    assert key == stream.key and not samples
    assert re.search(words, why), why
    io.close()


def reader(node, unreadable):
    """The streams of all cameras, of which only what could not be read is kept."""
    return RobotIo(
        node, many_cameras(), lossless=True, commands=False, on_sample=lambda _: None,
        on_unreadable=lambda *what: unreadable.append(what), on_note=lambda *_: None,
        on_task=lambda _: None)  # fmt: skip


def test_a_stream_to_resize_without_opencv_ends_configure(probe, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    words = r"`resize` of image\.\w+ takes OpenCV .*pip install opencv-python-headless"
    with pytest.raises(ImportError, match=words):
        reader(probe.node, [])
    assert not list(probe.node.subscriptions)


def test_a_picture_that_takes_a_missing_library_is_unreadable(probe, monkeypatch):
    unreadable = []
    io = reader(probe.node, unreadable)
    stream = many_cameras().stream("image.drgb8")
    publisher = probe.node.create_publisher(Image, stream.topic, lossless_qos())
    probe.until(publisher.get_subscription_count)
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    msg = as_ros(sent("drgb8", 0))
    msg.encoding = "bayer_rggb8"
    publisher.publish(msg)
    probe.until(lambda: unreadable)
    ((key, why),) = unreadable
    assert key == stream.key
    assert "image encoding 'bayer_rggb8' takes OpenCV" in why and "pip install" in why
    io.close()


def test_classes_are_those_of_ros():
    assert isinstance(as_ros(sent("jpeg", 0)), CompressedImage)

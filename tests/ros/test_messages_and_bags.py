"""The seam to ROS without nodes.

Conversions, stamps, QoS, definitions, and bags that others can open.
"""

import random
import threading

import mujoco
import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from roboalign_msgs.msg import ActionChunk, Episode
from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from roboalign_policy.core.contract.contract import find_contract, load_contract
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.recording.episodes import END, recorded_topics
from roboalign_policy.core.recording.ring import Arrival
from roboalign_policy.ros.conversions import (
    image_to_msg,
    joint_state_to_msg,
    pose_to_msg,
    quaternion_from_rotvec,
)
from roboalign_policy.ros.definitions import (
    DefinitionError,
    message_class,
    message_definition,
    type_hash,
)
from roboalign_policy.ros.qos import lossless_qos, qos_from_contract, qos_to_dict, reliable_qos
from roboalign_policy.ros.recording.bag_writer import BagTopic, BagWriter, leftover_partials
from roboalign_policy.ros.recording.episode_session import EpisodeInfo, EpisodeSession
from roboalign_policy.ros.recording.writer_thread import WriterThread
from roboalign_policy.ros.stamps import (
    has_leading_stamp,
    leading_stamp_ns,
    ns_to_stamp,
    stamp_to_ns,
)
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.rescue.recovery import recover

NOW_NS = 1_700_000_000_123_456_789


def test_image_round_trip():
    """Pixels, stamp and frame survive message and CDR."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    msg = deserialize_message(serialize_message(image_to_msg(pixels, NOW_NS, "camera")), Image)
    np.testing.assert_array_equal(image_from_msg(msg, (5, 7, 3)), pixels)
    assert (stamp_to_ns(msg.header.stamp), msg.header.frame_id) == (NOW_NS, "camera")


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_other_images_are_refused(pixels):
    """Wrong depth or type names what was found."""
    with pytest.raises(ValueError, match="image: found .* expected uint8"):
        image_to_msg(pixels, NOW_NS, "camera")


def test_quaternion_agrees_with_mujoco():
    """Ordinary, tiny, zero and half-turn rotations."""
    rng = np.random.default_rng(1)
    for rotvec in [
        *rng.normal(size=(20, 3)),
        np.zeros(3),
        np.array([1e-6, -2e-6, 0]),
        np.array([0, 0, np.pi]),
    ]:
        angle = float(np.linalg.norm(rotvec))
        expected = np.zeros(4)
        mujoco.mju_axisAngle2Quat(
            expected, rotvec / angle if angle else np.array([1.0, 0, 0]), angle
        )
        x, y, z, w = quaternion_from_rotvec(rotvec)
        np.testing.assert_allclose([w, x, y, z], expected, atol=1e-12)


def test_pose_and_joint_state():
    """Every number stands where it belongs; lengths that differ are refused."""
    pose = pose_to_msg(np.array([1.0, 2.0, 3.0]), np.zeros(3), NOW_NS, "base_link").pose
    assert (pose.position.x, pose.position.y, pose.position.z, pose.orientation.w) == (
        1.0,
        2.0,
        3.0,
        1.0,
    )
    msg = joint_state_to_msg(["a", "b"], np.array([0.5, -0.5]), NOW_NS)
    assert (list(msg.name), list(msg.position)) == (["a", "b"], [0.5, -0.5])
    with pytest.raises(ValueError, match="found 1 positions, expected 2"):
        joint_state_to_msg(["a", "b"], np.array([0.5]), NOW_NS)


@pytest.mark.parametrize("ns", [0, 1, 999_999_999, 1_000_000_000, NOW_NS, 2**31 * 10**9 - 1])
def test_stamps_round_trip(ns):
    """Exact over the range of the message."""
    assert stamp_to_ns(ns_to_stamp(ns)) == ns


@pytest.mark.parametrize("ns", [-1, 2**31 * 10**9])
def test_stamps_out_of_range_are_refused(ns):
    """No wrap-around."""
    with pytest.raises(ValueError, match="stamp: found"):
        ns_to_stamp(ns)


def test_leading_stamp_without_deserialising():
    """Header first, Time first, neither."""
    pose, marker = PoseStamped(), Episode(stamp=ns_to_stamp(NOW_NS))
    pose.header.stamp, pose.header.frame_id = ns_to_stamp(NOW_NS), "some_frame"
    for msg in (pose, marker):
        assert has_leading_stamp(type(msg))
        assert leading_stamp_ns(serialize_message(msg)) == NOW_NS
    assert not has_leading_stamp(String)
    assert (
        leading_stamp_ns(b"\x00\x00\x00\x00" + (5).to_bytes(4, "big") + (7).to_bytes(4, "big"))
        == 5_000_000_007
    )


def test_qos_of_the_contract():
    """All streams of the simulator's contract, and the latched task."""
    contract = load_contract(find_contract("sim_panda"))
    camera = qos_from_contract(contract.observations[0].qos)
    assert camera.reliability is ReliabilityPolicy.BEST_EFFORT
    assert (camera.durability, camera.history, camera.depth) == (
        DurabilityPolicy.VOLATILE,
        HistoryPolicy.KEEP_LAST,
        5,
    )
    task = qos_from_contract(contract.task.qos)
    assert (task.reliability, task.durability) == (
        ReliabilityPolicy.RELIABLE,
        DurabilityPolicy.TRANSIENT_LOCAL,
    )


def test_lossless_is_reliable_with_unlimited_history():
    """Both halves are needed: keep last would overwrite what nobody has taken yet."""
    qos = lossless_qos()
    assert (qos.history, qos.reliability) == (HistoryPolicy.KEEP_ALL, ReliabilityPolicy.RELIABLE)


def test_qos_in_metadata():
    """Names in lower case, unset durations infinite, as rosbag2 writes them."""
    found = qos_to_dict(QoSProfile(depth=7, reliability=ReliabilityPolicy.BEST_EFFORT))
    assert (found["history"], found["depth"], found["reliability"]) == (
        "keep_last",
        7,
        "best_effort",
    )
    assert found["deadline"] == {"sec": 9223372036, "nsec": 854775807}


@pytest.mark.parametrize(
    "name", ["sensor_msgs/msg/JointState", "roboalign_msgs/msg/ActionChunk", "std_msgs/msg/String"]
)
def test_definition_and_hash_are_those_of_the_type(name):
    """`rosbags` parses the text and computes the same hash from it as rosidl installed."""
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(message_definition(name), name))
    assert store.hash_rihs01(name) == type_hash(name)


@pytest.mark.parametrize(
    "name", ["std_msgs/String", "no_such_msgs/msg/Thing", "std_msgs/msg/NoSuch"]
)
def test_unknown_types_are_named(name):
    """The error says which type."""
    with pytest.raises(DefinitionError, match=name):
        message_class(name)


def _topics():
    names = ["/camera/image", "/joint_states", "/action_chunk", "/never"]
    types = [
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/JointState",
        "roboalign_msgs/msg/ActionChunk",
        "std_msgs/msg/String",
    ]
    qos = (qos_to_dict(reliable_qos(10)), qos_to_dict(lossless_qos()))
    return [
        BagTopic(n, t, message_definition(t), type_hash(t), qos)
        for n, t in zip(names, types, strict=True)
    ]


def _messages(count):
    """(index, log time, data); log times sometimes go back, as header stamps do."""
    rng = random.Random(2)
    for k in range(count):
        stamp = NOW_NS + k * 10_000_000 - rng.choice([0, 15_000_000])
        image = image_to_msg(np.full((32, 32, 3), k % 256, np.uint8), stamp, "camera")
        joints = joint_state_to_msg(["a"], [float(k)], stamp)
        chunk = ActionChunk(sequence_id=k, reasoning=f"step {k}: grasp")
        for index, msg in enumerate((image, joints, chunk)):
            yield index, stamp, serialize_message(msg)


CUSTOM = {
    "roboalign.instruction": 'put: the "red" cube\non the plate, grüße',
    "roboalign.outcome": "success",
}


def test_bag_opens_in_rosbags_with_everything(tmp_path):
    """Counts, bytes, times, custom data, types from the bag's own definitions, several chunks."""
    written = list(_messages(400))
    bag = BagWriter(tmp_path, "e1", _topics())
    for index, stamp, data in written:
        bag.write(index, stamp, stamp, data)
    summary = bag.finish(CUSTOM)
    assert summary.counts == {
        "/camera/image": 400,
        "/joint_states": 400,
        "/action_chunk": 400,
        "/never": 0,
    }
    with Reader(tmp_path / "e1") as reader:
        assert reader.message_count == 1200
        assert reader.storage.metadata.custom == CUSTOM
        assert (reader.start_time, reader.end_time - 1) == (summary.start_ns, summary.end_ns)
        store = get_typestore(Stores.EMPTY)
        for connection in reader.connections:
            store.register(get_types_from_msg(connection.msgdef.data, connection.msgtype))
        read = sorted((c.topic, stamp, data) for c, stamp, data in reader.messages())
        chunks = [c for c in reader.connections if c.topic == "/action_chunk"]
        texts = [
            store.deserialize_cdr(data, c.msgtype).reasoning
            for c, _, data in reader.messages(chunks)
        ]
    names = [topic.name for topic in _topics()]
    assert read == sorted((names[index], stamp, data) for index, stamp, data in written)
    assert sorted(texts) == sorted(f"step {k}: grasp" for k in range(400))


@pytest.mark.parametrize("extra", [0, 8, 64])
def test_what_rclpy_leaves_behind_a_message_changes_no_value(tmp_path, extra):
    """It hands out more bytes than it wrote where sequences are empty; readers pass over them."""
    written = JointState(name=["a", "b"], position=[0.25, -1.5])
    data = serialize_message(written) + b"\xa5" * extra
    with pytest.raises(SerdeError, match="size mismatch"):
        get_typestore(Stores.ROS2_JAZZY).deserialize_cdr(data, "sensor_msgs/msg/JointState")
    assert deserialize_message(data, JointState) == written
    topic = _topics()[1]
    bag = BagWriter(tmp_path, "e1", [topic])
    bag.write(0, NOW_NS, NOW_NS, data)
    bag.finish({})
    (message,) = (m.message for m in read_bag(tmp_path / "e1").messages())
    assert (message.name, message.position.tolist()) == (["a", "b"], [0.25, -1.5])
    assert len(message.velocity) == len(message.effort) == 0
    (raw,) = read_bag(recover(tmp_path / "e1").folder).raw_messages()
    assert raw.message == data


def test_unfinished_bag_has_no_name(tmp_path):
    """Before finish nothing but a hidden folder; after it nothing hidden."""
    bag = BagWriter(tmp_path, "e1", _topics())
    bag.write(3, NOW_NS, NOW_NS, serialize_message(String(data="x")))
    assert (
        [p.name for p in tmp_path.iterdir()]
        == [".e1.partial"]
        == [p.name for p in leftover_partials(tmp_path)]
    )
    bag.finish({})
    assert [p.name for p in tmp_path.iterdir()] == ["e1"]
    assert leftover_partials(tmp_path) == []


def test_existing_bag_is_never_overwritten(tmp_path):
    """Neither a finished nor an unfinished one."""
    BagWriter(tmp_path, "e1", _topics()).finish({})
    BagWriter(tmp_path, "e2", _topics())
    for name in ("e1", "e2"):
        with pytest.raises(FileExistsError):
            BagWriter(tmp_path, name, _topics())


def test_full_queue_refuses_and_recovers(tmp_path):
    """A message that would exceed the limit is refused, a later one that fits is taken."""
    writer = WriterThread(1000)
    writer.begin(tmp_path, "e1", _topics())
    assert not writer.put(3, NOW_NS, NOW_NS, bytes(1001))
    assert writer.put(3, NOW_NS, NOW_NS, serialize_message(String(data="fits")))
    done, results = threading.Event(), []
    writer.end({}, lambda result: (results.append(result), done.set()))
    assert done.wait(10)
    writer.close()
    assert results[0].counts["/never"] == 1


def test_write_fault_is_the_result_and_leaves_no_bag(tmp_path, monkeypatch):
    """A full disk while writing: the episode's end says so, the next episode is fine."""
    real = BagWriter.write

    def write(self, index, *rest):
        if self.path.name == "e1":
            raise OSError(28, "No space left on device")
        real(self, index, *rest)

    monkeypatch.setattr(BagWriter, "write", write)
    writer, results, done = WriterThread(10**6), [], threading.Event()
    for name in ("e1", "e2"):
        writer.begin(tmp_path, name, _topics())
        writer.put(3, NOW_NS, NOW_NS, serialize_message(String(data="x")))
        writer.end({}, lambda result: (results.append(result), len(results) == 2 and done.set()))
    assert done.wait(10)
    writer.close()
    assert isinstance(results[0], OSError) and results[0].errno == 28
    assert results[1].counts["/never"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [".e1.partial", "e2"]


class _Queue:
    """Stands for the writer's thread: takes so many bytes, keeps what it was given."""

    def __init__(self, limit):
        self.left, self.taken = limit, []

    def put(self, index, log_ns, publish_ns, data):
        if len(data) > self.left:
            return False
        self.left -= len(data)
        self.taken.append((index, log_ns, publish_ns, data))
        return True


def _session(queue, log_time="receive"):
    info = EpisodeInfo("e1", "put it there", "test", "yaml", "hash", "tool", log_time)
    return EpisodeSession(
        info,
        TOPICS,
        queue,
        NOW_NS,
        lambda event, outcome, stamp: b"end" if event == END else b"start",
    )


TOPICS = recorded_topics(load_contract(find_contract("sim_panda")))


def test_full_queue_makes_the_episode_unfit():
    """Every lost message is counted with its topic.

    The custom data says that the episode must not be used.
    """
    queue = _Queue(1000)
    session = _session(queue)
    for index in range(len(TOPICS)):
        session.add(Arrival(index, NOW_NS, NOW_NS, 0, bytes(100)))
    for _ in range(3):
        session.add(Arrival(0, NOW_NS, NOW_NS, 0, bytes(300)))
    found = session.end("success", NOW_NS)
    assert found == "unfit: camera/front/image_raw: 3 messages lost to a full write queue"
    assert (session.messages, session.dropped) == (8, 3)
    assert session.custom_data("success", found, {})["roboalign.verdict"] == found


def test_session_in_header_time_gives_every_message_a_stamp_of_the_robot():
    """What comes unstamped before the first stamp is filed under it, after the start marker.

    The end is not before the data.
    """
    queue, task, camera = _Queue(10**6), 6, 0
    session = _session(queue, "header")
    session.add(Arrival(task, None, NOW_NS, 0, b"task"))
    session.add(Arrival(camera, 2_000_000_000, NOW_NS, NOW_NS, b"one"))
    session.add(Arrival(task, None, NOW_NS, 0, b"new task"))
    session.add(Arrival(camera, 2_100_000_000, NOW_NS, NOW_NS, b"two"))
    session.end("success", NOW_NS)
    marker = len(TOPICS)
    assert queue.taken == [
        (marker, 2_000_000_000, 2_000_000_000, b"start"),
        (task, 2_000_000_000, 2_000_000_000, b"task"),
        (camera, 2_000_000_000, 2_000_000_000, b"one"),
        (task, 2_000_000_000, 2_000_000_000, b"new task"),
        (camera, 2_100_000_000, 2_100_000_000, b"two"),
        (marker, 2_100_000_000, 2_100_000_000, b"end"),
    ]


def test_session_in_receive_time_keeps_arrival_and_sending_apart():
    """Log time is the arrival, publish time the sending, where the middleware knows it."""
    queue = _Queue(10**6)
    session = _session(queue)
    session.add(Arrival(0, 5, NOW_NS + 20, NOW_NS + 10, b"one"))
    session.add(Arrival(0, 5, NOW_NS + 30, 0, b"two"))
    session.end("failure", NOW_NS + 25)
    assert [entry[1:3] for entry in queue.taken] == [
        (NOW_NS, NOW_NS),
        (NOW_NS + 20, NOW_NS + 10),
        (NOW_NS + 30, NOW_NS + 30),
        (NOW_NS + 30, NOW_NS + 30),
    ]

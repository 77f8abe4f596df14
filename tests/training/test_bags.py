"""Reading bags: everything promised is read, everything else is refused with the true reason."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_typestore

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError

SHARED = next(
    (p / "shared/data" for p in Path(__file__).resolve().parents if (p / "shared/data").is_dir()),
    None,
)
needs_shared = pytest.mark.skipif(SHARED is None, reason="no ../shared/data beside the checkout")

READABLE = {  # path -> messages, as its metadata promises (or its storage, where it has none)
    "bags/ait_images": 3,
    "bags/nav2_cm_moving_obstacle_zstd": 693,
    "bags/rerun_all_sensor_msgs": 194,
    "bags/rosbag2_service_events_mcap": 10,
    "bags/rosbag2_talker_mcap": 20,
    "bags/rosbag2_talker_sqlite3": 20,
    "bags/rosbag2_wbag_mcap": 6074,
    "bags/rosbags_rs_test_mcap": 188,
    "bags/rosbags_rs_test_sqlite3": 188,
    "bags/ur3_move": 1052,
    # Only their metadata is missing: parts 0 to 2 are whole, so every message can be read.
    "malformed/rosbag2_reindex_nometa_mcap": 3177,
    "malformed/rosbag2_reindex_nometa_sqlite3": 3177,
}
REFUSED = {  # path -> parts of the true reason
    "bags/event_cam_db3": ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray"),
    "malformed/arm6dof_meta_names_missing_file": ("missing", "the folder holds rosbag2.mcap"),
    "malformed/empty_bag_files": ("holds no message",),
    "malformed/event_cam_idl_schema_mcap": ("storage_identifier: found ''",),
    "malformed/old_type_names_image_db3": (
        "/image",
        "'sensor_msgs/Image'",
        "sensor_msgs/msg/Image",
    ),
    "malformed/ros1_profile_mcap_image": ("12 of 13 files are missing", "'sensor_msgs/Image'"),
    "malformed/rosbag2_empty_bag": ("holds no message", "/rosout"),
    "malformed/rosbag2_wrong_rmw_mcap": ("'wrong_format'", "cdr"),
    "malformed/rosbag2_wrong_rmw_sqlite3": ("'wrong_format'", "cdr"),
    "malformed/selfdriving_bag_empty": ("holds no message", "/scan"),
    "malformed/pj_mcap/test_bad_schema.mcap": ("'broken_msgs/Garbage'",),
    "malformed/pj_mcap/test_embedded_timestamp.mcap": ("'test_msgs/StampedValue'",),
    "malformed/pj_mcap/test_empty_channel.mcap": ("'std_msgs/Float64'",),
    "malformed/pj_mcap/test_large_arrays.mcap": ("'test_msgs/BigArray'",),
    "malformed/pj_mcap/test_large_file.mcap": ("'std_msgs/Float64'",),
    "malformed/pj_mcap/test_publish_vs_log_time.mcap": ("'std_msgs/Float64'",),
    "malformed/pj_mcap/test_unsupported_encoding.mcap": ("'protobuf'", "'proto'"),
}


@needs_shared
def test_no_recording_is_left_out():
    """The two tables name every recording there is."""
    listed = set(READABLE) | set(REFUSED)
    there = {f"bags/{p.name}" for p in (SHARED / "bags").iterdir()}
    there |= {f"malformed/{p.name}" for p in (SHARED / "malformed").iterdir()} - {
        "malformed/pj_mcap"
    }
    there |= {f"malformed/pj_mcap/{p.name}" for p in (SHARED / "malformed/pj_mcap").iterdir()}
    assert listed == there


@needs_shared
@pytest.mark.parametrize("name", READABLE)
def test_reads_what_is_promised(name):
    bag = read_bag(SHARED / name)
    times = [message.receive_ns for message in bag.raw_messages()]
    assert len(times) == bag.message_count == READABLE[name]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (bag.start_ns, bag.end_ns)


@needs_shared
@pytest.mark.parametrize("path", REFUSED)
def test_refuses_with_the_true_reason(path):
    with pytest.raises(BagError) as caught:
        read_bag(SHARED / path)
    for part in (Path(path).name, *REFUSED[path]):
        assert part in str(caught.value)


@needs_shared
@pytest.mark.parametrize("name", ["rosbag2_talker_mcap", "rosbag2_talker_sqlite3"])
def test_talker_whose_qos_text_misleads_rosbags(name):
    messages = list(read_bag(SHARED / "bags" / name).messages(["/topic"]))
    assert len(messages) == 10
    assert messages[0].message.data.startswith("Hello")


@needs_shared
def test_one_undecodable_topic_does_not_hide_the_others():
    bag = read_bag(SHARED / "bags/rosbag2_service_events_mcap")
    assert [t.name for t in bag.topics.values() if t.fault] == [
        "/test_service2/_service_event",
        "/test_service1/_service_event",
    ]
    assert len(list(bag.messages())) == 2
    with pytest.raises(BagError, match="definition of.*|service's definition"):
        list(bag.messages(["/test_service1/_service_event"]))


@needs_shared
def test_wrong_definition_in_the_bag_is_an_error_not_a_wrong_value():
    bag = read_bag(SHARED / "bags/rosbag2_talker_sqlite3")
    with pytest.raises(
        BagError, match="/rosout: message 0 does not decode as rcl_interfaces/msg/Log"
    ):
        list(bag.messages(["/rosout"]))


@needs_shared
def test_definitions_in_idl():
    """Only its folder's metadata is faulty; the file decodes by the IDL in it."""
    bag = read_bag(SHARED / "malformed/event_cam_idl_schema_mcap/test_events_2_0.mcap")
    packets = [m.message for m in bag.messages(["/event_camera/events"])]
    assert [p.seq for p in packets] == list(range(packets[0].seq, packets[0].seq + 100))
    assert {(p.width, p.height, p.encoding) for p in packets} == {(346, 260, "libcaer_cmp")}
    assert len(packets[0].events) > 1000


@needs_shared
def test_decoded_values_of_a_real_arm():
    bag = read_bag(SHARED / "bags/ur3_move")
    first = next(bag.messages(["/joint_states"])).message
    assert len(first.name) == len(first.position) == 6
    assert 45 < bag.topics["/joint_states"].count / bag.duration_s < 55


@needs_shared
def test_single_file_of_a_split_bag_can_be_named():
    folder = SHARED / "malformed/rosbag2_reindex_nometa_mcap"
    assert read_bag(folder / "multiple_files_2.mcap").message_count == 529


def write_strings(folder: Path, count: int = 40, **writer) -> Path:
    """A bag with `count` strings on /chatter, 0.1 s apart."""
    store = get_typestore(Stores.ROS2_JAZZY)
    kind = store.types["std_msgs/msg/String"]
    compression = writer.pop("compression", None)
    out = Writer(folder, version=9, **writer)
    if compression:
        out.set_compression(compression, CompressionFormat.ZSTD)
    out.set_custom_data("roboalign.instruction", "say hello")
    with out:
        topic = out.add_connection("/chatter", "std_msgs/msg/String", typestore=store)
        for i in range(count):
            data = store.serialize_cdr(kind(f"hello {i} " + "x" * 500), "std_msgs/msg/String")
            out.write(topic, 1_000_000_000 + i * 100_000_000, data)
    return folder


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_storages_and_compressions(tmp_path, plugin, mode):
    bag = read_bag(write_strings(tmp_path / "bag", storage_plugin=plugin, compression=mode))
    assert [m.message.data.split()[1] for m in bag.messages()] == [str(i) for i in range(40)]
    assert bag.custom == {"roboalign.instruction": "say hello"}


def test_truncated_file_is_refused(tmp_path):
    """What a recorder killed in mid-episode leaves: no footer."""
    folder = write_strings(tmp_path / "bag", storage_plugin=StoragePlugin.MCAP)
    file = folder / "bag.mcap"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BagError, match=r"bag\.mcap: is no complete MCAP file"):
        read_bag(folder)


@pytest.mark.parametrize("plugin", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_fewer_messages_than_promised(tmp_path, plugin):
    folder = write_strings(tmp_path / "bag", storage_plugin=plugin)
    path = folder / "metadata.yaml"
    info = yaml.safe_load(path.read_text())
    info["rosbag2_bagfile_information"]["message_count"] = 41
    info["rosbag2_bagfile_information"]["topics_with_message_count"][0]["message_count"] = 41
    path.write_text(yaml.safe_dump(info))
    with pytest.raises(
        BagError, match="/chatter: metadata promises 41 messages, storage holds 40"
    ):
        read_bag(folder)


def test_damaged_content_is_an_error_when_read(tmp_path):
    folder = write_strings(
        tmp_path / "bag", storage_plugin=StoragePlugin.MCAP, compression=CompressionMode.STORAGE
    )
    file = folder / "bag.mcap"
    data = bytearray(file.read_bytes())
    start = data.index(b"\x28\xb5\x2f\xfd") + 12  # inside the chunk's zstd frame
    data[start : start + 40] = bytes(40)
    file.write_bytes(data)
    cause = r"bag\.mcap: is damaged: the chunk at byte \d+ .*`roboalign recover`"
    with pytest.raises(BagError, match=cause):
        list(read_bag(folder).messages())


def test_messages_without_a_topic_are_reported(tmp_path):
    folder = write_strings(tmp_path / "bag", storage_plugin=StoragePlugin.SQLITE3)
    with sqlite3.connect(folder / "bag.db3") as db:
        db.execute("UPDATE messages SET topic_id = 9 WHERE id <= 3")
    with pytest.raises(BagError, match=r"bag\.db3: 3 messages belong to no topic"):
        read_bag(folder)


def test_definitions_are_taken_from_jazzy_only_when_they_match(tmp_path):
    """Older bags carry no definitions; their type hash, where there is one, must be Jazzy's."""
    folder = write_strings(tmp_path / "bag", storage_plugin=StoragePlugin.SQLITE3)
    db = sqlite3.connect(folder / "bag.db3")
    with db:
        db.execute("DELETE FROM message_definitions")
    assert len(list(read_bag(folder).messages())) == 40
    with db:
        db.execute("UPDATE topics SET type_description_hash = 'RIHS01_" + "0" * 64 + "'")
    db.close()
    assert "Jazzy's differs" in read_bag(folder).topics["/chatter"].fault
    with pytest.raises(BagError, match="Jazzy's differs"):
        list(read_bag(folder).messages(["/chatter"]))


def test_unknown_topic_names_those_there_are(tmp_path):
    bag = read_bag(write_strings(tmp_path / "bag", storage_plugin=StoragePlugin.MCAP))
    with pytest.raises(BagError, match="no topic /camera; it has /chatter"):
        list(bag.messages(["/camera"]))


def test_hash_is_of_the_content(tmp_path):
    one = write_strings(tmp_path / "a" / "bag", storage_plugin=StoragePlugin.MCAP)
    shutil.copytree(one, tmp_path / "b" / "bag")
    other = write_strings(tmp_path / "c" / "bag", 41, storage_plugin=StoragePlugin.MCAP)
    hashes = [read_bag(tmp_path / n / "bag").sha256 for n in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    assert read_bag(other).message_count == 41


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda p: None, "does not exist"),
        (lambda p: p.mkdir(), "no metadata.yaml and no .mcap or .db3 file"),
        (lambda p: p.write_text("hello"), "expected a folder, a .mcap or a .db3 file"),
    ],
)
def test_what_is_no_bag(tmp_path, make, cause):
    make(tmp_path / "thing")
    with pytest.raises(BagError, match=cause):
        read_bag(tmp_path / "thing")


def test_metadata_that_is_no_bag(tmp_path):
    (tmp_path / "metadata.yaml").write_text("hello: 1\n")
    with pytest.raises(BagError, match="rosbag2_bagfile_information"):
        read_bag(tmp_path)
    (tmp_path / "metadata.yaml").write_text("a: [\n")
    with pytest.raises(BagError, match=r"metadata\.yaml: cannot be read"):
        read_bag(tmp_path)


def test_needs_no_ros():
    code = (
        "import sys, roboalign_training.bags.bags, roboalign_training.look.inspect,"
        " roboalign_training.conversion.build, roboalign_training.data.fit;"
        "print([m for m in ('rclpy', 'rosidl_parser', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"

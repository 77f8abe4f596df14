"""What a bag says of itself, key by key beside a bag that rosbag2 wrote."""

from __future__ import annotations

from typing import Any

import yaml
from mcap.reader import make_reader

from roboalign_policy.ros.recording.bag_writer import BagTopic, BagWriter

# The last metadata record of a bag of `ros2 bag record` (metadata version 9, libmcap 1.4.0), and
# the metadata of its only channel.
OF_ROSBAG2 = """\
version: 9
storage_identifier: mcap
duration:
  nanoseconds: 990468399
starting_time:
  nanoseconds_since_epoch: 1744227144744197147
message_count: 100
topics_with_message_count:
  - topic_metadata:
      name: /event_camera/events
      type: event_camera_msgs/msg/EventPacket
      serialization_format: cdr
      offered_qos_profiles:
        - history: keep_last
          depth: 1000
          reliability: best_effort
          durability: volatile
          deadline:
            sec: 9223372036
            nsec: 854775807
          lifespan:
            sec: 9223372036
            nsec: 854775807
          liveliness: automatic
          liveliness_lease_duration:
            sec: 9223372036
            nsec: 854775807
          avoid_ros_namespace_conventions: false
      type_description_hash: ""
    message_count: 100
compression_format: ""
compression_mode: ""
relative_file_paths:
  - test_events_2_0.mcap
files:
  - path: test_events_2_0.mcap
    starting_time:
      nanoseconds_since_epoch: 1744227144744197147
    duration:
      nanoseconds: 990468399
    message_count: 100
custom_data: ~
ros_distro: rolling
"""
CHANNEL_OF_ROSBAG2 = {
    "offered_qos_profiles": """\
- history: keep_last
  depth: 1000
  reliability: best_effort
  durability: volatile
  deadline:
    sec: 9223372036
    nsec: 854775807
  lifespan:
    sec: 9223372036
    nsec: 854775807
  liveliness: automatic
  liveliness_lease_duration:
    sec: 9223372036
    nsec: 854775807
  avoid_ros_namespace_conventions: false""",
    "topic_type_hash": "",
}
INFINITE = {"sec": 9223372036, "nsec": 854775807}
QOS = {
    "history": "keep_last",
    "depth": 10,
    "reliability": "reliable",
    "durability": "volatile",
    "deadline": INFINITE,
    "lifespan": INFINITE,
    "liveliness": "automatic",
    "liveliness_lease_duration": INFINITE,
    "avoid_ros_namespace_conventions": False,
}
CUSTOM = {"roboalign.instruction": 'put: the "red" cube\non the plate', "roboalign.outcome": "1"}


def shape(value: Any) -> Any:
    """Keys in their order and types of the values; of lists, what is first in them."""
    if isinstance(value, dict):
        return [(key, shape(item)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def written(root):
    """A bag of the recorder's: its folder, and its file's reader."""
    topic = BagTopic("/text", "std_msgs/msg/String", "string data\n", "RIHS01_0", (QOS,))
    writer = BagWriter(root, "ep", [topic], known={"roboalign.operator": "ada"})
    for number in range(3):
        writer.write(0, 1000 + number, 1000 + number, b"\0\1\0\0\2\0\0\0a\0")
    writer.finish(CUSTOM)
    return root / "ep", make_reader((root / "ep/ep_0.mcap").open("rb"))


def test_the_record_in_the_file_is_what_rosbag2_wants_key_by_key(tmp_path):
    """`ros2 bag play`, `reindex` and `info FILE.mcap` decode it without a wrapper."""
    _, reader = written(tmp_path)
    records = [m.metadata for m in reader.iter_metadata() if m.name == "rosbag2"]
    assert [set(record) for record in records] == [{"serialized_metadata"}]
    found = yaml.safe_load(records[0]["serialized_metadata"])
    expected = yaml.safe_load(OF_ROSBAG2)
    custom, none = found.pop("custom_data"), expected.pop("custom_data")
    assert (custom, none) == (CUSTOM, None)
    assert shape(found) == shape(expected)
    assert found["version"] == expected["version"]
    assert found["storage_identifier"] == expected["storage_identifier"]
    assert found["relative_file_paths"] == ["ep_0.mcap"]
    assert found["files"][0]["message_count"] == found["message_count"] == 3


def test_the_metadata_of_a_channel_is_rosbag2s(tmp_path):
    _, reader = written(tmp_path)
    (channel,) = reader.get_summary().channels.values()
    assert set(channel.metadata) == set(CHANNEL_OF_ROSBAG2)
    qos = yaml.safe_load(channel.metadata["offered_qos_profiles"])
    assert shape(qos) == shape(yaml.safe_load(CHANNEL_OF_ROSBAG2["offered_qos_profiles"]))


def test_the_metadata_file_wraps_the_same(tmp_path):
    folder, reader = written(tmp_path)
    document = yaml.safe_load((folder / "metadata.yaml").read_text(encoding="utf-8"))
    (record,) = (m.metadata for m in reader.iter_metadata() if m.name == "rosbag2")
    inside = yaml.safe_load(record["serialized_metadata"])
    assert document == {"rosbag2_bagfile_information": inside}


def test_a_bag_without_a_message_says_so_in_the_same_keys(tmp_path):
    BagWriter(tmp_path, "empty", []).finish({})
    reader = make_reader((tmp_path / "empty/empty_0.mcap").open("rb"))
    (record,) = (m.metadata for m in reader.iter_metadata())
    found = yaml.safe_load(record["serialized_metadata"])
    assert list(found) == list(yaml.safe_load(OF_ROSBAG2))
    assert (found["custom_data"], found["topics_with_message_count"]) == ({}, [])

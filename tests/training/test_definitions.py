"""What bags say of their types, what they do not say, and what a user hands in."""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
from pathlib import Path

import pytest
from conversion_bags import STATES, two_cameras, write_bag
from mcap.reader import make_reader
from mcap.writer import Writer
from mcap_bags import START_NS, STORE, STRING
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.definition_folder import VARIABLE, use_definitions
from roboalign_training.bags.definition_text import plain_text
from roboalign_training.bags.errors import HAND_IN, BagError
from roboalign_training.bags.rescue import recover_cli
from roboalign_training.bags.typestores import standard_store
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.index import DatasetIndex
from roboalign_training.evaluate import replay_cli
from roboalign_training.look import inspect_cli
from roboalign_training.origins import trace_cli

GAUGE = "lab_msgs/msg/Gauge"
GAUGE_TEXT = "std_msgs/Header header\nlab_msgs/Unit unit\nfloat64 value\n"
UNIT_TEXT = "# of a gauge\nstring name\n"
JOINED = f"{GAUGE_TEXT}{'=' * 80}\nMSG: lab_msgs/Unit\n{UNIT_TEXT}"
JOINED += f"{'=' * 80}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
JOINED += f"{'=' * 80}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"


@pytest.fixture(autouse=True)
def nothing_handed_in(monkeypatch):
    """Also takes back what a test hands in."""
    monkeypatch.setenv(VARIABLE, "")


def gauge(value: float, text: str = JOINED) -> bytes:
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, GAUGE))
    t = store.types
    header = t["std_msgs/msg/Header"](t["builtin_interfaces/msg/Time"](1, 2), "lab")
    message = t[GAUGE](header, t["lab_msgs/msg/Unit"]("bar"), value)
    return bytes(store.serialize_cdr(message, GAUGE))


def mcap(path: Path, *topics: tuple) -> Path:
    """Topics (name, type, schema encoding, schema data, message encoding, messages) in a file."""
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start(profile="ros2", library="test")
        for name, kind, encoding, data, coding, messages in topics:
            schema = writer.register_schema(kind, encoding, data) if encoding is not None else 0
            channel = writer.register_channel(name, coding, schema)
            for number, message in enumerate(messages):
                writer.add_message(channel, START_NS + number, message, START_NS + number)
        writer.add_attachment(1, 1, "any", "bytes", b"\xff\xfe\0")
        writer.finish()
    return path


def sqlite(path: Path, topic: str, kind: str, messages: list[bytes], definition: str = "") -> Path:
    """An SQLite file, with definitions as from Iron on where there is one."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT,"
            "serialization_format TEXT);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
            "data BLOB);"
        )
        db.execute("INSERT INTO topics VALUES (1, ?, ?, 'cdr')", (topic, kind))
        for number, data in enumerate(messages):
            db.execute(
                "INSERT INTO messages VALUES (?, 1, ?, ?)", (number + 1, START_NS + number, data)
            )
        if definition:
            db.execute(
                "CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT,"
                "encoding TEXT, encoded_message_definition TEXT)"
            )
            db.execute(
                "INSERT INTO message_definitions VALUES (1, ?, 'ros2msg', ?)", (kind, definition)
            )
    return path


def values(path: Path, topic: str = "/gauge") -> list[float]:
    return [m.message.value for m in read_bag(path).messages([topic])]


TEXT = bytes(STORE.serialize_cdr(STORE.types[STRING]("hello"), STRING))
GOOD = ("/text", STRING, "ros2msg", b"string data\n", "cdr", [TEXT])
FOREIGN = [
    ("lab.Gauge", "flatbuffer", b"\x18\0BFBS\x80\xfe\xff\xc3", "flatbuffer", "'flatbuffer'"),
    ("lab.Gauge", "protobuf", b"\n\x05\xe2\x82\xff", "protobuf", "'protobuf'"),
    ("note", "jsonschema", b"{}", "json", "'json'"),
    ("", None, b"", "cbor", "'cbor'"),
    ("", None, b"", "cdr", "no schema, so its type is unknown"),
    ("std_msgs/String", "ros1msg", b"string data", "ros1", "message encoding 'ros1'"),
    ("lab_msgs/msg/X", "omgidl", b"\xff", "cdr", "schema encoding 'omgidl'"),
    ("RealsenseMetadata", "ros2msg", b"", "cdr", "'RealsenseMetadata' is no ROS 2 interface name"),
]


@pytest.mark.parametrize("topic", FOREIGN, ids=lambda t: f"{t[3]}-{t[1]}")
def test_a_topic_that_ros_2_does_not_have_spoils_no_other(tmp_path, capsys, topic):
    kind, encoding, data, coding, words = topic
    foreign = ("/foreign", kind, encoding, data, coding, [b"\x10\0\0\0\xfa\xff"] * 3)
    path = mcap(tmp_path / "beside.mcap", GOOD, foreign)
    bag = read_bag(path)
    assert [m.message.data for m in bag.messages()] == ["hello"]
    assert len(list(bag.raw_messages())) == 4
    (told,) = (f"{name} ({why})" for name, why in bag.foreign_topics().items())
    assert told.startswith("/foreign (") and words in told
    with pytest.raises(BagError, match="topic /foreign: "):
        list(bag.messages(["/foreign"]))
    assert recover_cli.main([str(path), "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(
        "left out: 3 messages (on topics that ROS 2 does not have), 1 topic (/f"
    )
    assert words in said
    assert set(read_bag(tmp_path / "new").topics) == {"/text"}
    alone = mcap(tmp_path / "alone.mcap", foreign)
    with pytest.raises(BagError, match=r"holds no topic of ROS 2 \(topic /foreign: ") as caught:
        read_bag(alone)
    assert words in str(caught.value) and "recover" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["", "unknown"])
def test_a_topic_whose_definition_the_recorder_did_not_find(tmp_path, encoding):
    """Humble's plugin writes the first, rosbag2 from Iron on the second."""
    feedback = ("/pick/_action/feedback", "lab_msgs/action/Pick_FeedbackMessage")
    path = mcap(
        tmp_path / "a.mcap",
        ("/text", STRING, encoding, b"", "cdr", [TEXT]),
        (*feedback, encoding, b"", "cdr", [b"\0\1\0\0\0"]),
    )
    bag = read_bag(path)
    assert [m.message.data for m in bag.messages()] == ["hello"]
    assert "no definition in the bag" in bag.topics[feedback[0]].fault
    assert bag.foreign_topics() == {}


@pytest.mark.parametrize(
    "bend",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("\n" + "=" * 80, "=" * 80),
        lambda text: "\ufeff" + text.replace("\n" + "=" * 80, "=" * 80).replace("\n", "\r\n"),
        lambda text: text + "\0",
        lambda text: "# " + "=" * 80 + "\n# " + "=" * 78 + "\n" + text,
    ],
    ids=["crlf", "cr", "joined", "mark, joined, crlf", "nul", "comments"],
)
@pytest.mark.parametrize("storage", ["mcap", "sqlite"])
def test_definitions_of_any_writer(tmp_path, bend, storage):
    text = bend(JOINED)
    assert plain_text(plain_text(text)) == plain_text(text)
    messages = [gauge(1.5), gauge(2.5)]
    if storage == "mcap":
        path = tmp_path / "a.mcap"
        mcap(path, ("/gauge", GAUGE, "ros2msg", text.encode(), "cdr", messages))
    else:
        path = sqlite(tmp_path / "a.db3", "/gauge", GAUGE, messages, text)
    assert values(path) == [1.5, 2.5]
    assert recover_cli.main([str(path), "--out", str(tmp_path / "new")]) == 0
    assert values(tmp_path / "new") == [1.5, 2.5]


def test_comments_in_any_encoding(tmp_path):
    text = b"# Gr\xfc\xdfe\n" + JOINED.encode()
    mcap(tmp_path / "a.mcap", ("/gauge", GAUGE, "ros2msg", text, "cdr", [gauge(1.5)]))
    assert values(tmp_path / "a.mcap") == [1.5]


def hand_in(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("place", ["", "share", "install/lab_msgs/share", "src/lab"])
def test_definitions_that_are_handed_in(tmp_path, place):
    """A workspace, an installed share/, a colcon install: SQLite before Iron holds none."""
    path = sqlite(tmp_path / "a.db3", "/gauge", GAUGE, [gauge(1.5)])
    assert (
        "hand its .msg files in with --definitions FOLDER" in read_bag(path).topics["/gauge"].fault
    )
    files = {"msg/Gauge.msg": GAUGE_TEXT.replace("\n", "\r\n"), "msg/Unit.msg": UNIT_TEXT}
    folder = hand_in(tmp_path / "ws" / place / "lab_msgs", files)
    use_definitions(tmp_path / "ws")
    assert values(path) == [1.5]
    use_definitions(folder)  # the package itself
    assert values(path) == [1.5]
    assert recover_cli.main([str(path), "--out", str(tmp_path / "new")]) == 0
    (stored,) = read_bag(tmp_path / "new")._opened[0].topics.values()
    assert "float64 value" in stored.definition  # it needs none handed in any more


def undefined_pose(source: Path, path: Path) -> Path:
    """A recording again, the type of its pose one that it does not define."""
    with source.open("rb") as read, path.open("wb") as written:
        writer, channels = Writer(written), {}
        writer.start(profile="ros2", library="test")
        for schema, channel, message in make_reader(read).iter_messages():
            if channel.topic not in channels:
                pose = channel.topic == STATES
                kind = ("lab_msgs/msg/Pose", "", b"") if pose else None
                number = writer.register_schema(*kind or (schema.name, "ros2msg", schema.data))
                channels[channel.topic] = writer.register_channel(channel.topic, "cdr", number)
            writer.add_message(
                channels[channel.topic], message.log_time, message.data, message.publish_time
            )
        writer.finish()
    return path


def stop(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_bag_left_out_for_a_type_is_taken_once_the_type_is_known(
    tmp_path, monkeypatch, interrupted
):
    data = two_cameras().to_dict()
    for stream in data["observations"]:
        if "/" + stream["topic"] == STATES:
            stream["type"] = "lab_msgs/msg/Pose"
    contract = contract_from_dict(data)
    bags = [
        undefined_pose(write_bag(tmp_path / "any.mcap", 2.0), tmp_path / "one.mcap"),
        undefined_pose(write_bag(tmp_path / "other.mcap", 2.0, seed=1), tmp_path / "two.mcap"),
    ]
    if interrupted:
        monkeypatch.setattr(
            DatasetIndex, "save", lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            build_dataset(bags, contract, tmp_path / "set", allow_empty=True)
        monkeypatch.undo()
        monkeypatch.setenv(VARIABLE, "")
    else:
        index = build_dataset(bags, contract, tmp_path / "set", allow_empty=True)
        assert not index.episodes
        assert [HAND_IN in entry["reason"] for entry in index.skipped] == [True, True]
    text = "std_msgs/Header header\ngeometry_msgs/Pose pose\n"
    hand_in(tmp_path / "ws/lab_msgs", {"msg/Pose.msg": text})
    use_definitions(tmp_path / "ws")
    index = build_dataset(bags, contract, tmp_path / "set")
    assert sorted(index.episodes) == ["one", "two"]
    assert index.skipped == []
    known = []
    build_dataset(bags, contract, tmp_path / "set", on_bag=lambda done: known.append(done.known))
    assert known == [True, True]


def test_a_bags_own_definitions_go_first_and_faulty_ones_do_not(tmp_path):
    hand_in(tmp_path / "ws/lab_msgs", {"msg/Gauge.msg": "float32 other\n"})
    use_definitions(tmp_path / "ws")
    good = sqlite(tmp_path / "good.db3", "/gauge", GAUGE, [gauge(1.5)], JOINED)
    assert values(good) == [1.5]
    hand_in(tmp_path / "other/lab_msgs", {"msg/Gauge.msg": GAUGE_TEXT, "msg/Unit.msg": UNIT_TEXT})
    use_definitions(tmp_path / "other")
    for number, text in enumerate(["float64[ value\n", "lab_msgs/Lacking part\n"]):
        bad = sqlite(tmp_path / f"bad{number}.db3", "/gauge", GAUGE, [gauge(1.5)], text)
        assert values(bad) == [1.5]


def test_definitions_of_another_version_are_refused(tmp_path):
    path = sqlite(tmp_path / "a.db3", "/gauge", GAUGE, [gauge(1.5)])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("ALTER TABLE topics ADD COLUMN type_description_hash TEXT DEFAULT ''")
        db.execute("UPDATE topics SET type_description_hash = 'RIHS01_' || hex(zeroblob(32))")
    hand_in(tmp_path / "ws/lab_msgs", {"msg/Gauge.msg": GAUGE_TEXT, "msg/Unit.msg": UNIT_TEXT})
    use_definitions(tmp_path / "ws")
    assert f"that of {tmp_path / 'ws'} differs (RIHS01_" in read_bag(path).topics["/gauge"].fault


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"lab_msgs/msg/Gauge.msg": GAUGE_TEXT}, "it needs lab_msgs/msg/Unit, which is not there"),
        ({"lab_msgs/msg/Gauge.msg": "float64[ value\n"}, "Gauge.msg does not parse near"),
    ],
)
def test_what_is_wrong_with_a_handed_in_definition(tmp_path, files, words):
    path = sqlite(tmp_path / "a.db3", "/gauge", GAUGE, [gauge(1.5)])
    use_definitions(hand_in(tmp_path / "ws", files))
    assert words in read_bag(path).topics["/gauge"].fault


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "expected a folder with package/msg/Name.msg files"),
        ({"lab_msgs/Gauge.msg": "float64 x\n"}, "no package/msg/Name.msg file in it"),
        (
            {"a/lab_msgs/msg/Gauge.msg": "float64 x\n", "b/lab_msgs/msg/Gauge.msg": "int8 x\n"},
            "two files for lab_msgs/msg/Gauge that differ: a/lab_msgs/msg/Gauge.msg and b/lab",
        ),
    ],
)
def test_what_is_no_folder_of_definitions(tmp_path, capsys, files, words):
    folder = tmp_path / "ws"
    if files:
        hand_in(folder, files)
    with pytest.raises(argparse.ArgumentTypeError, match="--definitions: ") as caught:
        use_definitions(folder)
    assert words in str(caught.value) and str(folder) in str(caught.value)
    with pytest.raises(SystemExit):
        recover_cli.main(["bag", "--definitions", str(folder)])
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "command", [convert_cli, inspect_cli, recover_cli, trace_cli, replay_cli],
    ids=lambda module: module.__name__.rpartition(".")[2],
)  # fmt: skip
def test_every_command_that_reads_bags_takes_them(tmp_path, command):
    hand_in(tmp_path, {"lab_msgs/msg/Gauge.msg": "float64 x\n"})
    required = {"convert_cli": ["--out", "x"], "replay_cli": ["--policy", "x"]}
    more = required.get(command.__name__.rpartition(".")[2], [])
    args = command.parser().parse_args(["bag", *more, "--definitions", str(tmp_path)])
    assert args.definitions == tmp_path


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("example_interfaces/msg/Float64MultiArray", {"layout", "data"}),
        ("example_interfaces/msg/Empty", {"structure_needs_at_least_one_member"}),
        ("turtlesim/msg/Pose", {"x", "y", "theta", "linear_velocity", "angular_velocity"}),
        ("control_msgs/msg/JointJog",
         {"header", "joint_names", "displacements", "velocities", "duration"}),
        ("control_msgs/msg/DynamicJointState", {"header", "joint_names", "interface_values"}),
        ("vision_msgs/msg/Detection2DArray", {"header", "detections"}),
    ],
)  # fmt: skip
def test_standard_packages_of_jazzy_are_known(tmp_path, kind, fields):
    path = sqlite(tmp_path / "a.db3", "/topic", kind, [b"\0\1\0\0" + bytes(64)])
    assert read_bag(path).topics["/topic"].fault is None
    store = standard_store(kind)
    store.get_msgdef(kind)
    assert {name for name, _ in store.fielddefs[kind][1]} == fields


def test_all_types_of_these_packages_have_decoders():
    from roboalign_training.bags.jazzy_packages import package_types

    packages = ("control_msgs", "example_interfaces", "turtlesim", "vision_msgs")
    names = [name for package in packages for name in package_types(package)]
    assert len(names) > 60
    for name in names:
        assert standard_store(name).get_msgdef(name)


def test_inspect_says_of_a_topic_that_does_not_decode_that_it_does_not(tmp_path, capsys):
    mcap(
        tmp_path / "a.mcap",
        GOOD,
        ("/cut", STRING, "ros2msg", b"string data\n", "cdr", [TEXT[:-3]]),
    )
    page = tmp_path / "page.html"
    for more in ([], ["--html", str(page)]):
        assert inspect_cli.main([str(tmp_path / "a.mcap"), *more]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert "fault: /cut: message 0 does not decode as std_msgs/msg/String" in said
    assert (
        "No fault found" not in page.read_text() and "/cut: message 0 does not" in page.read_text()
    )

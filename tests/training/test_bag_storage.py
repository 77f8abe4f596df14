"""Storage of every kind and order: read whole in order of time, or refused for its fault."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from mcap.writer import CompressionType, IndexType
from mcap_bags import START_NS, make_rows, write_bag, write_mcap, write_metadata
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import Stores, get_typestore

from roboalign_training.bags import merging
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError
from roboalign_training.bags.mcap_file import McapFile
from roboalign_training.bags.storage import ALL_TIMES
from roboalign_training.conversion.build import find_bags

LAYOUTS = {
    "zstd": {},
    "lz4": {"compression": CompressionType.LZ4},
    "no compression": {"compression": CompressionType.NONE},
    "no CRC": {"enable_crcs": False},
    "no message index": {"index_types": IndexType.CHUNK},
    "no chunk index": {"index_types": IndexType.MESSAGE},
    "no statistics": {"use_statistics": False},
    "definitions in chunks only": {"repeat_channels": False, "repeat_schemas": False},
    "no chunks": {"use_chunking": False},
    "no chunks, CRC of all": {"use_chunking": False, "enable_data_crcs": True},
    "no summary": {
        "index_types": IndexType.NONE,
        "repeat_channels": False,
        "repeat_schemas": False,
        "use_statistics": False,
        "use_summary_offsets": False,
    },
}


def raw(bag) -> list[tuple]:
    """Every message as (topic, time, bytes)."""
    return [tuple(message) for message in bag.raw_messages()]


def in_time(rows) -> list[tuple]:
    """The rows by time; those of one time in the order written."""
    return sorted(rows, key=lambda row: row[1])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("metadata", [True, False])
def test_every_layout_of_mcap(tmp_path, layout, metadata):
    rows = make_rows(120)
    written = write_bag(tmp_path / "bag", rows, **LAYOUTS[layout])
    if not metadata:
        (tmp_path / "bag/metadata.yaml").unlink()
    bag = read_bag(tmp_path / "bag")
    assert raw(bag) == rows
    assert (bag.start_ns, bag.end_ns) == (rows[0][1], rows[-1][1])
    assert len(list(bag.messages(["/joints"]))) == 60
    assert raw(read_bag(written.path)) == rows


@pytest.mark.parametrize("chunked", [True, False])
def test_order_of_time_over_disordered_chunks(tmp_path, chunked, monkeypatch):
    """Chunks that lie over each other, with and without room for them in memory."""
    rows = make_rows(200)
    shuffled = [rows[(i * 73) % 200] for i in range(200)]
    write_bag(tmp_path / "bag", shuffled, use_chunking=chunked)
    assert raw(read_bag(tmp_path / "bag")) == rows
    file = McapFile(tmp_path / "bag/bag_0.mcap", tmp_path / "bag/bag_0.mcap")
    segments = file.segments({"/text", "/joints"}, ALL_TIMES)
    assert len(segments) > 5 or not chunked
    spilled = []
    through = merging._Spill.through
    monkeypatch.setattr(
        merging._Spill, "through", lambda self, m: spilled.append(m) or through(self, m)
    )
    assert [tuple(m) for m in merging.merged(segments, limit=5000)] == rows
    assert bool(spilled) == chunked, "what finds no room in memory goes through a file"


def test_parts_of_a_split_bag_that_overlap_in_time(tmp_path):
    rows = make_rows(120)
    for number in range(3):
        write_mcap(tmp_path / f"bag_{number}.mcap", rows[number::3])
    files = [tmp_path / f"bag_{number}.mcap" for number in range(3)]
    assert raw(read_bag(tmp_path)) == rows
    write_metadata(tmp_path, files, rows)
    assert raw(read_bag(tmp_path)) == rows


def test_messages_of_one_time_keep_their_order(tmp_path):
    rows = [(topic, START_NS + i // 10, data) for i, (topic, _, data) in enumerate(make_rows(90))]
    write_bag(tmp_path / "bag", rows, chunk_size=1500)
    assert raw(read_bag(tmp_path / "bag")) == rows


def test_a_part_of_the_time_reads_only_its_chunks(tmp_path):
    rows = make_rows(200)
    written = write_bag(tmp_path / "bag", rows)
    data = bytearray(written.path.read_bytes())
    start, end, lost = written.parts[4]
    data[(start + end) // 2] ^= 0x40
    written.path.write_bytes(data)
    bag = read_bag(tmp_path / "bag")
    with pytest.raises(BagError, match=f"the chunk at byte {start} does not"):
        raw(bag)
    before = [tuple(m) for m in bag.raw_messages(end_ns=lost[0][1] - 1)]
    after = [tuple(m) for m in bag.raw_messages(["/text"], start_ns=lost[-1][1] + 1)]
    assert before == [row for row in rows if row[1] < lost[0][1]]
    assert after == [row for row in rows if row[1] > lost[-1][1] and row[0] == "/text"]


def patched(written, at: int, value: bytes) -> Path:
    """The bag's folder after bytes of its file were replaced."""
    data = bytearray(written.path.read_bytes())
    data[at : at + len(value)] = value
    written.path.write_bytes(data)
    return written.path.parent


HUGE = (1 << 45).to_bytes(8, "little")
LARGE = (1 << 33).to_bytes(8, "little")


@pytest.mark.parametrize(
    ("offset", "value", "cause"),
    [
        (1, HUGE, r"record at byte \d+ would end at byte"),
        (1, (50).to_bytes(8, "little"), "says that .* of them are data"),
        (25, LARGE, "do not agree"),  # its size when decompressed
        (0, b"\x81", "promise|out of place|belongs to no chunk"),  # its opcode
        (9, b"\xff" * 8, "do not agree"),  # its first time
    ],
)
def test_a_damaged_chunk_header_is_refused_at_once(tmp_path, offset, value, cause):
    written = write_bag(tmp_path / "bag", make_rows(80))
    folder = patched(written, written.parts[1][0] + offset, value)
    began = time.monotonic()
    with pytest.raises(BagError, match=cause):
        read_bag(folder)
    assert time.monotonic() - began < 1.0


def test_a_chunk_that_claims_gigabytes_takes_none(tmp_path):
    """Without an index that contradicts it, the claim is found when the chunk is read."""
    written = write_bag(
        tmp_path / "bag", make_rows(80), index_types=IndexType.MESSAGE, use_statistics=False
    )
    folder = patched(written, written.parts[1][0] + 25, LARGE)
    with pytest.raises(BagError, match="says that it holds 8589934592 bytes, expected at most"):
        raw(read_bag(folder))
    folder = patched(written, written.parts[1][0] + 25, (1 << 28).to_bytes(8, "little"))
    with pytest.raises(BagError, match="its header says 268435456"):
        raw(read_bag(folder))


def test_fewer_messages_in_a_chunk_than_its_index_says(tmp_path):
    written = write_mcap(
        tmp_path / "a.mcap", make_rows(80), compression=CompressionType.NONE, enable_crcs=False
    )
    start, end, _ = written.parts[1]
    data = written.path.read_bytes()
    message = data.index(b"\x05", start + 49)
    with pytest.raises(BagError, match=r"does not hold what it says: \d+ messages, expected"):
        raw(read_bag(patched(written, message, b"\x95").joinpath("a.mcap")))


def test_loose_messages_are_compared_with_the_crc_of_all(tmp_path):
    options = {"use_chunking": False, "enable_data_crcs": True}
    written = write_bag(tmp_path / "bag", make_rows(40), **options)
    folder = patched(written, written.parts[7][1] - 3, b"\x00")
    with pytest.raises(BagError, match="its messages do not fit their CRC"):
        read_bag(folder)


def test_reindexing_writes_nothing_beside_the_bag(tmp_path):
    rows = make_rows(60)
    write_mcap(tmp_path / "bag/part_0.mcap", rows[:30])
    write_mcap(tmp_path / "bag/part_1.mcap", rows[30:])
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "bag").iterdir())
    (tmp_path / "bag").chmod(0o555)
    try:
        assert raw(read_bag(tmp_path / "bag")) == rows
    finally:
        (tmp_path / "bag").chmod(0o755)
    assert before == sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "bag").iterdir())


def test_tenth_part_comes_after_the_ninth(tmp_path):
    rows = make_rows(120)
    for number in range(12):
        write_mcap(tmp_path / f"run_{number}.mcap", rows[number * 10 : number * 10 + 10])
    bag = read_bag(tmp_path)
    assert [file.name for file in bag.files] == [f"run_{number}.mcap" for number in range(12)]
    assert raw(bag) == rows


def test_a_part_is_missing_and_no_metadata_says_so(tmp_path):
    for number in (0, 1, 3):
        write_mcap(tmp_path / f"run_{number}.mcap", make_rows(10, start=number * 10))
    with pytest.raises(BagError, match="expected parts 0 to 3 once each, found 0, 1, 3"):
        read_bag(tmp_path)


def test_recordings_of_their_own_in_one_folder(tmp_path):
    for name in ("pick", "place"):
        write_mcap(tmp_path / f"{name}.mcap", make_rows(10))
    with pytest.raises(BagError, match=r"belong to 2 recordings \(pick.mcap, place.mcap\)"):
        read_bag(tmp_path)
    assert [p.name for p in find_bags([tmp_path])] == ["pick.mcap", "place.mcap"]


def sqlite_bag(folder: Path, rows, mode: CompressionMode | None = None) -> Path:
    """A bag in SQLite, written by rosbags."""
    store = get_typestore(Stores.ROS2_JAZZY)
    out = Writer(folder, version=9, storage_plugin=StoragePlugin.SQLITE3)
    if mode:
        out.set_compression(mode, CompressionFormat.ZSTD)
    with out:
        kinds = {"/text": "std_msgs/msg/String", "/joints": "sensor_msgs/msg/JointState"}
        topics = {t: out.add_connection(t, kind, typestore=store) for t, kind in kinds.items()}
        for topic, ns, data in rows:
            out.write(topics[topic], ns, data)
    return folder


@pytest.mark.parametrize("mode", [None, CompressionMode.FILE, CompressionMode.MESSAGE])
def test_sqlite_without_metadata(tmp_path, mode):
    rows = make_rows(80)
    folder = sqlite_bag(tmp_path / "bag", rows, mode)
    (folder / "metadata.yaml").unlink()
    assert raw(read_bag(folder)) == rows
    assert raw(read_bag(next(folder.iterdir()))) == rows


def test_temporary_files_of_a_compressed_bag_are_removed(tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    folder = sqlite_bag(tmp_path / "bag", make_rows(80), CompressionMode.FILE)
    bag = read_bag(folder)
    assert len(list(scratch.iterdir())) == 1
    assert len(raw(bag)) == 80
    del bag
    assert not list(scratch.iterdir())
    file = next(folder.glob("*.zstd"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(BagError, match="zstd decompression failed"):
        read_bag(folder)
    assert not list(scratch.iterdir())


def test_a_full_disk_is_an_error_with_the_way_out(tmp_path, monkeypatch):
    folder = sqlite_bag(tmp_path / "bag", make_rows(80), CompressionMode.FILE)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(BagError, match="MB are needed for temporary files: set TMPDIR"):
        read_bag(folder)


@pytest.mark.parametrize("index", [True, False])
def test_sqlite_rows_out_of_order(tmp_path, index):
    rows = make_rows(100)
    folder = sqlite_bag(tmp_path / "bag", [rows[(i * 37) % 100] for i in range(100)])
    if not index:
        with sqlite3.connect(folder / "bag.db3") as database:
            database.execute("DROP INDEX IF EXISTS timestamp_idx")
        database.close()
    assert raw(read_bag(folder)) == rows
    part = read_bag(folder).raw_messages(["/text"], start_ns=rows[10][1], end_ns=rows[20][1])
    assert [tuple(m) for m in part] == [row for row in rows[10:21] if row[0] == "/text"]


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_sqlite_that_its_recorder_did_not_finish(tmp_path, ending):
    folder = sqlite_bag(tmp_path / "bag", make_rows(10))
    (folder / f"bag.db3{ending}").write_bytes(b"something")
    with pytest.raises(BagError, match=f"unfinished: bag.db3{ending} lies beside it: `robo"):
        read_bag(folder)


def test_sqlite_cut_off(tmp_path):
    folder = sqlite_bag(tmp_path / "bag", make_rows(100))
    file = folder / "bag.db3"
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(BagError, match=r"is cut off: it has \d+ of \d+ bytes"):
        read_bag(folder)


def test_sqlite_rows_that_vanish_are_missed_without_metadata(tmp_path):
    """A page that says it holds fewer rows than it does: nothing but SQLite's own check tells."""
    folder = sqlite_bag(tmp_path / "bag", make_rows(100))
    (folder / "metadata.yaml").unlink()
    file = folder / "bag.db3"
    data = bytearray(file.read_bytes())
    pages = [at for at in range(4096, len(data), 4096) if data[at] == 13 and data[at + 4] > 5]
    data[pages[-1] + 4] -= 1  # the number of cells of a leaf
    file.write_bytes(data)
    with pytest.raises(BagError, match=r"bag\.db3: is damaged"):
        raw(read_bag(folder))


def test_custom_data_comes_from_the_file_where_metadata_has_none(tmp_path):
    from roboalign_policy.ros.recording.bag_writer import BagTopic, BagWriter

    topic = BagTopic("/text", "std_msgs/msg/String", "string data\n", "", ())
    writer = BagWriter(tmp_path, "ep", [topic])
    for name, ns, data in make_rows(20):
        if name == "/text":
            writer.write(0, ns, ns, data)
    writer.finish({"roboalign.instruction": "wave", "roboalign.episode_id": "ep"})
    told = read_bag(tmp_path / "ep").custom
    (tmp_path / "ep/metadata.yaml").unlink()
    assert read_bag(tmp_path / "ep").custom == told
    alone = shutil.copy(tmp_path / "ep/ep_0.mcap", tmp_path / "moved.mcap")
    assert read_bag(alone).custom["roboalign.instruction"] == "wave"


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_repeated_metadata_of_bags_old_and_new(tmp_path, monkeypatch, wrapped):
    """Earlier recorders wrote it into the file with the key of metadata.yaml around it."""
    from roboalign_policy.ros.recording import bag_writer

    if wrapped:
        dump = bag_writer.dump_yaml
        monkeypatch.setattr(
            bag_writer,
            "dump_yaml",
            lambda value: dump(
                {bag_writer.INFORMATION: value}
                if isinstance(value, dict) and "storage_identifier" in value
                else value
            ),
        )
    topic = bag_writer.BagTopic("/text", "std_msgs/msg/String", "string data\n", "", ())
    writer = bag_writer.BagWriter(tmp_path, "ep", [topic])
    writer.write(0, 1, 1, make_rows(1)[0][2])
    writer.finish({"roboalign.instruction": "wave"})
    (tmp_path / "ep/metadata.yaml").unlink()
    assert read_bag(tmp_path / "ep").custom == {"roboalign.instruction": "wave"}


def test_metadata_that_leaves_out_a_topic(tmp_path):
    rows = make_rows(20)
    written = write_bag(tmp_path / "bag", rows)
    texts = [row for row in rows if row[0] == "/text"]
    entry = {
        "topic_metadata": {
            "name": "/text",
            "type": "std_msgs/msg/String",
            "serialization_format": "cdr",
        },
        "message_count": 10,
    }
    write_metadata(tmp_path / "bag", [written.path], texts, topics_with_message_count=[entry])
    with pytest.raises(BagError, match="/joints: metadata promises 0 messages, storage holds 10"):
        read_bag(tmp_path / "bag")

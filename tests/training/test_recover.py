"""`roboalign recover`: what still reads is kept, what does not is named, the source stays."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import yaml
from demo_bags import sim_contract, write_demo
from mcap.writer import CompressionType, Writer
from mcap_bags import STORE, STRING, TOPICS, make_rows, write_bag, write_mcap
from test_bag_storage import in_time, patched, raw, sqlite_bag
from test_bags import SHARED, needs_shared

from roboalign_policy.core.recording.begun import write_begun
from roboalign_policy.ros.recording.bag_writer import BagTopic, BagWriter
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import BagError, DatasetError
from roboalign_training.bags.losses import Loss, joined, recovered_losses
from roboalign_training.bags.rescue.damaged import profiles
from roboalign_training.bags.rescue.recover_cli import main
from roboalign_training.bags.rescue.recovery import recover
from roboalign_training.conversion.build import build_dataset
from roboalign_training.episodes.episodes import find_spans
from roboalign_training.episodes.topics import map_topics
from roboalign_training.shared.left_out import STRICT_STATUS


def state(folder: Path) -> dict[str, str]:
    """Every file of a folder with its hash."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_a_killed_recorder(tmp_path):
    """The hidden folder as it stands in mid-episode: no footer, no metadata."""
    demo = write_demo(tmp_path / "whole", count=60, markers=((0, 99, "ep7", "stack it", ""),))
    source = read_bag(demo.folder)
    topics = [BagTopic(t.name, t.type, _definition(source, t.name), "", ())
              for t in source.topics.values()]  # fmt: skip
    known = {"roboalign.contract": sim_contract().to_yaml(), "roboalign.tool": "a recorder"}
    writer = BagWriter(tmp_path / "bags", "ep7", topics, known=known)
    numbers = {topic.name: number for number, topic in enumerate(topics)}
    for name, ns, data in source.raw_messages():
        writer.write(numbers[name], ns, ns, data)
    # The process is killed here: only what the writer has handed over is on disk.
    partial = tmp_path / "bags/.ep7.partial"
    shutil.copytree(partial, tmp_path / "killed/.ep7.partial")
    writer.discard()
    partial = tmp_path / "killed/.ep7.partial"
    before = state(partial)
    recovery = recover(partial)
    assert state(partial) == before
    assert recovery.folder == tmp_path / "killed/ep7-recovered"
    bag = read_bag(recovery.folder)
    kept, all_messages = raw(bag), raw(source)
    assert 100 < len(kept) < len(all_messages)
    for name in source.topics:
        of_topic = [row for row in kept if row[0] == name]
        assert of_topic == [row for row in all_messages if row[0] == name][: len(of_topic)]
    assert bag.custom["roboalign.episode_id"] == "ep7"
    assert bag.custom["roboalign.instruction"] == "stack it"
    assert bag.custom["roboalign.outcome"] == "unknown"
    assert bag.custom["roboalign.tool"] == "a recorder"
    assert bag.custom["roboalign.verdict"].startswith("unfit: recovered by roboalign recover")
    with pytest.raises(DatasetError, match="recorder's verdict: unfit: recovered"):
        build_dataset([recovery.folder], sim_contract(), tmp_path / "data")
    accepted = recover(partial, tmp_path / "accepted", accept=True)
    index = build_dataset([accepted.folder], None, tmp_path / "data")
    assert index.frames > 10 and index.contract == sim_contract()


def _definition(bag, topic: str) -> str:
    """The definition of a topic's type as the bag has it."""
    stored = [t for file in bag._opened for t in file.topics.values() if t.name == topic]
    return stored[0].definition


def test_up_to_the_last_whole_chunk_and_what_reads_of_the_next(tmp_path):
    rows = make_rows(300)
    written = write_bag(tmp_path / "bag", rows, compression=CompressionType.NONE)
    start, end, last = written.parts[5]
    for cut, some in ((start, 0), ((start + end) // 2, 5), (end - 1, len(last) - 1)):
        shutil.copytree(tmp_path / "bag", tmp_path / f"cut{cut}")
        file = tmp_path / f"cut{cut}/bag_0.mcap"
        file.write_bytes(file.read_bytes()[:cut])
        kept = raw(read_bag(recover(file.parent).folder))
        whole = sum(len(part) for _, _, part in written.parts[:5])
        assert kept == rows[: len(kept)]
        assert whole + some <= len(kept) <= whole + max(some + 10, len(last)) * bool(some)


@pytest.mark.parametrize(
    "compression", [CompressionType.ZSTD, CompressionType.LZ4, CompressionType.NONE]
)
def test_a_damaged_chunk_is_passed_over_and_counted(tmp_path, compression):
    rows = make_rows(300)
    written = write_bag(tmp_path / "bag", rows, compression=compression)
    start, end, lost = written.parts[3]
    patched(written, (start + end) // 2, b"\xde\xad\xbe\xef")
    before = state(tmp_path / "bag")
    recovery = recover(tmp_path / "bag", tmp_path / "new")
    assert raw(read_bag(tmp_path / "new")) == [row for row in rows if row not in lost]
    assert state(tmp_path / "bag") == before
    counts = {t: sum(row[0] == t for row in lost) for t in ("/joints", "/text")}
    assert {t.name: t.lost for t in recovery.topics} == counts
    (loss,) = recovery.losses
    assert (loss.at, loss.size, dict(loss.messages)) == (start, end - start, counts)
    assert loss.start_ns <= lost[0][1] < lost[-1][1] <= loss.end_ns
    custom = read_bag(tmp_path / "new").custom
    assert custom["roboalign.operator"] == "somebody"
    assert json.loads(custom["roboalign.recovered"])["files"].keys() == {"bag_0.mcap"}


@pytest.mark.parametrize("offset", [0, 1, 6, 40])
def test_a_damaged_chunk_header_costs_that_chunk(tmp_path, offset):
    rows = make_rows(300)
    written = write_bag(tmp_path / "bag", rows)
    start, _, lost = written.parts[3]
    data = written.path.read_bytes()
    patched(written, start + offset, bytes([data[start + offset] ^ 0x5A]))
    recover(tmp_path / "bag", tmp_path / "new")
    assert raw(read_bag(tmp_path / "new")) == [row for row in rows if row not in lost]


def test_loose_messages(tmp_path):
    rows = make_rows(100)
    written = write_bag(tmp_path / "bag", rows, use_chunking=False)
    patched(written, written.parts[20][0] + 2, b"\x77")  # its length
    recover(tmp_path / "bag", tmp_path / "new")
    assert raw(read_bag(tmp_path / "new")) == rows[:20] + rows[21:]
    file = tmp_path / "cut.mcap"
    file.write_bytes(write_mcap(tmp_path / "b.mcap", rows, use_chunking=False).path.read_bytes())
    file.write_bytes(file.read_bytes()[: written.parts[60][0] + 12])
    assert raw(read_bag(recover(file).folder)) == rows[:60]


def test_the_first_chunk_with_all_definitions(tmp_path):
    rows = make_rows(200)
    written = write_bag(tmp_path / "bag", rows)
    start, end, lost = written.parts[0]
    patched(written, end - 5, b"\0\0\0\0")
    recover(tmp_path / "bag", tmp_path / "new")
    bag = read_bag(tmp_path / "new")
    assert raw(bag) == rows[len(lost) :]
    assert next(bag.messages(["/text"])).message.data.startswith("text ")


def test_parts_that_are_missing_or_hopeless(tmp_path):
    rows = make_rows(120)
    folder = tmp_path / "bag"
    for number in range(4):
        write_mcap(folder / f"bag_{number}.mcap", rows[number * 30 : number * 30 + 30])
    (folder / "bag_1.mcap").unlink()
    (folder / "bag_2.mcap").write_bytes(bytes(5000))
    from mcap_bags import write_metadata

    write_metadata(folder, [folder / f"bag_{number}.mcap" for number in range(4)], rows)
    recovery = recover(folder, tmp_path / "new")
    assert raw(read_bag(tmp_path / "new")) == rows[:30] + rows[90:]
    assert {t.lost for t in recovery.topics} == {30}
    missing = next(loss for loss in recovery.losses if loss.file == "bag_1.mcap")
    assert rows[0][1] <= missing.start_ns <= rows[30][1]
    assert rows[59][1] <= missing.end_ns < rows[-1][1]


@needs_shared
def test_definitions_in_idl_are_written_as_messages(tmp_path):
    source = SHARED / "malformed/event_cam_idl_schema_mcap/test_events_2_0.mcap"
    file = tmp_path / "cut.mcap"
    file.write_bytes(source.read_bytes()[:2_000_000])
    kept = [m.message for m in read_bag(recover(file).folder).messages()]
    whole = [m.message for m in read_bag(source).messages()]
    assert 70 < len(kept) < 100
    assert [p.seq for p in kept] == [p.seq for p in whole[: len(kept)]]
    assert (kept[-1].events == whole[len(kept) - 1].events).all()


def test_nothing_that_reads(tmp_path, capsys):
    (tmp_path / "noise.mcap").write_bytes(bytes(range(256)) * 100)
    assert main([str(tmp_path / "noise.mcap")]) == 1
    assert "nothing in it can be read" in " ".join(capsys.readouterr().err.split())
    assert main([str(tmp_path / "nowhere")]) == 2
    assert not list(tmp_path.glob("*recovered*")) and not list(tmp_path.glob(".*"))


def test_command_line(tmp_path, capsys):
    rows = make_rows(300)
    written = write_bag(tmp_path / "bag", rows)
    patched(written, written.parts[3][0] + 80, b"\xff\xff")
    assert main([str(tmp_path / "bag"), "--out", str(tmp_path / "new")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "/joints" in out and "kept" in out and "lost: bag_0.mcap at" in out
    assert "the chunk does" in out
    before = state(tmp_path / "new")
    assert main([str(tmp_path / "bag"), "--out", str(tmp_path / "new")]) == 0
    assert "was recovered from the same files before; nothing was" in capsys.readouterr().out
    assert state(tmp_path / "new") == before


def test_a_torn_sqlite_file(tmp_path):
    rows = make_rows(400)
    folder = sqlite_bag(tmp_path / "bag", rows)
    file = folder / "bag.db3"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.6) - 123])
    before = state(folder)
    recovery = recover(folder, tmp_path / "new")
    assert state(folder) == before
    kept = raw(read_bag(tmp_path / "new"))
    assert len(kept) > 150
    assert set(kept) <= set(rows)
    assert sum(t.lost for t in recovery.topics) == 400 - len(kept)


def test_a_damaged_page_of_sqlite_costs_its_rows(tmp_path):
    rows = make_rows(400)
    folder = sqlite_bag(tmp_path / "bag", rows)
    file = folder / "bag.db3"
    data = bytearray(file.read_bytes())
    pages = range(4096 * 6, len(data), 4096)
    leaf = next(at for at in pages if data[at] == 13 and data[at + 4] > 5)
    data[leaf : leaf + 100] = b"\xff" * 100
    file.write_bytes(data)
    with pytest.raises(BagError):
        raw(read_bag(folder))
    recover(folder, tmp_path / "new")
    kept = raw(read_bag(tmp_path / "new"))
    assert 350 < len(kept) < 400
    assert kept == [row for row in rows if row in set(kept)]


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_sqlite_with_changes_beside_it(tmp_path, mode):
    """A recorder killed between commits: what it committed is kept, what it did not is gone."""
    rows = make_rows(400)
    folder = sqlite_bag(tmp_path / "bag", rows[:200])
    file = folder / "bag.db3"
    database = sqlite3.connect(file, isolation_level=None)
    database.execute(f"PRAGMA journal_mode={mode}")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("PRAGMA cache_size=2")  # so that changes reach the file before the commit
    numbers = dict(database.execute("SELECT name, id FROM topics"))

    def insert(part) -> None:
        database.execute("BEGIN")
        for topic, ns, data in part:
            database.execute(
                "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)",
                (numbers[topic], ns, data),
            )

    insert(rows[200:300])
    database.execute("COMMIT")
    insert(rows[300:])
    shutil.copytree(folder, tmp_path / "killed", ignore=shutil.ignore_patterns("*-shm"))
    database.execute("ROLLBACK")
    database.close()
    (tmp_path / "killed/metadata.yaml").unlink()
    with pytest.raises(BagError, match="is unfinished: bag.db3-(wal|journal) lies beside it"):
        read_bag(tmp_path / "killed")
    before = state(tmp_path / "killed")
    recovery = recover(tmp_path / "killed", tmp_path / "new")
    assert raw(read_bag(tmp_path / "new")) == rows[:300]
    assert state(tmp_path / "killed") == before
    assert "its recorder was stopped" in recovery.losses[-1].cause


def test_whole_episodes_of_a_damaged_recording_are_kept(tmp_path):
    """Three demonstrations in one plain recording; the damage is within the second."""
    markers = tuple(
        (first, first + 40, f"ep{number}", f"task {number}", "success")
        for number, first in enumerate((5, 100, 195))
    )
    demo = write_demo(tmp_path / "long", count=240, custom=False, markers=markers)
    file = next(demo.folder.glob("*.mcap"))
    data = bytearray(file.read_bytes())
    chunks = _chunks(data)
    contract = sim_contract()
    second = read_bag(demo.folder)
    spans = find_spans(second, map_topics(second, contract))
    hit = next(c for c in chunks if c[2] > spans[1].start_ns)  # begins after its start marker
    assert hit[3] < spans[2].start_ns
    data[hit[0] + 9 + 16] ^= 0x10  # its size: the index no longer agrees
    file.write_bytes(data)
    with pytest.raises(BagError, match="do not agree"):
        read_bag(demo.folder)
    recovery = recover(demo.folder, tmp_path / "new")
    bag = read_bag(recovery.folder)
    faults = {s.episode_id: s.fault for s in find_spans(bag, map_topics(bag, contract))}
    assert faults["ep0"] is None and faults["ep2"] is None
    assert "a part is lost" in faults["ep1"]
    index = build_dataset([bag.path], contract, tmp_path / "data")
    assert set(index.episodes) == {"ep0", "ep2"}
    assert [entry["id"] for entry in index.skipped] == ["ep1"]


def _chunks(data: bytes) -> list[tuple[int, int, int, int]]:
    """(first byte, end, first time, last time) of each chunk with messages."""
    at, found = 8, []
    while data[at] != 15:
        end = at + 9 + int.from_bytes(data[at + 1 : at + 9], "little")
        if data[at] == 6:
            times = [int.from_bytes(data[i : i + 8], "little") for i in (at + 9, at + 17)]
            found.append((at, end, *times))
        at = end
    return [chunk for chunk in found if chunk[2] <= chunk[3]]


def test_losses_are_remembered_and_joined(tmp_path):
    losses = [Loss("a", i, 1, "c", i, i + 1, {"/x": 1}) for i in range(10)]
    few = joined(losses, 4)
    assert len(few) == 4 and few[:3] == losses[:3]
    assert (few[3].start_ns, few[3].end_ns, few[3].size) == (3, 10, 7)
    assert few[3].messages == {"/x": 7} and few[3].cause.startswith("7 more parts")
    assert joined([*losses[:4], Loss("a", 9, 1, "c")], 2)[1].end_ns is None
    with pytest.raises(ValueError, match=r"roboalign\.recovered"):
        recovered_losses({"roboalign.recovered": "{"})
    assert not Loss("a", 0, 1, "c", 10, 20).touches(21, 30)
    assert Loss("a", 0, 1, "c", None, 20).touches(1, 2)
    assert in_time([("a", 2, b""), ("a", 1, b"")])[0][1] == 1


def test_what_ros2_bag_record_left_in_the_hidden_folder(tmp_path, capsys):
    """`storage: rosbag2`: the file lies one folder deeper, and says nothing of the episode."""
    rows = make_rows(300)
    inner = tmp_path / ".r2.partial/r2"
    written = write_mcap(inner / "r2_0.mcap", rows)
    written.path.write_bytes(written.path.read_bytes()[: written.data_end])
    write_begun(tmp_path / ".r2.partial", {"roboalign.instruction": "stack it"})
    assert main([str(tmp_path / ".r2.partial")]) == 0
    bag = read_bag(tmp_path / "r2-recovered")
    assert raw(bag) == rows
    assert bag.custom["roboalign.episode_id"] == "r2"
    assert bag.custom["roboalign.instruction"] == "stack it"
    assert capsys.readouterr().out.splitlines()[-1] == (
        "left out: 1 damaged part (how many messages were in it is not known)"
    )
    write_mcap(tmp_path / ".r2.partial/other/a.mcap", rows)
    assert main([str(tmp_path / ".r2.partial"), "--out", str(tmp_path / "new")]) == 2
    assert "holds 2 recordings (other, r2): name one" in " ".join(capsys.readouterr().err.split())


def test_strict_is_a_status_when_something_is_left_out(tmp_path, capsys):
    rows = make_rows(300)
    written = write_bag(tmp_path / "bag", rows)
    assert main([str(tmp_path / "bag"), "--out", str(tmp_path / "all"), "--strict"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "left out: nothing"
    patched(written, written.parts[3][0] + 80, b"\xff\xff")
    lost = len(written.parts[3][2])
    out = ["--out", str(tmp_path / "new")]
    assert main([str(tmp_path / "bag"), *out, "--strict"]) == STRICT_STATUS
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == f"left out: {lost} messages (damaged or missing)"
    assert raw(read_bag(tmp_path / "new")) == [
        row for row in rows if row not in written.parts[3][2]
    ]


def test_a_message_names_its_path_once(tmp_path, capsys):
    (tmp_path / "noise.mcap").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "none.db3").write_bytes(bytes(5000))
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag/metadata.yaml").mkdir()
    for name, status in (("noise.mcap", 1), ("none.db3", 1), ("bag", 2)):
        assert main([str(tmp_path / name)]) == status
        said = "".join(capsys.readouterr().err.splitlines())
        assert said.count(name) == 1, said


def test_quality_of_service_of_older_bags_in_the_words_of_the_new_one():
    """Version 9 reads numbers as unknown policies, and then nothing is played."""
    text = "- {history: 3, depth: 0, reliability: 1, durability: 2, "
    text += "liveliness: 1, deadline: {sec: 0}}"
    assert profiles(text) == (
        {
            "history": "unknown",
            "depth": 0,
            "reliability": "reliable",
            "durability": "volatile",
            "liveliness": "automatic",
            "deadline": {"sec": 0},
        },
    )
    assert profiles("- {history: keep_last, reliability: 9}\n- 3\n") == (
        {"history": "keep_last", "reliability": "unknown"},
    )
    assert profiles("{") == profiles("") == ()


LATE = "/late"


def _with_late_topic(folder: Path, **options: object) -> tuple[Path, list]:
    """A bag of 100 rows, and of 5 on a topic that is defined in its last chunk; file and rows."""
    rows, late = make_rows(100), make_rows(10, start=100)[::2]
    file = write_bag(folder, rows).path
    with file.open("wb") as stream:
        writer = Writer(stream, chunk_size=4000, **options)
        writer.start(profile="ros2", library="test")
        channels = {}
        for topic, ns, data in [*rows, *((LATE, ns, data) for _, ns, data in late)]:
            if topic not in channels:
                writer.flush()
                kind = TOPICS.get(topic, STRING)
                text = STORE.generate_msgdef(kind, ros_version=2)[0].encode()
                schema = writer.register_schema(kind, "ros2msg", text)
                channels[topic] = writer.register_channel(topic, "cdr", schema, {})
            writer.add_message(channels[topic], ns, data, ns)
        writer.finish()
    return file, rows


def _promise(folder: Path, more: dict[str, int]) -> None:
    """Lets the metadata promise messages on further topics, or more of those that there are."""
    path = folder / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    info = document["rosbag2_bagfile_information"]
    topics = {t["topic_metadata"]["name"]: t for t in info["topics_with_message_count"]}
    for name, count in more.items():
        first = info["topics_with_message_count"][0]
        new = {"topic_metadata": {**first["topic_metadata"], "name": name}, "message_count": 0}
        if name not in topics:
            info["topics_with_message_count"].append(topics.setdefault(name, new))
        topics[name]["message_count"] += count
    info["message_count"] += sum(more.values())
    path.write_text(yaml.safe_dump(document))


def test_a_topic_that_is_lost_as_a_whole_is_counted(tmp_path, capsys):
    """Its definition lay in the part that is gone: metadata.yaml alone knows it."""
    file, rows = _with_late_topic(tmp_path / "bag")
    _promise(tmp_path / "bag", {LATE: 5})
    assert main([str(tmp_path / "bag"), "--out", str(tmp_path / "whole"), "--strict"]) == 0
    file.write_bytes(file.read_bytes()[: _chunks(file.read_bytes())[-1][0]])
    words = [str(tmp_path / "bag"), "--out", str(tmp_path / "new"), "--strict"]
    capsys.readouterr()
    for _ in range(2):  # made, and there already
        assert main(words) == STRICT_STATUS
        said = capsys.readouterr().out.splitlines()
        assert said[-1] == "left out: 5 messages (damaged or missing)"
    assert raw(read_bag(tmp_path / "new")) == rows
    topics = {t.name: (t.kept, t.lost) for t in recover(tmp_path / "bag", tmp_path / "n").topics}
    assert topics == {"/joints": (50, 0), LATE: (0, 5), "/text": (50, 0)}


def test_a_topic_that_the_statistics_alone_know_is_counted(tmp_path):
    file, rows = _with_late_topic(tmp_path / "bag", repeat_channels=False, repeat_schemas=False)
    data = bytearray(file.read_bytes())
    data[_chunks(data)[-1][1] - 20] ^= 0xFF
    file.write_bytes(data)
    recovery = recover(file, tmp_path / "new")
    assert {t.name: t.lost for t in recovery.topics} == {"/joints": 0, "/text": 0, "channel 3": 5}
    assert recovery.left_out.line() == "left out: 5 messages (damaged or missing)"
    assert raw(read_bag(tmp_path / "new")) == rows


def test_files_that_are_whole_and_hold_less_than_was_promised(tmp_path, capsys):
    rows = make_rows(100)
    write_bag(tmp_path / "bag", rows)
    _promise(tmp_path / "bag", {"/text": 3, "/gone": 2})
    words = [str(tmp_path / "bag"), "--out", str(tmp_path / "new"), "--strict"]
    assert main(words) == STRICT_STATUS
    said = " ".join(capsys.readouterr().out.split())
    assert "fewer messages than it promises; messages: 2 of /gone, 3 of /text" in said
    assert said.endswith("left out: 5 messages (damaged or missing)")
    assert "nothing was lost" not in said
    assert raw(read_bag(tmp_path / "new")) == rows

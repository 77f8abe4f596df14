"""`roboalign recover` of SQLite bags: damage costs the rows that lie in it and no other."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from pathlib import Path

import numpy as np
import pytest
from mcap_bags import START_NS, STORE, STRING

from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.rescue.recovery import recover

COUNT = 400


def payload(number: int, size: int) -> bytes:
    """A string of `size` random characters, other ones in every message."""
    rng = np.random.default_rng(number)
    text = rng.integers(33, 127, size, dtype=np.uint8).tobytes().decode()
    return bytes(STORE.serialize_cdr(STORE.types[STRING](text), STRING))


def database(path: Path, page: int = 4096, sizes=lambda n: 100 + n % 60, count: int = COUNT):
    """An SQLite bag as rosbag2 makes it; returns its rows by id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {n: payload(n, sizes(n)) for n in range(1, count + 1)}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={page}")
        db.executescript(
            "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,"
            "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);"
            "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL,"
            "timestamp INTEGER NOT NULL, data BLOB NOT NULL);"
            "CREATE INDEX timestamp_idx ON messages (timestamp ASC);"
            "INSERT INTO topics VALUES (1, '/text', 'std_msgs/msg/String', 'cdr', '');"
        )
        db.execute("BEGIN")
        for number, data in rows.items():
            stamp = START_NS + number * 1000
            db.execute("INSERT INTO messages VALUES (?, 1, ?, ?)", (number, stamp, data))
        db.execute("COMMIT")
    return rows


def pages_of(data: bytes, kind: int) -> list[int]:
    """Offsets of the pages of a kind: 13 leaf, 5 interior of a table; 10 leaf of an index."""
    size = struct.unpack(">H", data[16:18])[0]
    size = 65536 if size == 1 else size
    return [at for at in range(size, len(data), size) if data[at] == kind]


def reads_alone(path: Path, rows: dict[int, bytes]) -> set[int]:
    """Ids of the rows that SQLite itself reads, asked for one by one, as they were written."""
    good = set()
    with contextlib.closing(sqlite3.connect(path)) as db:
        for number, data in rows.items():
            with contextlib.suppress(sqlite3.Error):
                row = db.execute("SELECT data FROM messages WHERE id = ?", (number,)).fetchone()
                if row and row[0] == data:
                    good.add(number)
    return good


def rescued(path: Path) -> tuple[set[int], list, tuple]:
    """Ids of the rows that recovering kept, these messages, and the losses that it names."""
    recovery = recover(path, path.parent / f"rescued-{path.stem}")
    rows = [tuple(m) for m in read_bag(recovery.folder).raw_messages()]
    ids = [(stamp - START_NS) // 1000 for _, stamp, _ in rows]
    assert ids == sorted(set(ids))
    return set(ids), rows, recovery.losses


def damaged(path: Path, rows: dict[int, bytes], spans) -> set[int]:
    """Overwrites (offset, length) of a file; ids that recovering keeps: no fewer than SQLite."""
    data = bytearray(path.read_bytes())
    for at, length in spans:
        data[at : at + length] = bytes(length)
    path.write_bytes(data)
    expected = reads_alone(path, rows)
    kept, found, losses = rescued(path)
    assert {(s - START_NS) // 1000: d for _, s, d in found} == {n: rows[n] for n in kept}
    assert kept >= expected
    lost = set()
    for loss in losses:
        lost |= set(range(loss.at, loss.at + loss.size))
    assert lost == set(rows) - kept
    return kept


@pytest.mark.parametrize("page", [512, 4096, 65536])
def test_one_page(tmp_path, page):
    rows = database(tmp_path / "a.db3", page, count=3000 if page > 9999 else COUNT)
    leaves = pages_of((tmp_path / "a.db3").read_bytes(), 13)
    kept = damaged(tmp_path / "a.db3", rows, [(leaves[len(leaves) // 2], page)])
    assert 0 < len(rows) - len(kept) < len(rows) / 2


@pytest.mark.parametrize("apart", [1, 2, 3])
def test_two_damages_a_few_rows_apart(tmp_path, apart):
    """Two pages of 20 rows, with one, none or two pages of intact rows between them."""
    rows = database(tmp_path / "a.db3")
    leaves = pages_of((tmp_path / "a.db3").read_bytes(), 13)
    spans = [(leaves[5], 4096), (leaves[5 + apart], 4096)]
    kept = damaged(tmp_path / "a.db3", rows, spans)
    assert 20 < COUNT - len(kept) < 80


def test_the_first_and_the_last_row(tmp_path):
    rows = database(tmp_path / "a.db3", sizes=lambda _: 3000)  # one row a page
    data = (tmp_path / "a.db3").read_bytes()
    of_row = {n: data.index(d) // 4096 * 4096 for n, d in rows.items()}
    kept = damaged(tmp_path / "a.db3", rows, [(of_row[1], 4096), (of_row[2], 4096)])
    assert kept == set(rows) - {1, 2}
    rows = database(tmp_path / "b/a.db3", sizes=lambda _: 3000)
    path = tmp_path / "b/a.db3"
    content = bytearray(path.read_bytes())
    content[of_row[COUNT] : of_row[COUNT] + 4096] = bytes(4096)
    path.write_bytes(content)
    kept, _, losses = rescued(path)
    assert kept == set(rows) - {COUNT}
    assert [(loss.at, loss.size) for loss in losses] == [(COUNT, 0)]  # to the end, whatever it was


def test_interior_pages_and_the_root(tmp_path):
    """The pages that lead to the rows are gone; the rows are not."""
    rows = database(tmp_path / "a.db3", page=512)
    interior = pages_of((tmp_path / "a.db3").read_bytes(), 5)
    assert len(interior) > 2
    expected = reads_alone(tmp_path / "a.db3", rows)
    assert expected == set(rows)
    for number, spans in enumerate([interior[1:2], interior[:1], interior]):
        path = tmp_path / f"{number}/a.db3"
        path.parent.mkdir()
        data = bytearray((tmp_path / "a.db3").read_bytes())
        for at in spans:
            data[at : at + 512] = bytes(512)
        path.write_bytes(data)
        assert len(reads_alone(path, rows)) < COUNT
        kept, found, _ = rescued(path)
        assert kept == set(rows)
        assert [d for _, _, d in found] == list(rows.values())


def test_deleted_rows_do_not_come_back_where_the_tree_is_damaged(tmp_path):
    rows = database(tmp_path / "a.db3", page=512)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db3", isolation_level=None)) as db:
        db.execute("DELETE FROM messages WHERE id BETWEEN 100 AND 160")
    data = bytearray((tmp_path / "a.db3").read_bytes())
    for at in pages_of(data, 5):
        data[at : at + 512] = bytes(512)
    (tmp_path / "a.db3").write_bytes(data)
    kept, _, _ = rescued(tmp_path / "a.db3")
    assert kept == set(rows) - set(range(100, 161))


def test_the_index_alone(tmp_path):
    rows = database(tmp_path / "a.db3")
    index = pages_of((tmp_path / "a.db3").read_bytes(), 10)
    kept = damaged(tmp_path / "a.db3", rows, [(at, 4096) for at in index])
    assert kept == set(rows)


@pytest.mark.parametrize("where", ["first", "middle"])
def test_rows_larger_than_a_page(tmp_path, where):
    """An overflow page costs its row, the leaf its rows; those between are kept."""
    rows = database(tmp_path / "a.db3", sizes=lambda n: 20_000 if n % 5 == 0 else 90, count=100)
    data = (tmp_path / "a.db3").read_bytes()
    begin = data.index(rows[50][8:80]) // 4096 * 4096
    assert data[begin] == 13
    middle = data.index(rows[50][9000:9100]) // 4096 * 4096
    at = {"first": begin, "middle": middle}[where]
    kept = damaged(tmp_path / "a.db3", rows, [(at, 4096)])
    assert 50 not in kept
    assert len(kept) == 99 if where == "middle" else 50 < len(kept) < 99


def test_a_part_of_a_page(tmp_path):
    """Four rows within a leaf whose head is whole: the others on it are kept."""
    rows = database(tmp_path / "a.db3")
    data = (tmp_path / "a.db3").read_bytes()
    places = {n: data.index(row) for n, row in rows.items()}
    first = next(n for n in range(150, 200) if places[n] // 4096 == places[n + 9] // 4096)
    begin = places[first + 6] - 18  # rows stand from the end of the page on; sizes, id, time
    end = places[first + 3] + len(rows[first + 3])
    kept = damaged(tmp_path / "a.db3", rows, [(begin, end - begin)])
    assert kept == set(rows) - set(range(first + 3, first + 7))


@pytest.mark.parametrize("share", [0.3, 0.61, 0.999])
def test_a_file_that_is_cut_off(tmp_path, share):
    rows = database(tmp_path / "a.db3", sizes=lambda n: 9000 if n % 7 == 0 else 120)
    data = (tmp_path / "a.db3").read_bytes()
    cut = int(len(data) * share)
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut/a.db3").write_bytes(data[:cut])
    padded = tmp_path / "padded.db3"
    padded.write_bytes(data[:cut] + bytes(len(data) - cut))
    expected = reads_alone(padded, rows)
    kept, found, losses = rescued(tmp_path / "cut/a.db3")
    assert kept == expected and 50 < len(kept) < COUNT
    assert all(rows[(s - START_NS) // 1000] == d for _, s, d in found)
    assert losses


def test_a_whole_file_loses_nothing(tmp_path):
    rows = database(tmp_path / "a.db3", sizes=lambda n: 9000 if n % 7 == 0 else 120)
    kept, _, losses = rescued(tmp_path / "a.db3")
    assert kept == set(rows) and losses == ()

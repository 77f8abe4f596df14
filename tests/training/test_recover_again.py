"""`roboalign recover` where something is already: the same stays, another needs --overwrite."""

from __future__ import annotations

import json

import pytest
from demo_bags import write_demo
from mcap_bags import make_rows, write_bag
from test_bag_storage import patched, raw
from test_definitions import GAUGE, GAUGE_TEXT, UNIT_TEXT, gauge, hand_in, sqlite
from test_recover import state

from roboalign_policy.core.recording.episodes import BAG_VERDICT
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.definition_folder import VARIABLE
from roboalign_training.bags.rescue import recovery
from roboalign_training.bags.rescue.recover_cli import main
from roboalign_training.bags.rescue.recovery import recover
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.index import load_index
from roboalign_training.shared.left_out import STRICT_STATUS
from roboalign_training.shared.outputs import OutputError, content_hash


@pytest.fixture
def damaged(tmp_path):
    """A damaged bag, `bag`, and what was recovered of it, `new`; the words of the command."""
    written = write_bag(tmp_path / "bag", make_rows(300))
    patched(written, written.parts[3][0] + 80, b"\xff\xff")
    words = [str(tmp_path / "bag"), "--out", str(tmp_path / "new")]
    assert main(words) == 0
    return words


def test_a_repeated_call_changes_not_one_byte_and_says_the_same(damaged, tmp_path, capsys):
    first = f"left out: {len(_lost(tmp_path))} messages (damaged or missing)"
    before = state(tmp_path / "new")
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "new").iterdir()}
    for more, status in ([], 0), (["--overwrite"], 0), (["--strict"], STRICT_STATUS):
        assert main([*damaged, *more]) == status
        said, last = capsys.readouterr().out.splitlines()
        assert said == (
            f"{tmp_path / 'new'}: was recovered from the same files before; nothing was changed"
        )
        assert last == first
    assert state(tmp_path / "new") == before
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "new").iterdir()} == stamps
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "new"]


def test_by_default_beside_the_recording_too(damaged, tmp_path):
    recover(tmp_path / "bag")
    assert recover(tmp_path / "bag").existed


def test_another_result_is_replaced_with_overwrite_alone(damaged, tmp_path, capsys):
    before = state(tmp_path / "new")
    assert main([*damaged, "--accept"]) == 2
    said = capsys.readouterr().err
    assert "new: was recovered otherwise: accepted: found false, now true; nothing was" in said
    assert "or replace it with --overwrite" in said and len(said.splitlines()) == 1
    assert state(tmp_path / "new") == before
    assert main([*damaged, "--accept", "--overwrite"]) == 0
    assert read_bag(tmp_path / "new").custom[BAG_VERDICT] == "fit"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "new"]


def test_a_recording_that_has_changed_is_another(damaged, tmp_path, capsys):
    write_bag(tmp_path / "bag", make_rows(20))
    assert main(damaged) == 2
    assert "recovered otherwise: files.bag_0.mcap: found " in capsys.readouterr().err
    assert main([*damaged, "--overwrite"]) == 0
    assert raw(read_bag(tmp_path / "new")) == make_rows(20)


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_what_is_no_recovered_bag_is_never_replaced(tmp_path, capsys, overwrite):
    write_bag(tmp_path / "bag", make_rows(20))
    write_bag(tmp_path / "other", make_rows(30))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = content_hash(tmp_path)
    for name in ("other", "notes", "file"):
        words = [str(tmp_path / "bag"), "--out", str(tmp_path / name), *overwrite]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"{tmp_path / name}: exists and is no recovered bag; nothing was changed" in said
    assert content_hash(tmp_path) == before


def test_files_of_somebody_else_are_not_lost_with_it(damaged, tmp_path, capsys):
    (tmp_path / "new/notes.txt").write_text("mine")
    assert main(damaged) == 0, "the same bag is left alone, whatever is with it"
    assert main([*damaged, "--accept", "--overwrite"]) == 2
    assert "holds notes.txt beside the bag that is to be replaced" in capsys.readouterr().err
    assert (tmp_path / "new/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("what", ["file", "other", "link"])
def test_what_comes_in_meanwhile_is_not_lost_with_it(damaged, tmp_path, capsys, monkeypatch, what):
    read, new = recovery.read_bag, tmp_path / "new"

    def read_and_meanwhile(path):
        if what == "file":
            (new / "notes.txt").write_text("mine")
        else:
            new.rename(tmp_path / "moved")
            new.mkdir() if what == "other" else new.symlink_to(tmp_path / "moved")
            (new / "notes.txt").write_text("mine")
        return read(path)

    monkeypatch.setattr(recovery, "read_bag", read_and_meanwhile)
    assert main([*damaged, "--accept", "--overwrite"]) == 2
    said = {"file": "holds notes.txt", "other": "is no recovered bag", "link": "found a link to"}
    assert said[what] in capsys.readouterr().err
    assert (new / "notes.txt").read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_link_is_refused(damaged, tmp_path, capsys):
    for name in ("new", "empty", "nothing"):
        (tmp_path / f"to_{name}").symlink_to(tmp_path / name)
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "nothing"):
        words = [damaged[0], "--out", str(tmp_path / f"to_{name}"), "--accept", "--overwrite"]
        assert main(words) == 2
        assert f"to_{name}: found a link to" in capsys.readouterr().err
        assert (tmp_path / f"to_{name}").is_symlink()
    assert list((tmp_path / "empty").iterdir()) == []


def test_the_folder_that_one_stands_in_is_a_place_like_others(
    damaged, tmp_path, capsys, monkeypatch
):
    (tmp_path / "here/in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    for out in (".", "in/.."):
        assert main([damaged[0], "--out", out]) == 2
        assert "here: exists and is no recovered bag; nothing was" in capsys.readouterr().err
    (tmp_path / "here/in").rmdir()
    assert main([damaged[0], "--out", "."]) == 0
    assert read_bag(tmp_path / "here").duration_s > 0
    monkeypatch.chdir(tmp_path)
    assert main([damaged[0], "--out", "third"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bag", "here", "new", "third"]


def test_a_recovered_bag_that_is_damaged_itself(damaged, tmp_path, capsys):
    file = next((tmp_path / "new").glob("*.mcap"))
    whole, content = state(tmp_path / "new"), file.read_bytes()
    for broken in (content[:1000], None):
        file.write_bytes(broken) if broken else file.unlink()
        assert main(damaged) == 2
        assert "new: is no whole recovered bag: " in capsys.readouterr().err
        assert main([*damaged, "--overwrite"]) == 0
        assert state(tmp_path / "new") == whole


def test_definitions_that_are_handed_in_make_another_bag(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    file = sqlite(tmp_path / "a.db3", "/gauge", GAUGE, [gauge(1.5)])
    words = [str(file), "--out", str(tmp_path / "new")]
    assert main(words) == 0 and main(words) == 0
    files = {"msg/Gauge.msg": GAUGE_TEXT, "msg/Unit.msg": UNIT_TEXT}
    more = ["--definitions", str(hand_in(tmp_path / "lab_msgs", files))]
    capsys.readouterr()
    assert main([*words, *more]) == 2
    assert f"otherwise: definitions.{GAUGE}: found null, now " in capsys.readouterr().err
    assert main([*words, *more, "--overwrite"]) == 0
    assert main([*words, *more]) == 0
    monkeypatch.setenv(VARIABLE, "")
    assert main(words) == 2


def test_the_new_bag_never_lies_in_the_recording(tmp_path, capsys):
    write_demo(tmp_path / "bags/ep0", count=10)
    file = next((tmp_path / "bags/ep0").glob("*.mcap"))
    before = content_hash(tmp_path)
    for path, out, how in (
        ("bags/ep0", "bags/ep0", "is"),
        ("bags/ep0", "bags/ep0/new", "lies in"),
        ("bags/ep0", "bags", "holds"),
        (file, "bags/ep0", "holds"),
    ):
        assert main([str(tmp_path / path), "--out", str(tmp_path / out), "--overwrite"]) == 2
        assert (
            f"--out: found {tmp_path / out}, which {how} what is read" in capsys.readouterr().err
        )
    assert content_hash(tmp_path) == before


def test_what_a_killed_recovery_left_is_no_obstacle(damaged, tmp_path):
    left = tmp_path / ".again.recovering/.again.partial"
    left.mkdir(parents=True)
    (left / "again_0.mcap").write_bytes(b"half")
    assert main([*damaged[:2], str(tmp_path / "again")]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again", "bag", "new"]


def test_two_recoveries_of_one_name(damaged, tmp_path, capsys, monkeypatch):
    def busy(folder):
        raise OutputError(f"{folder}: another process is writing there")

    monkeypatch.setattr("roboalign_training.bags.rescue.recovered.only_writer", busy)
    assert main([*damaged[:2], str(tmp_path / "again")]) == 2
    assert "again.recovering: another process is writing there" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_the_record_says_what_the_last_line_said(damaged, tmp_path):
    record = json.loads(read_bag(tmp_path / "new").custom["roboalign.recovered"])
    assert record["left_out"]["message"] == {"damaged or missing": len(_lost(tmp_path))}


def _lost(folder):
    kept = set(raw(read_bag(folder / "new")))
    return [row for row in make_rows(300) if row not in kept]


def test_no_data_set_takes_its_place(tmp_path, damaged, capsys):
    write_demo(tmp_path / "ep", count=20)
    build_dataset([tmp_path / "ep"], None, tmp_path / "data")
    assert main([*damaged[:2], str(tmp_path / "data"), "--overwrite"]) == 2
    assert "which is a data set, expected a new folder or a recording" in capsys.readouterr().err
    assert len(load_index(tmp_path / "data").episodes) == 1

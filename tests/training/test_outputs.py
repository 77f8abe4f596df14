"""The rule about results that are there already, and errors of writing, by themselves."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from roboalign_training.shared.differences import differences
from roboalign_training.shared.outputs import (
    Found,
    OutputError,
    beside,
    content_hash,
    judge,
    only_writer,
    publish,
    publish_files,
    remove,
)
from roboalign_training.shared.write_errors import write_fault, writing

PRODUCTS = ("run.json", "metrics.jsonl", "checkpoint-*", "policy")


@pytest.fixture
def run(tmp_path):
    """A finished run, and a file of somebody else's beside it."""
    (tmp_path / "run.json").write_text(json.dumps({"steps": 3, "trainer": {"rate": 0.1}}))
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "weights").write_text("w")
    (tmp_path / "notes.txt").write_text("mine")
    return tmp_path


def judged(folder, wanted, **options):
    return judge(folder, "run.json", wanted, PRODUCTS, **{"finished": True, **options})


def test_the_four_things_that_can_be_there(run, tmp_path):
    same = {"steps": 3, "trainer": {"rate": 0.1}}
    before = content_hash(run)
    assert judged(run, same) is Found.FINISHED
    assert judged(run, same, finished=False) is Found.UNFINISHED
    assert judged(run, {"steps": 4}, overwrite=True) is Found.NOTHING
    assert judged(tmp_path / "new", same) is Found.NOTHING
    with pytest.raises(OutputError) as fault:
        judged(run, {"steps": 4, "trainer": {"rate": 0.2}})
    assert "steps: found 3, now 4; trainer.rate: found 0.1, now 0.2" in str(fault.value)
    assert "nothing was changed: choose another folder, or add --overwrite" in str(fault.value)
    assert judged(run, {"steps": 4}, ignored=["steps"]) is Found.FINISHED
    assert content_hash(run) == before


def test_products_without_a_record_are_refused(run):
    for text in (None, "{", "[1]"):
        (run / "run.json").unlink(missing_ok=True)
        if text is not None:
            (run / "run.json").write_text(text)
        with pytest.raises(OutputError, match="checkpoint-2.* without a readable run.json"):
            judged(run, {"steps": 3})
    with pytest.raises(OutputError, match="found a file, expected a folder"):
        judged(run / "notes.txt", {})


def test_only_what_the_command_made_is_removed(run):
    remove(run, PRODUCTS)
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


def test_differences_know_what_comes_back_from_json():
    assert differences({"a": [1, 2], "b": 1}, {"a": (1, 2), "c": 5}) == []
    assert differences({"a": None}, {"a": "x" * 99}) == [
        f'a: found null, now "{"x" * 56}...',
    ]


def test_a_result_that_is_the_same_to_the_byte_stays(tmp_path):
    target = tmp_path / "page.html"
    for text, changed in (("one", True), ("one", False)):
        fresh = beside(target)
        fresh.write_text(text)
        assert publish(fresh, target) is changed
        assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    stamp = target.stat().st_mtime_ns
    fresh.write_text("two")
    with pytest.raises(OutputError, match=r"page.html: exists and is not what this command would"):
        publish(fresh, target)
    assert (target.read_text(), target.stat().st_mtime_ns) == ("one", stamp)
    assert not fresh.exists()
    fresh.write_text("two")
    assert publish(fresh, target, overwrite=True)
    assert target.read_text() == "two"


def folder_of(path, text):
    path.mkdir()
    (path / "file").write_text(text)
    return path


@pytest.mark.parametrize("came_in", [False, True])
def test_a_folder_whose_successor_does_not_come_is_put_back(tmp_path, monkeypatch, came_in):
    target, rename = folder_of(tmp_path / "bag", "old"), Path.rename
    fresh = folder_of(tmp_path / "fresh", "new")

    def fails(self, to):
        if self == fresh:
            if came_in:
                folder_of(to, "another's")
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output error"):
        publish(fresh, target, overwrite=True)
    assert (target / "file").read_text() == ("another's" if came_in else "old")
    others = [path for path in tmp_path.iterdir() if path != target]
    assert [(path / "file").read_text() for path in others] == ["old"] * came_in


@pytest.mark.parametrize("there", ["folder", "file", "nothing"])
def test_a_link_is_no_place_for_a_result(tmp_path, there):
    folder_of(tmp_path / "folder", "mine")
    (tmp_path / "file").write_text("mine")
    before = content_hash(tmp_path)
    (tmp_path / "results").mkdir()
    target = tmp_path / "results/link"
    target.symlink_to(tmp_path / there)
    with pytest.raises(OutputError, match="link: found a link to .*; nothing was changed"):
        publish(folder_of(beside(target), "new"), target, overwrite=True)
    fresh = beside(tmp_path / "results")
    fresh.mkdir()
    (fresh / "a.png").write_text("a")
    (fresh / "link").write_text("new")
    with pytest.raises(OutputError, match="link: found a link to"):
        publish_files(fresh, tmp_path / "results", overwrite=True)
    assert list((tmp_path / "results").iterdir()) == [target] and target.is_symlink()
    target.unlink()
    (tmp_path / "results").rmdir()
    assert content_hash(tmp_path) == before


def test_of_several_files_all_or_none_are_put_in_place(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "b.png").write_text("another")
    (folder / "mine.txt").write_text("mine")

    def made():
        fresh = beside(folder)
        fresh.mkdir()
        (fresh / "a.png").write_text("a")
        (fresh / "b.png").write_text("b")
        return fresh

    with pytest.raises(OutputError, match="b.png: exists"):
        publish_files(made(), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["b.png", "mine.txt"]
    publish_files(made(), folder, overwrite=True)
    assert (folder / "b.png").read_text() == "b"
    assert (folder / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_two_writers_of_one_folder(tmp_path):
    program = (
        "import sys, pathlib\n"
        "from roboalign_training.shared.outputs import only_writer\n"
        "with only_writer(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another process is writing there"):
            with only_writer(tmp_path):
                pass
        other.communicate("")
    with only_writer(tmp_path):
        assert list(tmp_path.iterdir()) == [], "no file of the lock's own"


def test_a_full_disk_is_named_with_what_was_written(tmp_path):
    """/dev/full answers each write as a full disk does, without a name in the error."""
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    target = tmp_path / "metrics.jsonl"
    target.symlink_to("/dev/full")
    with pytest.raises(OSError) as bare, target.open("w") as stream:
        stream.write("x")
    assert bare.value.filename is None
    with pytest.raises(OSError) as named, writing(target, "metrics"), target.open("w") as stream:
        stream.write("x")
    fault = write_fault(named.value)
    assert fault.startswith(f"{target}: No space left on device, writing metrics (")
    assert "MB free); make room and give the same command again" in fault
    assert str(target) in str(named.value), "also where a command prints the error itself"


def test_a_full_disk_in_a_librarys_own_words(tmp_path):
    with pytest.raises(OSError) as fault, writing(tmp_path, "the policy"):
        raise RuntimeError("Error while serializing: No space left on device (os error 28)")
    assert fault.value.errno == errno.ENOSPC
    assert f"{tmp_path}: No space left on device, writing the policy" in write_fault(fault.value)
    with pytest.raises(RuntimeError, match="another matter"), writing(tmp_path, "the policy"):
        raise RuntimeError("another matter")


def test_where_nothing_is_named_the_command_line_is(tmp_path):
    error = OSError(errno.ENOSPC, "No space left on device")
    fault = write_fault(error, ["bag", "--out", str(tmp_path / "new" / "set")])
    assert "No space left on device (" in fault
    arrow = OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space ...")
    assert write_fault(arrow, [str(tmp_path)]).startswith(f"{tmp_path}: No space left on device (")
    assert write_fault(FileNotFoundError(errno.ENOENT, "no such file", "x")) is None
    read_only = PermissionError(errno.EACCES, "Permission denied", str(tmp_path))
    assert write_fault(read_only) == f"{tmp_path}: Permission denied"

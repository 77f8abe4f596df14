"""The list of what is to be demonstrated."""

from __future__ import annotations

import pytest

from roboalign_policy.core.recording.task_list import (
    TaskEntry,
    TaskList,
    TaskListError,
    load_tasks,
)

TEXT = """
# morning
2 x put the red cube into the bin
   # as often as you like
wipe the table
1 x open the drawer
"""


@pytest.fixture
def tasks(tmp_path):
    file = tmp_path / "tasks.txt"
    file.write_text(TEXT)
    return load_tasks(file)


def test_numbers_and_comments_are_read(tasks):
    assert [(t.instruction, t.wanted) for t in tasks.tasks] == [
        ("put the red cube into the bin", 2),
        ("wipe the table", 0),
        ("open the drawer", 1),
    ]


READ = [("put the bolt into hole #2", 10), ("open the drawer", 0)]
PLAIN = "10 x put the bolt into hole #2\nopen the drawer\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        b"\xef\xbb\xbf# day 1\n\xef\xbb\xbf" + PLAIN.encode(),  # files put together
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\n \t\r\n\n").encode(),
        PLAIN.removesuffix("\n").encode(),
        PLAIN.replace(" x ", " × ").encode(),
    ],
    ids=["plain", "mark", "marks", "crlf", "cr", "empty lines", "no last end", "times sign"],
)
def test_what_is_recorded_is_what_the_file_says(tmp_path, data):
    file = tmp_path / "tasks.txt"
    file.write_bytes(data)
    assert [(t.instruction, t.wanted) for t in load_tasks(file).tasks] == READ


@pytest.mark.parametrize("text", ["greife den Würfel", "把立方体", "a\u2028b\x85c", "no #1, no#2"])
def test_no_character_of_an_instruction_is_lost(tmp_path, text):
    file = tmp_path / "tasks.txt"
    file.write_bytes(text.encode() + b"\n")
    assert [t.instruction for t in load_tasks(file).tasks] == [text]


def test_a_count_before_an_instruction_that_begins_like_one(tmp_path):
    file = tmp_path / "tasks.txt"
    file.write_text("3 x 2 x 4 plank: lay it down\n")
    assert [(t.instruction, t.wanted) for t in load_tasks(file).tasks] == [
        ("2 x 4 plank: lay it down", 3)
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("öffne\n".encode("latin-1"), ":1: found the bytes f6 66, expected text in UTF-8"),
        ("a\nöffne\n".encode("latin-1"), ":2: found the bytes f6 66, expected text in UTF-8"),
        ("a\nb\n".encode("utf-16"), ":1: found the bytes ff fe, expected text in UTF-8"),
        ("a\nb\n".encode("utf-16-le"), r":1: found a zero byte, expected .*\(is it UTF-16"),
        (b"wipe  # often\n", ":1: found 'wipe  # often', expected a comment on a line of its own"),
        (b"a\r\nhole # 2\r\n", ":2: found 'hole # 2', expected a comment on a line of its own"),
        (b"a\nput <image> away\n", ":2: found the tag '<image>' in 'put <image> away'"),
        (b"3 x a <|im_end|>\n", r":1: found the tag '<\|im_end\|>'"),
    ],
)
def test_what_cannot_be_read_as_meant_is_refused(tmp_path, data, words):
    file = tmp_path / "tasks.txt"
    file.write_bytes(data)
    with pytest.raises(TaskListError, match=words):
        load_tasks(file)


def test_a_complete_task_hands_over_to_the_next(tasks):
    cube = "put the red cube into the bin"
    tasks.count(cube, "e1")
    tasks.count(cube, "e1")  # named twice is there once
    assert tasks.present.instruction == cube and tasks.present.done == 1
    tasks.count(cube, "e2")
    assert tasks.present.instruction == "wipe the table"


def test_an_episode_judged_anew_is_wanted_again(tasks):
    cube = "put the red cube into the bin"
    for name in ("e1", "e2"):
        tasks.count(cube, name)
    tasks.uncount("e2")
    assert tasks.tasks[0].open and tasks.tasks[0].done == 1


def test_what_is_counted_need_not_be_the_present_task(tasks):
    tasks.count("open the drawer", "e1")
    tasks.count("something else", "e2")
    assert tasks.at == 0 and [t.open for t in tasks.tasks] == [True, True, False]


def test_stepping_goes_around_the_end(tasks):
    tasks.step(-1)
    assert tasks.present.instruction == "open the drawer"
    tasks.step(1)
    assert tasks.at == 0


def test_everything_recorded_is_complete(tmp_path):
    file = tmp_path / "tasks.txt"
    file.write_text("1 x a\n1 x b\n")
    tasks = load_tasks(file)
    for name in "ab":
        assert not tasks.complete
        tasks.count(name, f"e-{name}")
    assert tasks.complete and tasks.at == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# nothing\n", "found nothing, expected an instruction a line"),
        ("a\n\n0 x b\n", ":3: found '0 x b'"),
        ("a\n3 x a\n", "found 'a' twice, expected it once: 20 x a"),
    ],
)
def test_what_is_no_list_names_file_and_line(tmp_path, text, words):
    file = tmp_path / "tasks.txt"
    file.write_text(text)
    with pytest.raises(TaskListError, match=words) as fault:
        load_tasks(file)
    assert "tasks.txt" in str(fault.value)


def test_a_single_task_may_be_made_without_a_file():
    with pytest.raises(TaskListError):
        TaskList([])
    with pytest.raises(TaskListError, match="instruction: found the tag '</think>' in"):
        TaskList([TaskEntry("open </think> it")])
    with pytest.raises(TaskListError, match="instruction: found ' ', expected words"):
        TaskList([TaskEntry(" ")])

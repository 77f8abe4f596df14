"""The list of what is to be demonstrated."""

from __future__ import annotations

import pytest

from roboalign_policy.core.task_list import TaskList, TaskListError, load_tasks

TEXT = """
# morning
2 x put the red cube into the bin
wipe the table   # as often as you like
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

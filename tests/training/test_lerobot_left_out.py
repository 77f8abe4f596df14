"""What import and export leave out is counted, said last, and a status with --strict."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from lerobot_sets import (
    ACTION,
    SHAPE,
    STATE,
    TOP,
    edit_info,
    edit_rows,
    make_dataset,
    make_v21,
    so101_contract,
    write_lines,
)
from lerobot_v30 import VIDEO, make_v30

from roboalign_training.bags.errors import DatasetError
from roboalign_training.data.index import load_index
from roboalign_training.lerobot import export_cli, import_cli
from roboalign_training.lerobot.importing import import_dataset
from roboalign_training.shared.left_out import STRICT_STATUS

CONTRACT = so101_contract("image.top", SHAPE, rate_hz=10.0)


@pytest.fixture
def command(tmp_path):
    """An import from `cubes` to `ours`."""
    (tmp_path / "arm.yaml").write_text(CONTRACT.to_yaml())
    return [
        *(str(tmp_path / "cubes"), "--out", str(tmp_path / "ours")),
        *("--contract", str(tmp_path / "arm.yaml")),
    ]


def last_line(capsys):
    """The last line of standard output."""
    return capsys.readouterr().out.rstrip("\n").rpartition("\n")[2]


def test_nothing_left_out_is_said(tmp_path, command, capsys):
    make_v21(tmp_path / "cubes")
    assert import_cli.main([*command, "--strict"]) == 0
    assert last_line(capsys) == "left out: nothing"


def test_every_skip_is_in_the_last_line_the_first_time_and_every_other(tmp_path, command, capsys):
    made = make_v21(tmp_path / "cubes", lengths=(12, 12, 12, 12, 2, 12, 3))
    edit_rows(made[0]["data"], task_index=[0] * 6 + [1] * 6)
    states = made[1]["states"].copy()
    states[4, 2] = states[6, 2] = states[6, 3] = np.nan
    edit_rows(made[1]["data"], **{STATE: list(states)})
    actions = made[2]["actions"].copy()
    actions[7, 1] = 40.0
    edit_rows(made[2]["data"], **{ACTION: list(actions)})
    edit_rows(made[3]["data"], timestamp=np.arange(12, dtype=np.float32))
    line = (
        "left out: 5 episodes (2 too short, 1 whose task changes, 1 unsafe, 1 with times that are "
        "not those of its frames), 2 frames (with a value that is not finite)"
    )
    for strict, status in ((False, 0), (True, STRICT_STATUS)):
        assert import_cli.main([*command, *(["--strict"] if strict else [])]) == status
        printed = capsys.readouterr()
        assert printed.out.rstrip("\n").rpartition("\n")[2] == line
        assert "left out: cubes-000000: its task changes" in printed.err


def test_what_cannot_be_read_counts_too(tmp_path, command, capsys):
    made = make_v21(tmp_path / "cubes")
    made[1]["video"].write_bytes(made[1]["video"].read_bytes()[:900])
    assert import_cli.main(command) == 1
    assert last_line(capsys) == "left out: 1 episode (that cannot be read)"


def test_export_says_what_lerobot_has_no_place_for(tmp_path, capsys):
    make_dataset(tmp_path / "ours", holes=(4, 5, 8))
    command = [str(tmp_path / "ours"), "--out", str(tmp_path / "theirs"), "--images", "png"]
    for strict, status in ((False, 0), (True, STRICT_STATUS)):  # the second time it is there
        assert export_cli.main([*command, *(["--strict"] if strict else [])]) == status
        assert last_line(capsys) == "left out: 2 gaps (for which LeRobot has no place)"
    make_dataset(tmp_path / "whole")
    command = [str(tmp_path / "whole"), "--out", str(tmp_path / "other"), "--strict"]
    assert export_cli.main(command) == 0
    assert last_line(capsys) == "left out: nothing"


# Instructions with tags


@pytest.mark.parametrize(
    ("part", "fault", "cause"),
    [
        ("<image>", "found the tag '<image>' in", "a tag"),
        ("[/INST]", "found the tag '[/INST]' in", "a tag"),
        ("\0", "found the control character U+0000 in", "a character that nobody sees"),
        (
            "\u202e",
            "found the invisible character U+202E (RIGHT-TO-LEFT OVERRIDE) in",
            "a character that nobody sees",
        ),
    ],
)
def test_an_episode_whose_task_is_no_words_is_left_out_by_name(tmp_path, part, fault, cause):
    make_v30(tmp_path / "cubes", tasks=(f"pick {part} up", "close the drawer"))
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert done.added == ["cubes-000001"]
    assert done.skipped[0]["reason"].startswith(f"instruction: {fault} 'pick ")
    assert done.left_out.to_dict() == {"episode": {f"whose instruction holds {cause}": 2}}


def test_an_instruction_with_a_tag_is_refused_before_anything_is_made(tmp_path, command, capsys):
    make_v30(tmp_path / "cubes")
    assert import_cli.main([*command, "--instruction", "go <|im_end|>"]) == 2
    assert "--instruction: found the tag '<|im_end|>'" in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("text", ["open\u2028the drawer", "open\x85the drawer"])
def test_tasks_with_other_ends_of_lines(tmp_path, text):
    made = make_v21(tmp_path / "cubes")
    tasks = [{"task_index": 0, "task": text}, {"task_index": 1, "task": "close it"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in tasks)
    (tmp_path / "cubes/meta/tasks.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    episodes = [
        {"episode_index": n, "tasks": [text], "length": len(e["states"])} for n, e in made.items()
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in episodes)
    (tmp_path / "cubes/meta/episodes.jsonl").write_bytes(lines.encode())
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert [done.index.episodes[f"cubes-{n:06d}"]["instruction"] for n in range(3)] == [
        text,
        "close it",
        text,
    ]


# Features that the contract does not take

SIDE = "observation.images.side"


def add_side(folder, **about):
    """Says that there is another camera, of which nothing else is known."""
    video = {"dtype": "video", "shape": [4, 4, 3], "names": ["height", "width", "channels"]}
    edit_info(folder, lambda info: info["features"].update({SIDE: {**video, **about}}))


@pytest.mark.parametrize("make", [make_v21, make_v30])
def test_videos_that_nobody_asks_for_need_not_be_there(tmp_path, make, command, capsys):
    make(tmp_path / "cubes")
    add_side(tmp_path / "cubes")
    assert import_cli.main([*command, "--strict"]) == 0
    assert f"not taken: {SIDE}" in capsys.readouterr().out
    origin = load_index(tmp_path / "ours").episodes["cubes-000000"]["origin"]
    assert not [file for file in origin["files"] if SIDE in file]


def test_a_video_that_is_asked_for_must_be_listed(tmp_path):
    make_v30(tmp_path / "cubes")
    add_side(tmp_path / "cubes", shape=list(SHAPE))
    with pytest.raises(DatasetError) as error:
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT, maps={SIDE: "image.top"})
    assert f"videos/{SIDE}/chunk_index of episode 0: found None, expected a number" in str(
        error.value
    )
    assert not (tmp_path / "ours").exists()


def test_a_set_without_a_pattern_for_the_videos_that_are_asked_for(tmp_path):
    make_v21(tmp_path / "cubes")
    edit_info(tmp_path / "cubes", lambda info: info.update(video_path=None))
    with pytest.raises(DatasetError, match=f"{TOP}: .*video_path: found None, which names no"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)


# Metadata that contradicts itself


def test_an_episode_that_is_listed_twice_is_refused(tmp_path):
    make_v21(tmp_path / "cubes")
    rows = [{"episode_index": n, "tasks": ["x"], "length": 12} for n in (0, 0, 1)]
    write_lines(tmp_path / "cubes/meta/episodes.jsonl", rows)
    with pytest.raises(DatasetError, match="episode_index 0 is listed twice"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)


@pytest.mark.parametrize("value", [None, "12", -1, 2.5])
def test_a_length_that_is_none_is_refused(tmp_path, value):
    make_v21(tmp_path / "cubes")
    rows = [{"episode_index": n, "tasks": ["x"], "length": value} for n in range(3)]
    write_lines(tmp_path / "cubes/meta/episodes.jsonl", rows)
    with pytest.raises(DatasetError, match="length: found .*, expected a whole number"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)


@pytest.mark.parametrize(
    "tasks",
    [
        pd.DataFrame({"task_index": [0, 1], "task": ["a", "b"]}),
        pd.DataFrame({"task": ["a", "b"]}, index=pd.Index([0, 1], name="task_index")),
        pd.DataFrame({"task_index": [0, 1]}, index=pd.Index(["a", "b"], name="task")),
    ],
)
def test_tasks_in_the_index_or_in_a_column(tmp_path, tasks):
    make_v30(tmp_path / "cubes")
    tasks.to_parquet(tmp_path / "cubes/meta/tasks.parquet")
    done = import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert [e["instruction"] for e in done.index.episodes.values()] == ["a", "b", "a"]


def test_numbers_are_no_tasks(tmp_path):
    make_v30(tmp_path / "cubes")
    tasks = pd.DataFrame({"task_index": [0, 1]}, index=[5, 6])
    tasks.to_parquet(tmp_path / "cubes/meta/tasks.parquet")
    with pytest.raises(DatasetError, match="no texts in it, expected them in the index"):
        import_dataset(tmp_path / "cubes", tmp_path / "ours", CONTRACT)
    assert (tmp_path / "cubes" / VIDEO).is_file()

"""The balance sheet: all that is in a bag has a place in it, or the conversion says so."""

from __future__ import annotations

import json
import shutil

import pyarrow.parquet as pq
import pytest
from conversion_bags import JPEG, RAW, Trouble, two_cameras, write_bag
from demo_bags import write_demo

from roboalign_training.bags.errors import DatasetError
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.balance import balance_faults
from roboalign_training.conversion.balance_table import balance_rows
from roboalign_training.conversion.build import build_dataset, find_bags
from roboalign_training.conversion.entering import check_balance
from roboalign_training.conversion.kinds import kind_of
from roboalign_training.data.index import load_index
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.look import inspect_cli

MARKERS = (
    (0.1, 1.2, "one", "success"),
    (1.4, 2.4, "two", "success"),
    (2.5, 2.9, "bad", "failure"),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A data set of a marked recording with all kinds of trouble, and its index."""
    folder = tmp_path_factory.mktemp("balance")
    trouble = Trouble(lost=0.05, jitter_s=0.02, bad_heads=0.05, bad_pixels=0.1)
    path = write_bag(folder / "a.mcap", 3.0, trouble=trouble, markers=MARKERS)
    recipe = Recipe(min_frames=1, max_gap_s=9.0)
    index = build_dataset([path], two_cameras(), folder / "set", recipe=recipe,
                          segment_bytes=40_000)  # fmt: skip
    return folder, index


def test_the_sums_of_a_recording_of_several_episodes(made):
    folder, index = made
    (sheet,) = json.loads((folder / "set/dataset.json").read_text())["balance"]
    assert sheet == next(iter(index.balance.values()))
    assert sheet["episodes"] == {"found": 3, "taken": 2, "left_out": {"outcome": 1}}
    frames, images = sheet["frames"], sheet["images"]
    assert frames["kept"] == index.frames > 10
    assert frames["times"] == frames["kept"] + frames["dropped"] + frames["trimmed"]
    assert images["used"] == images["decoded"] == images["passed_through"] + images["encoded"]
    assert images["in_frames"] == 2 * frames["kept"]
    assert images["undecodable"] > 0
    for name in (RAW, JPEG):
        topic = sheet["topics"][name]
        assert 0 < topic["unreadable"] < topic["read"] < topic["promised"]
    assert load_index(folder / "set").balance == index.balance


def test_a_whole_recording_is_read_to_the_last_message(tmp_path):
    path = write_bag(tmp_path / "a.mcap", 1.0)
    index = build_dataset([path], two_cameras(), tmp_path / "set", recipe=Recipe(min_frames=1))
    (sheet,) = index.balance.values()
    assert all(t["read"] == t["promised"] > 0 for t in sheet["topics"].values())
    assert sheet["whole"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda s: s["episodes"].update(taken=3), "episodes taken and left out: found 4"),
        (lambda s: s["episodes"]["left_out"].clear(), "episodes taken and left out: found 2"),
        (lambda s: s["frames"].update(dropped=77), "frame times kept, dropped, trimmed"),
        (lambda s: s["frames"].update(times=s["frames"]["times"] + 1), "frame times kept"),
        (lambda s: s["images"].update(decoded=1), "images decoded: found 1"),
        (lambda s: s["images"].update(encoded=1), "images passed through and encoded"),
        (lambda s: s["topics"][RAW].update(read=10**6), f"messages read of {RAW}, at most"),
        (lambda s: s["topics"][RAW].update(unreadable=10**6), "unreadable messages of"),
        (lambda s: (s.update(whole=True), s["topics"][RAW].update(read=1)), "messages read of"),
    ],
)
def test_what_does_not_add_up_is_found(made, change, fault):
    sheet = json.loads(json.dumps(next(iter(made[1].balance.values()))))
    assert balance_faults(sheet, sheet["frames"]["kept"]) == []
    change(sheet)
    assert any(fault in found for found in balance_faults(sheet, sheet["frames"]["kept"]))


def test_files_that_hold_less_than_was_kept_are_an_error(made, tmp_path):
    folder, _ = made
    shutil.copytree(folder / "set", tmp_path / "set")
    index = load_index(tmp_path / "set")
    check_balance(index)
    path = tmp_path / "set/data/episode-two.parquet"
    table = pq.ParquetFile(path).read()
    pq.write_table(table.slice(0, len(table) - 1), path)
    with pytest.raises(DatasetError, match="frames in the files of the data set: found"):
        check_balance(index)


def test_the_command_fails_loudly_where_sums_do_not_agree(tmp_path, monkeypatch, capsys):
    """As if a frame had been lost on the way."""
    from roboalign_training.conversion import episode_job

    real = episode_job.add_frames

    def one_less(balance, plan, *, taken):
        real(balance, plan, taken=taken)
        balance["frames"]["kept"] -= 1

    monkeypatch.setattr(episode_job, "add_frames", one_less)
    path = write_bag(tmp_path / "a.mcap", 1.0)
    (tmp_path / "c.yaml").write_text(two_cameras().to_yaml())
    arguments = [str(path), "--contract", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "s")]
    assert convert_cli.main([*arguments, "--min-frames", "1"]) == 1
    assert "balance sheet does not agree" in capsys.readouterr().err.replace("\n", " ")


def test_kinds_of_what_is_left_out(tmp_path):
    """Each reason that a data set gives has its kind."""
    write_demo(tmp_path / "good", seed=1)
    write_demo(tmp_path / "other" / "good", seed=2)
    write_demo(tmp_path / "short", count=3)
    write_demo(tmp_path / "gap", count=30, without_command=tuple(range(10, 18)))
    write_demo(tmp_path / "failed", outcome="failure")
    write_demo(tmp_path / "unfit", verdict="unfit: no image")
    write_demo(tmp_path / "silent", without_command=tuple(range(20)))
    bags = find_bags([tmp_path])
    index = build_dataset(bags, None, tmp_path / "set")
    kinds = {}
    for sheet in index.balance.values():
        assert sheet["episodes"]["found"] == 1
        kinds[sheet["source"]] = next(iter(sheet["episodes"]["left_out"]), "taken")
    assert kinds == {
        "../good": "taken",
        "../other/good": "duplicate id",
        "../short": "too short",
        "../gap": "gap",
        "../failed": "outcome",
        "../unfit": "unfit by the recorder's verdict",
        "../silent": "does not fit the contract",
    }
    short = next(s for s in index.balance.values() if s["source"] == "../short")
    assert short["frames"]["left_out"] == short["frames"]["times"] == 3
    twice = next(s for s in index.balance.values() if s["source"] == "../other/good")
    assert twice["frames"]["kept"] == 0
    assert twice["frames"]["left_out"] == 20


LACKS, CAMERA = "topics of contract lab:", "camera/side (sensor_msgs/msg/Image)"
OTHER = "does not fit the contract"


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("unsafe: action gripper of frame 7 is 3, limits [-1, 1]", "unsafe"),
        ("recovered, and a part is lost: chunk", "damaged"),
        ("topic /a: 3 of 4 messages read", "damaged"),
        ("episode 'x' starts and never ends", "without its other marker"),
        ("no instruction: none given", "instruction"),
        ("ee_pose: the clock goes back by 3.000 s after message 10", "clock"),
        ("no readable message of image.front. x", "unreadable"),
        ("no message of image.side, image.top.", "camera missing"),
        ("no message of image.side, state.ee.", "unreadable"),
        ("no message of state.joints.", "unreadable"),
        (f"{LACKS} {CAMERA} is missing. The bag has /x (y)", "camera missing"),
        (
            f"{LACKS} {CAMERA} holds no message; {CAMERA} is missing. The bag has x",
            "camera missing",
        ),
        (f"{LACKS} {CAMERA} is missing; t (a/msg/B) is missing. The bag has /x (y)", OTHER),
        (f"{LACKS} {CAMERA} is missing; /t has type a/msg/B, expected a/msg/C. The bag", OTHER),
        ("namespaces /a/, /b/ all hold the contract's topics", "does not fit the contract"),
    ],
)
def test_kinds(reason, kind):
    assert kind_of(reason) == kind


def test_tables_read_as_sums(made, capsys):
    folder, index = made
    header, row = balance_rows(list(index.balance.values()))
    assert header == ["bag", "messages read", "episodes", "frame times", "images in frames"]
    assert row[0] == "a.mcap"
    assert row[2] == "3 = 2 taken + 1 left out: outcome"
    sheet = next(iter(index.balance.values()))
    assert row[3].startswith(f"{sheet['frames']['times']} = {sheet['frames']['kept']} kept + ")
    rows = balance_rows([sheet, sheet])
    assert rows[-1][:1] == ["all 2"]
    assert rows[-1][2] == "6 = 4 taken + 2 left out: outcome"
    assert inspect_cli.main([str(folder / "set")]) == 0
    shown = capsys.readouterr().out
    assert "balance" in shown
    assert "images: auto" in shown


def test_the_command_prints_the_balance_and_its_speed(tmp_path, capsys):
    path = write_bag(tmp_path / "a.mcap", 1.0)
    (tmp_path / "c.yaml").write_text(two_cameras().to_yaml())
    arguments = [str(path), "--contract", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "s")]
    options = ["--min-frames", "1", "--images", "jpeg", "--quality", "80"]
    assert convert_cli.main([*arguments, *options]) == 0
    printed = capsys.readouterr().err
    assert "balance" in printed
    assert "messages of a.mcap" in printed
    assert "MB/s" in printed
    assert convert_cli.main([*arguments, "--max-memory", "much"]) == 2
    assert "--max-memory: found 'much'" in capsys.readouterr().err
    assert convert_cli.main([*arguments, "--images", "png", "--quality", "3"]) == 2
    assert "quality: found 3" in capsys.readouterr().err.replace("\n", " ")

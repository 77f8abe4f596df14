"""`roboalign inspect`: figures of a bag and of a data set, faults by the contract, pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from demo_bags import sim_contract, write_demo
from lerobot_sets import make_dataset
from PIL import Image
from rich.console import Console

from roboalign_training.bags.bags import read_bag
from roboalign_training.conversion.build import build_dataset
from roboalign_training.data.fit import fit_dataset
from roboalign_training.look import inspect_cli
from roboalign_training.look.inspect import inspect_bag
from roboalign_training.look.inspect_views import View

SHARED = next(
    (p / "shared/data" for p in Path(__file__).resolve().parents if (p / "shared/data").is_dir()),
    None,
)


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    """So that no cell of a table is folded."""
    monkeypatch.setenv("COLUMNS", "300")


def test_rates_and_gaps_are_measured(tmp_path):
    demo = write_demo(tmp_path / "ep", count=21, without_image=(5, 6, 7, 8))
    report = inspect_bag(read_bag(demo.folder), sim_contract())
    topics = {t.name: t for t in report.topics}
    pose = topics["/ee_pose"]
    assert (pose.count, pose.role, pose.faults) == (21, "state.ee", ())
    assert pose.rate_hz == pytest.approx(10.0)
    assert pose.max_gap_s == pytest.approx(0.1)
    image = topics["/camera/front/image_raw"]
    assert image.count == 17
    assert image.rate_hz == pytest.approx(8.0)
    assert image.max_gap_s == pytest.approx(0.5)
    assert image.faults == ("gap of 0.50 s after message 5, max_age_s is 0.3 s",)
    (episode,) = report.episodes
    assert episode.fault is None
    assert len(episode.frames) == 20
    assert episode.frames.dropped == {"image.front: stale": 1}


def test_slow_stream_is_a_fault(tmp_path):
    demo = write_demo(tmp_path / "ep", count=20, without_command=tuple(range(1, 19, 2)))
    report = inspect_bag(read_bag(demo.folder), sim_contract())
    twist = next(t for t in report.topics if t.name == "/servo_node/delta_twist_cmds")
    assert twist.role == "command"
    assert twist.faults == ("5.3 Hz, expected 10 Hz",)


def test_bag_in_the_terminal(tmp_path, capsys):
    demo = write_demo(tmp_path / "ep", count=20)
    assert inspect_cli.main([str(demo.folder)]) == 0
    shown = capsys.readouterr().out
    for text in ("120 messages on 6 topics", "sim_panda", "image.front", "10.0", "longest gap [s]",
                 "put the red cube on the blue plate", "gripper", "0.05 m"):  # fmt: skip
        assert text in shown


def test_bag_that_does_not_fit_its_contract(tmp_path, capsys):
    demo = write_demo(
        tmp_path / "ep", count=9, prefix="/arm/", twist_type="geometry_msgs/msg/Twist"
    )
    assert inspect_cli.main([str(demo.folder)]) == 1
    shown = capsys.readouterr().out
    assert "fault: " in shown
    assert "expected geometry_msgs/msg/TwistStamped" in shown


def test_pictures_of_a_bag(tmp_path):
    demo = write_demo(tmp_path / "ep", count=20)
    out = tmp_path / "pictures"
    assert inspect_cli.main([str(demo.folder), "--out", str(out)]) == 0
    with Image.open(out / "first_frames.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[:128, :128], demo.images[0])
    with Image.open(out / "actions.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert (pixels != 255).any(axis=2).mean() > 0.01
    page = (out / "index.html").read_text()
    assert "src='actions.png'" in page
    assert "/ee_pose" in page


def test_data_set_in_the_terminal(tmp_path, capsys):
    for i in range(3):
        write_demo(tmp_path / f"ep{i}", seed=i, outcome="failure" if i == 1 else "success",
                   instruction="open < [red]the[/] drawer")  # fmt: skip
    out = tmp_path / "set"
    build_dataset([tmp_path / f"ep{i}" for i in range(3)], None, out)
    assert inspect_cli.main([str(out)]) == 0
    shown = capsys.readouterr().out
    for text in ("2 episodes, 40 frames", "40 whole chunks of 8", "none yet", "outcome failure",
                 "open < [red]the[/] drawer"):  # fmt: skip
        assert text in shown
    fit_dataset(out, vocab_size=128)
    assert inspect_cli.main([str(out), "--out", str(tmp_path / "pictures")]) == 0
    assert "tokenizer: 128 tokens" in capsys.readouterr().out
    page = (tmp_path / "pictures" / "index.html").read_text()
    assert "open &lt; [red]the" in page
    with Image.open(tmp_path / "pictures" / "first_frames.png") as image:
        assert image.size == (260, 130)


def sheet(sha256, source):
    """A balance sheet of a bag with one episode of 8 frames."""
    frames = {"times": 8, "kept": 8, "dropped": 0, "trimmed": 0, "left_out": 0, "reasons": {}}
    images = dict.fromkeys(("used", "in_frames", "passed_through", "encoded", "undecodable"), 0)
    episodes = {"found": 1, "taken": 1, "left_out": {}}
    named = {"source": source, "bag_sha256": sha256, "topics": {}}
    return {**named, "episodes": episodes, "frames": frames, "images": images}


def test_of_many_episodes_the_first_are_shown_and_the_others_counted_in_the_last_line(
    tmp_path, capsys
):
    index = make_dataset(tmp_path / "set", episodes=27, frames=8)
    bags = [(entry["bag_sha256"], entry["source"]) for entry in index.episodes.values()]
    index.balance = {sha256: sheet(sha256, source) for sha256, source in bags}
    index.save()
    assert inspect_cli.main([str(tmp_path / "set"), "--out", str(tmp_path / "pictures")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "not shown: 7 of 27 episodes, 8 of 28 lines of balance (--all shows them)"
    shown = "\n".join(lines)
    assert "27 episodes, 567 frames" in shown and "../bags/2025-9" not in shown
    assert "all 27" in shown, "the sum is always there"
    assert "../bags/2025-9" in (tmp_path / "pictures/index.html").read_text()
    assert inspect_cli.main([str(tmp_path / "set"), "--all"]) == 0
    everything = capsys.readouterr().out
    assert all(f"../bags/2025-{n} " in everything for n in range(27))
    assert "not shown" not in everything


def test_faults_and_tables_of_a_view_are_cut_with_a_word_about_each(capsys):
    rows = [["topic"], *([f"/t{n}"] for n in range(5))]
    view = View("bag x", ["a fact"], [("topics", rows), ("left out", rows[:3])],
                [f"fault {n}" for n in range(4)])  # fmt: skip
    unshown = inspect_cli.show(view, Console(), 2)
    assert unshown == ["3 of 5 topics", "2 of 4 faults"]
    shown = capsys.readouterr().out
    assert "/t1" in shown and "/t2" not in shown and "fault 1" in shown and "fault 2" not in shown
    assert inspect_cli.show(view, Console(), None) == []
    assert "/t4" in capsys.readouterr().out


def test_a_pipe_folds_and_cuts_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS")
    long = "put the red cube that stands to the left of the plate onto the blue one " * 3
    write_demo(tmp_path / "ep", count=20, instruction=long.strip())
    build_dataset([tmp_path / "ep"], None, tmp_path / "set")
    for path in ("ep", "set"):
        assert inspect_cli.main([str(tmp_path / path)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(long.strip() in line and "success" in line for line in lines)


@pytest.mark.skipif(SHARED is None, reason="no ../shared/data beside the checkout")
def test_real_recording_without_contract(capsys):
    assert inspect_cli.main([str(SHARED / "bags" / "ur3_move")]) == 0
    shown = capsys.readouterr().out
    assert "1052 messages on 1 topics in 21.04 s" in shown
    assert "49.9" in shown


@pytest.mark.skipif(SHARED is None, reason="no ../shared/data beside the checkout")
def test_malformed_recording_is_one_line(capsys):
    assert inspect_cli.main([str(SHARED / "malformed" / "selfdriving_bag_empty")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "holds no message on any of its topics (/cmd_vel, /scan)" in shown.err


def test_what_is_neither(tmp_path, capsys):
    assert inspect_cli.main([str(tmp_path)]) == 2
    assert "is no bag" in capsys.readouterr().err

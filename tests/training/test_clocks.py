"""Clocks of a recording that do not meet are named, with the offset and the stream that is off."""

from __future__ import annotations

import pytest
from joint_bags import START_NS, joint_contract, write_arm

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_training.bags.bags import read_bag
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.conversion import convert_cli
from roboalign_training.conversion.kinds import kind_of
from roboalign_training.data.index import load_index
from roboalign_training.episodes.framing import frames_from_bag
from roboalign_training.look import inspect_cli

TAI_NS = 37 * 10**9


def half_a_second_ago(_, ns):
    """The stamp of a clock that is behind."""
    return ns - 500_000_000


def converted(tmp_path, capsys, bag, contract=None):
    """Status and what is said of one bag, by `convert` and by `inspect`."""
    file = tmp_path / "arm.yaml"
    file.write_text((contract or joint_contract()).to_yaml())
    words = [str(bag), "--contract", str(file)]
    status = convert_cli.main([*words, "--out", str(tmp_path / "set")])
    said = capsys.readouterr()
    looked = inspect_cli.main(words)
    return status, said.out, said.err, looked, capsys.readouterr().out


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.parametrize(
    ("stamps", "cause"),
    [
        ({"image_ns": lambda n, ns: ns + TAI_NS}, "stamps of image.front are 36.997 s ahead of"),
        ({"image_ns": lambda n, ns: ns + 200_000_000}, "image.front are 197 ms ahead of the time"),
        ({"image_ns": lambda n, ns: ns + 500_000_000}, "image.front are 497 ms ahead of the time"),
        ({"state_ns": lambda n, ns: ns + 60_000_000}, "state.joints are 60 ms ahead of the time"),
        ({"state_ns": lambda n, ns: ns + TAI_NS}, "stamps of state.joints are 37.000 s ahead of"),
        (
            {"image_ns": lambda n, ns: ns - START_NS + 1312 * 10**9},
            "1749998688.003 s behind the time of receipt (seconds since the device was started?)",
        ),
        ({"image_ns": lambda n, ns: ns - 5 * 10**9}, "image.front are 5.003 s behind the time"),
        ({"image_ns": lambda n, ns: 0}, "header.stamp of image.front is 0 in 40 of 40 messages"),
        (
            {"receive_ns": 5 * 10**9},
            "image.front, state.joints are 5.000 s behind the time of receipt, by which "
            "arm/joint_trajectory are aligned",
        ),
        ({"receive_ns": -5 * 10**9}, "image.front, state.joints are 5.000 s ahead of the time"),
    ],
)  # fmt: skip
def test_a_clock_that_is_off_is_named(tmp_path, capsys, stamps, cause):
    bag = write_arm(tmp_path / "a.mcap", **stamps)
    status, out, err, looked, shown = converted(tmp_path, capsys, bag)
    assert (status, looked) == (1, 1)
    assert cause in err and cause in shown
    assert out.splitlines()[-1] == "left out: 1 episode (clocks)"
    with pytest.raises(EpisodeError, match="clock: ") as error:
        frames_from_bag(read_bag(bag), joint_contract())
    assert cause in str(error.value) and kind_of(error.value.cause) == "clock"


def test_another_clock_than_the_recorder_s_is_none_of_the_streams(tmp_path, capsys):
    """A recorder on another machine, or a played bag: all that matters goes by the stamps."""
    bag = write_arm(tmp_path / "a.mcap", receive_ns=500 * 10**9)
    contract = joint_contract(command_clock="header")
    status, out, _, looked, _ = converted(tmp_path, capsys, bag, contract)
    assert (status, looked) == (0, 0)
    assert out.splitlines()[-1] == "left out: nothing"


def test_a_camera_that_is_late_has_no_other_clock(tmp_path, capsys):
    bag = write_arm(tmp_path / "a.mcap", image_ns=lambda n, ns: ns - 250_000_000)
    status, out, err, looked, shown = converted(tmp_path, capsys, bag)
    assert (status, looked) == (0, 0)
    assert "when they were received" not in err + shown


@pytest.mark.parametrize(
    ("stamps", "causes"),
    [
        ({"image_ns": half_a_second_ago}, ["image.front is 503 ms old when it is received"]),
        ({"state_ns": half_a_second_ago}, ["state.joints is 500 ms old when it is received"]),
        (
            {"receive_ns": 500_000_000},  # the recorder's clock, or all of the robot's
            ["image.front is 503 ms old", "state.joints is 500 ms old", "(or the recorder's"],
        ),
    ],
)
def test_what_the_gate_would_refuse_in_every_frame_is_left_out(tmp_path, capsys, stamps, causes):
    """A clock that is behind by more than max_age_s, 0.3 s here, or a sensor as slow."""
    bag = write_arm(tmp_path / "a.mcap", **stamps)
    status, out, err, looked, shown = converted(tmp_path, capsys, bag)
    assert (status, looked) == (1, 1)
    for cause in [*causes, "expected at most max_age_s 0.3 s", "set align.clock: receive"]:
        assert cause in err and cause in shown
    assert out.splitlines()[-1] == "left out: 1 episode (older than max_age_s when received)"
    with pytest.raises(EpisodeError, match="late: ") as error:
        frames_from_bag(read_bag(bag), joint_contract())
    assert kind_of(error.value.cause) == "late"


def test_it_is_taken_by_either_change_of_the_contract(tmp_path, capsys):
    """Which the reason names: a greater age, or times of receipt."""
    bag = write_arm(tmp_path / "a.mcap", image_ns=half_a_second_ago)
    for number, change in enumerate(({"max_age_s": 0.6}, {"align": {"clock": "receive"}})):
        data = joint_contract().to_dict()
        data["observations"][0] |= change
        folder = tmp_path / str(number)
        folder.mkdir()
        status, out, _, looked, _ = converted(folder, capsys, bag, contract_from_dict(data))
        assert (status, looked) == (0, 0)
        assert "left out: 1 episode" not in out


def test_a_played_bag_is_judged_by_what_came_together(tmp_path, capsys):
    """The recorder's clock is of another year; that of the camera is half a second behind."""
    contract = joint_contract(command_clock="header")
    stamps = {"receive_ns": 40_000_000 * 10**9, "image_ns": half_a_second_ago}
    bag = write_arm(tmp_path / "a.mcap", **stamps)
    status, _, err, looked, shown = converted(tmp_path, capsys, bag, contract)
    assert (status, looked) == (1, 1)
    assert "image.front is 503 ms older than the state.joints received with it" in err
    assert "image.front is 503 ms older than the state.joints received with it" in shown


def test_a_clock_that_is_set_back_on_the_way_is_said(tmp_path, capsys):
    """In less than half of the messages: the episode is taken, with a note."""
    bag = write_arm(tmp_path / "a.mcap", image_ns=lambda n, ns: ns - (n >= 28) * 400_000_000)
    status, _, err, looked, shown = converted(tmp_path, capsys, bag)
    assert (status, looked) == (0, 0)
    note = "image.front: 12 of 40 messages were older than max_age_s 0.3 s when they were received"
    assert note in err and note in shown
    (entry,) = load_index(tmp_path / "set").episodes.values()
    assert [text.startswith(note) for text in entry["notes"]] == [True]


def test_one_stamp_of_0_costs_its_frame_and_is_counted(tmp_path, capsys):
    bag = write_arm(tmp_path / "a.mcap", image_ns=lambda n, ns: 0 if n == 20 else ns)
    status, out, err, looked, shown = converted(tmp_path, capsys, bag)
    assert (status, looked) == (0, 0)
    assert "simulator" not in err
    assert "39 frames" in out
    assert out.splitlines()[-1] == (
        "left out: 1 frame (image.front: stamp of another time), "
        "1 message (/camera/image_raw: stamp of another time)"
    )
    assert "image.front: stamp of another time: 1" in shown


def test_a_simulator_that_was_reset_is_still_refused(tmp_path, capsys):
    bag = write_arm(tmp_path / "a.mcap", state_ns=lambda n, ns: ns - (n > 150) * 2 * 10**9)
    status, _, err, _, _ = converted(tmp_path, capsys, bag)
    assert status == 1
    assert "joint_states: the clock goes back by 1.980 s after message 151" in err

"""Clocks of a recording that do not meet are named, with the offset and the stream that is off."""

from __future__ import annotations

import pytest
from joint_bags import START_NS, joint_contract, write_arm

from roboalign_training.conversion.kinds import kind_of
from roboalign_training.data import convert_cli, inspect_cli
from roboalign_training.data.bags import read_bag
from roboalign_training.data.episodes import frames_from_bag
from roboalign_training.data.errors import EpisodeError

TAI_NS = 37 * 10**9


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
    assert converted(tmp_path, capsys, bag)[0] == 0


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

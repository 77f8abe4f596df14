"""What a command leaves out stands in its last line, with counts and causes."""

from __future__ import annotations

import argparse

import pytest

from roboalign_training.shared.left_out import STRICT_STATUS, LeftOut, add_strict


def test_nothing_left_out_is_said_and_is_no_failure():
    left = LeftOut()
    assert not left
    assert left.line() == "left out: nothing"
    assert left.status(strict=True) == 0


def test_equal_causes_add_up_and_the_most_frequent_comes_first():
    left = LeftOut()
    left.add("episode", "marked failure")
    left.add("episode", "shorter than one chunk", 1999)
    left.add("topic", "no ROS 2 channel")
    left.add("frame", "camera stale", 0)
    assert left.line() == (
        "left out: 2,000 episodes (1,999 shorter than one chunk, 1 marked failure), "
        "1 topic (no ROS 2 channel)"
    )
    assert (left.count("episode"), left.count("frame")) == (2000, 0)
    assert left.status(strict=False) == 0
    assert left.status(strict=True) == STRICT_STATUS


def test_what_workers_counted_is_added():
    one, other = LeftOut(), LeftOut()
    one.add("frame", "camera stale", 2)
    other.add("frame", "camera stale", 3)
    one.update(other)
    assert one.to_dict() == {"frame": {"camera stale": 5}}


def test_a_negative_count_is_refused():
    with pytest.raises(ValueError, match=r"count=-1 of frame \(camera stale\), expected 0 or more"):
        LeftOut().add("frame", "camera stale", -1)


@pytest.mark.parametrize(("argv", "strict"), [([], False), (["--strict"], True)])
def test_strict_is_an_option_of_every_command_alike(argv, strict):
    parser = argparse.ArgumentParser()
    add_strict(parser)
    assert parser.parse_args(argv).strict is strict

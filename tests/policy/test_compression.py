"""Which topic is compressed how."""

from __future__ import annotations

import pytest

from roboalign_policy.core.recording.compression import CompressionChoice, CompressionError

RAW, JPEG, JOINTS = (
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
    "sensor_msgs/msg/JointState",
)


def test_auto_spends_time_where_it_saves_space():
    auto = CompressionChoice("auto")
    assert [auto.of("t", kind) for kind in (RAW, JPEG, JOINTS)] == ["lz4", "none", "zstd"]


def test_exceptions_win_with_and_without_a_slash():
    choice = CompressionChoice("zstd, camera/front=none , /joints=lz4")
    assert choice.of("/camera/front", RAW) == choice.of("camera/front", RAW) == "none"
    assert (choice.of("joints", JOINTS), choice.of("other", RAW)) == ("lz4", "zstd")
    choice.check(["camera/front", "joints", "other"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gzip", "found 'gzip', expected one of auto, none, lz4, zstd"),
        ("", "found ''"),
        ("zstd, camera=gzip", "found 'camera=gzip', expected TOPIC=NAME"),
        ("zstd, =lz4", "found '=lz4'"),
        ("zstd, camera", "found 'camera'"),
    ],
)
def test_what_is_no_choice_is_refused(text, words):
    with pytest.raises(CompressionError, match=words):
        CompressionChoice(text)


def test_a_topic_that_is_not_recorded_is_refused():
    with pytest.raises(CompressionError, match="found topic 'camera', expected one of a, b"):
        CompressionChoice("auto, camera=none").check(["a", "b"])

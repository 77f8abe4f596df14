"""The size of serialised images, whatever stands in the texts before it."""

from __future__ import annotations

from array import array

import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from roboalign_policy.ros.image_layout import image_fault


def serialised(height=4, width=6, frame_id="camera", encoding="rgb8", missing=0):
    """An image, by default a whole one."""
    data = array("B", bytes(height * width * 3 - missing))
    msg = Image(height=height, width=width, encoding=encoding, step=width * 3, data=data)
    msg.header.frame_id = frame_id
    return serialize_message(msg)


@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "abcd", "camera_front_optical_frame"])
@pytest.mark.parametrize("encoding", ["rgb8", "mono16", "8UC3", ""])
def test_a_whole_image_is_right_and_another_size_is_named(frame_id, encoding):
    data = serialised(frame_id=frame_id, encoding=encoding)
    assert image_fault(data, (4, 6, 3)) == ""
    assert image_fault(data, (6, 4, 3)) == "height x width: found 4 x 6, expected 6 x 4"


def test_missing_bytes_are_counted():
    fault = image_fault(serialised(missing=10), (4, 6, 3))
    assert fault == "data: found 62 bytes, expected height x step, 4 x 18"


def test_a_message_that_ends_too_early_is_no_crash():
    whole = serialised()
    for length in range(4, 60):
        assert image_fault(whole[:length], (4, 6, 3)) != "" or length > 50

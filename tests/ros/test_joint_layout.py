"""Joints that a serialised message names, for every alignment and byte order."""

from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import JointState
from std_msgs.msg import Header
from trajectory_msgs.msg import JointTrajectory

from roboalign_policy.ros.joint_layout import has_leading_names, leading_names

NAMES = ["a", "joint_2", "größe", "fr3.finger"]


@pytest.mark.parametrize("frame_id", ["", "b", "base", "base_link"])
@pytest.mark.parametrize("count", range(len(NAMES) + 1))
def test_names_are_those_that_were_serialised(frame_id, count):
    names = NAMES[:count]
    header = Header(frame_id=frame_id)
    state = JointState(header=header, name=names, position=[0.5] * count)
    goal = JointTrajectory(header=header, joint_names=names)
    assert leading_names(serialize_message(state)) == tuple(names)
    assert leading_names(serialize_message(goal)) == tuple(names)
    store = get_typestore(Stores.ROS2_JAZZY)
    types, none = store.types, np.zeros(0)
    stamp = types["builtin_interfaces/msg/Time"](1, 2)
    msg = types["sensor_msgs/msg/JointState"](
        types["std_msgs/msg/Header"](stamp, frame_id), names, none, none, none
    )
    big = store.serialize_cdr(msg, "sensor_msgs/msg/JointState", little_endian=False)
    assert leading_names(bytes(big)) == tuple(names)


def test_a_message_that_ends_within_its_numbers_names_nothing():
    data = serialize_message(JointState(name=NAMES))
    assert leading_names(data[:14]) == leading_names(data[:22]) == ()


def test_types_without_leading_names_are_told():
    assert has_leading_names(JointState) and has_leading_names(JointTrajectory)
    assert not has_leading_names(PoseStamped)

"""Paths into messages, images, commands; on rosbags messages, rclpy messages and plain objects."""

from __future__ import annotations

from types import SimpleNamespace as Msg

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.contract.message_fields import has_header
from roboalign_policy.core.contract.path import SelectorError, parse_path
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import (
    fill_command,
    read_path,
    stamp_ns_from_msg,
    values_from_command,
    vector_from_msg,
    write_path,
)

SIM = load_contract("sim_panda")
RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def joints(**positions):
    return Msg(name=list(positions), position=np.array(list(positions.values())), velocity=[])


def twist(**values):
    linear = Msg(x=0.0, y=0.0, z=0.0)
    return Msg(twist=Msg(linear=linear, angular=Msg(x=0.0, y=0.0, z=0.0)), **values)


def trajectory(positions, names=("a", "b")):
    return Msg(joint_names=list(names), points=[Msg(positions=positions, velocities=[])])


def test_parse_path():
    assert parse_path("points[0].positions[fr3.joint1]") == (
        "points",
        0,
        "positions",
        ("fr3.joint1",),
    )
    assert parse_path("position[007]") == ("position", 7)
    assert parse_path("a[0][1]") == ("a", 0, 1)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".x",
        "a..b",
        "a.",
        "a[",
        "a[]",
        "a]",
        "_a",
        "a.__class__",
        "a b",
        "a()",
        "9a",
        "a[0]b",
        "a\n",
    ],
)
def test_bad_paths(path):
    with pytest.raises(SelectorError, match="path"):
        parse_path(path)


def test_read_path_walks_attributes_indexes_and_joint_names():
    assert read_path(twist(), "twist.linear.x") == 0.0
    msg = joints(left=1.0, right=2.0)
    assert read_path(msg, "position[right]") == 2.0
    assert read_path(msg, "position[0]") == 1.0
    assert read_path(trajectory([3.0, 4.0]), "points[0].positions[b]") == 4.0


def test_names_come_from_the_nearest_message():
    inner = Msg(joint_names=["b", "a"], values=[1.0, 2.0])
    msg = Msg(joint_names=["a", "b"], values=[3.0, 4.0], inner=inner)
    assert read_path(msg, "inner.values[a]") == 2.0
    assert read_path(msg, "values[a]") == 3.0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("effort[left]", "no field 'effort'"),
        ("position[middle]", "no joint 'middle' in the message, which names 'left', 'right'"),
        ("position[2]", "index 2 in a sequence of 2"),
        ("velocity[left]", "index 0 in a sequence of 0"),
        ("position[0][0]", "cannot be indexed"),
        ("position[0].x", "no field 'x'"),
    ],
)
def test_read_path_says_what_is_missing(path, words):
    with pytest.raises(SelectorError) as caught:
        read_path(joints(left=1.0, right=2.0), path)
    assert repr(path) in str(caught.value) and words in str(caught.value)


def test_joint_name_without_names():
    with pytest.raises(SelectorError, match="neither of name and joint_names"):
        read_path(Msg(data=[1.0]), "data[left]")
    with pytest.raises(SelectorError, match="neither of"):  # a name that is one text is no list
        read_path(Msg(name="left", data=[1.0]), "data[left]")


def test_write_path():
    msg = twist()
    write_path(msg, "twist.angular.z", 0.5)
    assert msg.twist.angular.z == 0.5
    msg = trajectory([])
    write_path(msg, "points[0].positions[a]", 1.0)
    write_path(msg, "points[0].positions[1]", 2.0)
    write_path(msg, "points[0].positions[a]", 3.0)
    assert msg.points[0].positions == [3.0, 2.0]


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("points[0].positions[3]", "index 3 in a sequence of 1"),
        ("points[1].positions[0]", "index 1 in a sequence of 1"),
        ("points[0].efort", "no field 'efort'"),
        ("points[0].positions[c]", "no joint 'c'"),
        ("joint_names[0][0]", "does not take"),
    ],
)
def test_write_path_says_what_is_wrong(path, words):
    with pytest.raises(SelectorError) as caught:
        write_path(trajectory([1.0]), path, 0.0)
    assert words in str(caught.value)


def test_vector_from_msg_applies_gain_and_offset_in_the_order_of_the_contract():
    fields = load_contract("franka_fr3").stream("state.gripper").fields
    vector = vector_from_msg(joints(fr3_finger_joint2=0.0, fr3_finger_joint1=0.03), fields)
    assert vector.dtype == np.float32
    np.testing.assert_allclose(vector, [0.06], rtol=1e-6)
    names = [f"panda_joint{i}" for i in range(1, 8)]
    msg = joints(**{name: float(i) for i, name in enumerate(reversed(names))})
    np.testing.assert_array_equal(
        vector_from_msg(msg, SIM.stream("state.joints").fields), [6, 5, 4, 3, 2, 1, 0]
    )


def test_vector_from_msg_keeps_nan_and_refuses_texts():
    fields = SIM.stream("state.gripper").fields
    assert np.isnan(vector_from_msg(joints(gripper_width=float("nan")), fields)).all()
    with pytest.raises(SelectorError, match="str is not a number"):
        vector_from_msg(Msg(name=["gripper_width"], position=["wide"]), fields)


def test_commands_are_read_and_written_by_the_same_entry():
    command = SIM.action.commands[0]
    values = dict(zip(SIM.action.names, np.linspace(-1, 1, 7), strict=True))
    msg = twist()
    fill_command(msg, command, values)
    assert msg.twist.linear.x == pytest.approx(-0.5)  # one unit of 0.05 m at 10 Hz is 0.5 m/s
    assert msg.twist.angular.z == pytest.approx(values["dyaw"] * 5.0)
    assert values_from_command(msg, command) == pytest.approx(
        {name: values[name] for name in command.fields}
    )


def test_command_with_offset():
    command = load_contract("franka_fr3").action.commands[1]
    for action, finger in ((-1.0, 0.04), (1.0, 0.0), (0.0, 0.02)):
        msg = trajectory([9.0], ["fr3_finger_joint1"])
        fill_command(msg, command, {"gripper": action})
        assert msg.points[0].positions[0] == pytest.approx(finger)
        assert values_from_command(msg, command)["gripper"] == pytest.approx(action)


def test_fill_command_names_the_dimension_it_lacks():
    with pytest.raises(SelectorError, match="no value for 'dy', only for dx"):
        fill_command(twist(), SIM.action.commands[0], {"dx": 0.0})


def test_stamp():
    header = Msg(stamp=Msg(sec=3, nanosec=5))
    assert stamp_ns_from_msg(Msg(header=header)) == 3_000_000_005
    assert stamp_ns_from_msg(Msg(data="x")) is None


@pytest.mark.parametrize(
    ("message_type", "expected"),
    [
        ("sensor_msgs/msg/Image", True),
        ("std_msgs/msg/String", False),
        ("geometry_msgs/msg/Twist", False),
        ("geometry_msgs/msg/TwistStamped", True),
        ("my_msgs/msg/State", True),
    ],
)
def test_has_header(message_type, expected):
    assert has_header(message_type) is expected


def test_rosbags_messages():
    typesys = pytest.importorskip("rosbags.typesys", reason="rosbags is not installed")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    time = store.types["builtin_interfaces/msg/Time"](sec=1, nanosec=2)
    header = store.types["std_msgs/msg/Header"](stamp=time, frame_id="")
    state = store.types["sensor_msgs/msg/JointState"](
        header=header,
        name=["gripper_width"],
        position=np.array([0.08]),
        velocity=np.array([]),
        effort=np.array([]),
    )
    again = store.deserialize_cdr(
        store.serialize_cdr(state, "sensor_msgs/msg/JointState"), "sensor_msgs/msg/JointState"
    )
    np.testing.assert_allclose(
        vector_from_msg(again, SIM.stream("state.gripper").fields), [0.08], rtol=1e-6
    )
    assert stamp_ns_from_msg(again) == 1_000_000_002
    picture = store.types["sensor_msgs/msg/Image"](
        header=header,
        height=2,
        width=3,
        encoding="bgr8",
        is_bigendian=0,
        step=9,
        data=np.ascontiguousarray(RGB[..., ::-1]).ravel(),
    )
    again = store.deserialize_cdr(
        store.serialize_cdr(picture, "sensor_msgs/msg/Image"), "sensor_msgs/msg/Image"
    )
    np.testing.assert_array_equal(image_from_msg(again, (2, 3, 3)), RGB)


def test_rclpy_messages():
    geometry = pytest.importorskip("geometry_msgs.msg", reason="ROS 2 is not installed")
    trajectory_msgs = pytest.importorskip("trajectory_msgs.msg", reason="ROS 2 is not installed")
    msg = geometry.TwistStamped()
    values = dict(zip(SIM.action.names, np.linspace(-1, 1, 7, dtype=np.float32), strict=True))
    fill_command(msg, SIM.action.commands[0], values)
    assert values_from_command(msg, SIM.action.commands[0])["dz"] == pytest.approx(-1 / 3)
    point = trajectory_msgs.JointTrajectoryPoint()
    msg = trajectory_msgs.JointTrajectory(joint_names=["gripper"], points=[point])
    fill_command(msg, SIM.action.commands[1], values)
    assert list(msg.points[0].positions) == [1.0]
    with pytest.raises(SelectorError, match="does not take 'wide'"):
        write_path(msg, "points[0].positions[0]", "wide")

"""Numbers taken where they stand in a message are those that decoding gives."""

from __future__ import annotations

import numpy as np
import pytest
from demo_bags import STORE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.messages.selectors import read_path
from roboalign_training.bags.cdr import DecodeError, decode_cdr
from roboalign_training.bags.cdr_layout import Layouts, Place, Tail, number

JOINTS, IMAGE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/Image"
TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
EMPTY, TEXT, TIME = "std_msgs/msg/Empty", "std_msgs/msg/String", "builtin_interfaces/msg/Time"
DIAGNOSTICS = "diagnostic_msgs/msg/DiagnosticArray"
numbers = st.lists(st.floats(allow_nan=True, width=64), max_size=6)
names = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9),
                 max_size=6)  # fmt: skip


def layouts(kind, seen=None):
    def decode(data):
        if seen is not None:
            seen.append(data)
        return decode_cdr(STORE, kind, data)

    return Layouts(STORE, kind, decode)


def header(frame="base", sec=5, nanosec=7):
    t = STORE.types
    return t["std_msgs/msg/Header"](t["builtin_interfaces/msg/Time"](sec, nanosec), frame)


def joint_state(frame, joint_names, position, velocity, effort):
    arrays = map(np.array, (position, velocity, effort), (np.float64,) * 3)
    return STORE.types[JOINTS](header(frame), joint_names, *arrays)


def cdr(message, little=True):
    return bytes(STORE.serialize_cdr(message, message.__msgtype__, little_endian=little))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9), names, numbers,
       numbers, numbers, st.booleans())  # fmt: skip
def test_places_are_where_the_numbers_stand(frame, named, position, velocity, effort, little):
    message = joint_state(frame, named, position, velocity, effort)
    data = cdr(message, little)
    layout = layouts(JOINTS).of(data)
    assert layout is not None
    assert layout.message.name == named
    for path in ("header.stamp.sec", "header.stamp.nanosec"):
        assert number(data, read_path(layout.message, path)) == read_path(message, path)
    for field, values in (("position", position), ("velocity", velocity), ("effort", effort)):
        for index, value in enumerate(values):
            found = number(data, read_path(layout.message, f"{field}[{index}]"))
            np.testing.assert_equal(found, value)
        with pytest.raises(SelectorError, match="index"):
            read_path(layout.message, f"{field}[{len(values)}]")


def test_messages_built_alike_are_decoded_once():
    seen = []
    known = layouts(JOINTS, seen)
    data = [cdr(joint_state("f", ["a", "b"], [i, 2.0], [], [])) for i in range(5)]
    found = [known.of(d) for d in data]
    assert len(seen) == 1
    assert all(layout is found[0] for layout in found)
    place = read_path(found[0].message, "position[a]")
    assert isinstance(place, Place)
    assert [number(d, place) for d in data] == [0, 1, 2, 3, 4]
    # Another order of names, another length, another frame: another layout.
    for other in (
        joint_state("f", ["b", "a"], [1.0, 2.0], [], []),
        joint_state("f", ["a", "b"], [1.0, 2.0], [1.0], []),
        joint_state("g", ["a", "b"], [1.0, 2.0], [], []),
    ):
        assert known.of(cdr(other)) is not found[0]
    assert len(seen) == 4
    assert known.of(data[0]) is found[0]
    assert len(seen) == 4
    swapped = known.of(cdr(joint_state("f", ["b", "a"], [1.0, 2.0], [], [])))
    assert read_path(swapped.message, "position[a]").at > place.at


def test_what_is_no_message_is_an_error_and_never_a_value():
    known = layouts(JOINTS)
    data = cdr(joint_state("f", ["a"], [1.0], [2.0], [3.0]))
    assert known.of(data) is not None
    with pytest.raises(DecodeError, match=f"as {JOINTS}: .*{len(data) - 9} bytes"):
        known.of(data[:-9])
    with pytest.raises(DecodeError, match="begin with 00 07 00 00, expected CDR"):
        known.of(b"\0\x07" + data[2:])


def image(height=2, width=3, step=9, extra=0):
    data = np.arange(height * step + extra, dtype=np.uint8)
    return STORE.types[IMAGE](header(), height, width, "rgb8", 0, step, data)


def test_bytes_at_the_end_may_be_of_any_length():
    seen = []
    known = layouts(IMAGE, seen)
    small, large = cdr(image()), cdr(image(40, 3))
    assert known.of(small) is known.of(large)
    assert len(seen) == 1
    layout = known.of(large)
    assert isinstance(layout.message.data, Tail)
    assert bytes(layout.message.data.bytes_of(large)) == image(40, 3).data.tobytes()
    assert len(layout.message.data.bytes_of(large)) == 360
    assert number(large, layout.message.height) == 40
    for cut in (1, 4, 8):
        with pytest.raises(DecodeError):
            known.of(large[:-cut])
    for more in (1, 3, 4, 64):
        assert known.of(large + b"\xa5" * more) is layout
        assert len(layout.message.data.bytes_of(large + b"\xa5" * more)) == 360


@pytest.mark.parametrize("more", [0, 1, 3, 4, 8, 64])
@pytest.mark.parametrize(
    "message",
    [
        joint_state("f", ["a", "b"], [1.0, 2.0], [], []),
        joint_state("f", ["a", "b"], [], [], [4.0]),
        STORE.types[EMPTY](),
        STORE.types[DIAGNOSTICS](header(), []),
        STORE.types[TEXT]("abc"),
    ],
    ids=lambda message: type(message).__name__,
)
def test_bytes_behind_a_message_are_no_part_of_it(message, more):
    """What `rclpy.serialize_message` leaves there has any value; a byte less is an error."""
    kind, data = message.__msgtype__, cdr(message)
    behind = data + b"\xa5" * more
    assert str(decode_cdr(STORE, kind, behind)) == str(message)
    known = layouts(kind)
    layout = known.of(data)
    assert layout is not None
    assert known.of(behind) is layout
    assert layouts(kind).of(behind).length == len(data)
    with pytest.raises(DecodeError, match=f"does not decode as {kind}: .*{len(data) - 1} bytes"):
        decode_cdr(STORE, kind, data[:-1])


def test_bytes_that_another_definition_of_the_type_explains_are_an_error():
    """A definition that is cut off would give a wrong level, and nothing would tell."""
    t = STORE.types
    log = t["rcl_interfaces/msg/Log"](t[TIME](5, 7), 20, "talker", "Hello", "talker.cpp", "run", 9)
    cut = get_typestore(Stores.EMPTY)
    cut.register(get_types_from_msg("uint8 level", "rcl_interfaces/msg/Log"))
    with pytest.raises(DecodeError, match=r"takes 5 of \d+ bytes, that of ROS 2 Jazzy takes all"):
        decode_cdr(cut, "rcl_interfaces/msg/Log", cdr(log))


def test_messages_within_messages():
    t = STORE.types
    duration = t["builtin_interfaces/msg/Duration"](1, 2)
    points = [
        t["trajectory_msgs/msg/JointTrajectoryPoint"](
            np.array([float(n), 2.0]), np.array([3.0] * n), np.zeros(0), np.zeros(0), duration
        )
        for n in range(3)
    ]
    message = t[TRAJECTORY](header(), ["x", "y"], points)
    data = cdr(message)
    layout = layouts(TRAJECTORY).of(data)
    for path in ("points[2].positions[x]", "points[2].velocities[1]",
                 "points[1].time_from_start.nanosec"):  # fmt: skip
        assert number(data, read_path(layout.message, path)) == read_path(message, path)
    with pytest.raises(SelectorError):
        read_path(layout.message, "points[3].positions[0]")


def test_a_type_that_is_not_understood_is_decoded():
    """Wide texts, for which CDR has two ways of counting."""
    kind = "test_msgs/msg/Wide"
    from rosbags.typesys import Stores, get_types_from_idl, get_typestore

    store = get_typestore(Stores.EMPTY)
    text = "module test_msgs { module msg { struct Wide { wchar letter; double x; }; }; };"
    try:
        store.register(get_types_from_idl(text))
    except Exception:  # noqa: BLE001 - this version of rosbags has no wide characters at all
        pytest.skip("rosbags has no wide characters")
    known = Layouts(store, kind, lambda data: object())
    assert known.of(b"\0\1\0\0" + bytes(16)) is None

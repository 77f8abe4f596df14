"""Whose a message on `joint_states` is: the stream's own, a part of a reading, or others'."""

from __future__ import annotations

from types import SimpleNamespace as Msg

import numpy as np
import pytest
from gate_world import START_NS, joint_contract

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.joint_readings import Share, StateReader, command_from_msg
from roboalign_policy.core.frames.live_frames import LiveFrames
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.gate.types import GateFault, Reason
from roboalign_policy.core.messages.selectors import values_from_command

STREAM = joint_contract().stream("state.joints")  # joints a and b, max_age_s 0.1
COMMAND = joint_contract().action.commands[0]
MS = 1_000_000


def joints(ms, **positions):
    """A JointState stamped so many milliseconds after the start."""
    sec, nanosec = divmod(START_NS + ms * MS, 10**9)
    stamp = Msg(sec=sec, nanosec=nanosec)
    values = np.array(list(positions.values()))
    return Msg(header=Msg(stamp=stamp), name=list(positions), position=values)


def read(reader, *messages):
    """Stamp (ms after the start) and values of every sample that messages give."""
    samples = [reader.read(msg, START_NS) for msg in messages]
    return [
        ((s.header_ns - START_NS) // MS, [round(v, 3) for v in s.value.tolist()])
        for s in samples
        if s is not None
    ]


def test_messages_of_other_joints_are_passed_over_counted_and_named():
    reader = StateReader(STREAM)
    found = read(
        reader,
        joints(0, finger=0.02),
        joints(10, a=0.1, b=0.2),
        joints(20, finger=0.02),
        joints(21, wheel=1.0, caster=2.0),
        joints(30, b=0.4, extra=9.0, a=0.3),  # another order, and one joint more
    )
    assert found == [(10, [0.1, 0.2]), (30, [0.3, 0.4])]
    assert reader.sets.others == {"finger": 2, "wheel, caster": 1}
    assert reader.sets.note() == "messages of other joints came: finger; wheel, caster"


def test_joints_that_come_in_two_messages_are_one_reading_stamped_by_the_newer():
    reader = StateReader(STREAM)
    found = read(
        reader,
        joints(0, a=0.0),
        joints(5, b=0.1),
        joints(30, b=0.2),  # the other one first
        joints(33, b=0.3),
        joints(36, a=0.4),
    )
    assert found == [(5, [0.0, 0.1]), (36, [0.4, 0.3])]
    assert reader.sets.parts == 5 and not reader.sets.lacking


def test_half_of_the_joints_alone_is_no_reading_and_says_which_half():
    reader = StateReader(STREAM)
    assert read(reader, *(joints(10 * k, a=0.0) for k in range(20))) == []
    assert reader.sets.note() == "only a part of its joints came, not b"


def test_parts_further_apart_than_a_sample_may_be_old_do_not_belong_together():
    reader = StateReader(STREAM)
    assert read(reader, joints(0, a=0.0), joints(150, b=0.1), joints(160, a=0.2)) == [
        (160, [0.2, 0.1])
    ]


def test_a_whole_message_takes_the_place_of_parts_that_wait():
    reader = StateReader(STREAM)
    assert read(reader, joints(0, a=0.0), joints(1, a=0.1, b=0.1)) == [(1, [0.1, 0.1])]
    # Both parts anew: what waited before the whole message is not one of them.
    assert read(reader, joints(102, b=0.2), joints(103, a=0.3)) == [(103, [0.3, 0.2])]


def test_a_joint_that_is_lost_is_unreadable_and_no_part():
    """A driver that had all joints in one message and leaves one out: doubt, at once."""
    reader = StateReader(STREAM)
    assert read(reader, joints(0, a=0.1, b=0.1))
    with pytest.raises(SelectorError, match="no joint 'b' in the message, which names 'a'"):
        read(reader, joints(10, a=0.2))
    assert read(reader, joints(20, finger=0.0)) == []
    assert read(reader, joints(30, b=0.3, a=0.4)) == [(30, [0.4, 0.3])]
    with pytest.raises(SelectorError, match="no joint 'a'"):
        read(reader, joints(25, b=0.2))


@pytest.mark.parametrize("msg", [joints(0), Msg(**{**vars(joints(0)), "position": [1.0, 2.0]})])
def test_a_message_without_names_may_be_the_arms_own_and_is_unreadable(msg):
    with pytest.raises(SelectorError, match="no joint 'a' in the message, which names none"):
        StateReader(STREAM).read(msg, 0)


def named(names, positions):
    """A JointState with these names, be it one of them twice."""
    msg = joints(0)
    msg.name, msg.position = list(names), np.array(positions)
    return msg


@pytest.mark.parametrize(
    "msg", [named("aba", [0.1, 0.2, 0.3]), named("aa", [0.1, 0.1]), named("baxa", [1, 2, 3, 4])]
)
def test_a_joint_that_stands_twice_is_unreadable_whichever_number_is_meant(msg):
    reader = StateReader(STREAM)
    with pytest.raises(SelectorError, match=r"joint 'a' stands 2 times in .*, expected once"):
        reader.read(msg, 0)
    assert reader.sets.take(msg.name, 0) is Share.TWICE
    assert not reader.sets.parts and not reader.sets.others
    assert read(reader, joints(10, a=0.1, b=0.2)) == [(10, [0.1, 0.2])], "the next one is read"


def test_another_joint_that_stands_twice_does_not_matter():
    reader = StateReader(STREAM)
    assert read(reader, named("axbx", [0.1, 9.0, 0.2, 8.0])) == [(0, [0.1, 0.2])]
    assert read(reader, named("xx", [9.0, 8.0])) == []


def test_a_reading_with_a_number_too_few_is_unreadable():
    msg = joints(0, a=0.1, b=0.2)
    msg.position = msg.position[:1]
    with pytest.raises(SelectorError, match="index 1 in a sequence of 1"):
        StateReader(STREAM).read(msg, 0)


def trajectory(points=1, **positions):
    point = Msg(positions=np.array(list(positions.values())))
    return Msg(joint_names=list(positions), points=[point] * points)


def test_commands_of_other_joints_are_passed_over():
    assert command_from_msg(trajectory(b=0.2, a=0.1), COMMAND) == {"a": 0.1, "b": 0.2}
    assert command_from_msg(trajectory(finger=0.02), COMMAND) is None
    assert command_from_msg(trajectory(points=0, finger=0.02), COMMAND) is None
    with pytest.raises(SelectorError, match="no joint 'b'"):
        command_from_msg(trajectory(a=0.1), COMMAND)
    twice = trajectory(a=0.1, b=0.2)
    twice.joint_names = ["a", "b", "b"]
    with pytest.raises(SelectorError, match="joint 'b' stands 2 times"):
        command_from_msg(twice, COMMAND)
    with pytest.raises(SelectorError, match="index 0 in a sequence of 0"):
        command_from_msg(trajectory(points=0, a=0.1, b=0.2), COMMAND)


def test_an_index_into_positions_is_one_of_the_contracts_joint_names():
    fields = {n: {"path": f"points[0].positions[{i}]"} for i, n in enumerate("ab")}
    command = joint_contract().to_dict()["action"]["commands"][0]
    (command,) = joint_contract(commands=[{**command, "fields": fields}]).action.commands
    assert values_from_command(trajectory(b=0.2, a=0.1), command) == {"a": 0.1, "b": 0.2}
    assert command_from_msg(trajectory(finger=0.02, thumb=0.03), command) is None
    unnamed = trajectory(a=0.1, b=0.2)
    unnamed.joint_names = []
    assert values_from_command(unnamed, command) == {"a": 0.1, "b": 0.2}


def test_the_gate_stops_on_silence_of_its_own_joints_and_names_those_that_came():
    watch = StreamWatch(joint_contract(), 0.1)
    for key, value in (("image.front", None), ("state.ee", np.zeros(3))):
        watch.sample(key, START_NS, START_NS, 0.0, value, digest=1)
    watch.note("state.joints", "messages of other joints came: finger")
    with pytest.raises(GateFault, match=r"never received \(messages of other joints came: finger"):
        watch.check(START_NS, 0.0, None)
    watch.sample("state.joints", START_NS, START_NS, 0.0, np.zeros(2))
    watch.check(START_NS + 90 * MS, 0.09, None)
    for key, value in (("image.front", None), ("state.ee", np.zeros(3))):
        watch.sample(key, START_NS + 100 * MS, START_NS + 100 * MS, 0.1, value, digest=2)
    with pytest.raises(GateFault, match=r"silent 0.110 s > 0.1 s \(.*finger\)") as caught:
        watch.check(START_NS + 110 * MS, 0.11, None)
    assert caught.value.reason is Reason.OBSERVATION_STALE


def test_a_missing_frame_names_the_joints_that_came():
    live = LiveFrames(joint_contract(), silence_s=2.0)
    live.note("state.joints", "messages of other joints came: finger")
    missing = live.frame(START_NS, None, 0.0)
    assert missing.reasons["state.joints"] == (
        "never received (messages of other joints came: finger)"
    )
    assert missing.reasons["state.ee"] == "never received"

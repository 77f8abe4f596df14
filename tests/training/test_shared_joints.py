"""Recordings in which other joints share a stream's topic, or its own come in several messages."""

from __future__ import annotations

import numpy as np
import pytest
from conversion_bags import START_NS, Trouble, two_cameras, write_rows
from conversion_bags import write_bag as write_plain
from demo_bags import STORE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_frame_plan import assert_same, planned, reference

from roboalign_policy.core.contract.contract import contract_from_dict
from roboalign_training.bags.bags import read_bag
from roboalign_training.conversion.balance_table import balance_rows, topic_rows
from roboalign_training.conversion.build import build_dataset
from roboalign_training.conversion.parts import read_part
from roboalign_training.conversion.scanning import ScanJob, joined_scan
from roboalign_training.conversion.segments import BagPlace, close_last, cut
from roboalign_training.data.index import load_index
from roboalign_training.episodes.episodes import find_spans
from roboalign_training.episodes.recipe import Recipe
from roboalign_training.episodes.topics import map_topics
from roboalign_training.look.inspect import inspect_bag

ARM = [f"panda_joint{i}" for i in range(1, 8)]
STATES, GOALS = "/joint_states", "/gripper_controller/joint_trajectory"


def clocks(contract, clock):
    """The contract with all streams aligned by one clock."""
    data = contract.to_dict()
    for stream in data["observations"]:
        stream["align"]["clock"] = clock
    return contract_from_dict(data)


def rewritten(folder, change, seconds=2.0, **options):
    """A bag with what `change(topic, receive_ns, message)` gives in place of each message."""
    bag = read_bag(write_plain(folder / "plain.mcap", seconds, **options))
    rows = []
    for topic, ns, msg in bag.messages():
        rows += [(at, topic, new) for at, new in change(topic, ns, msg)]
    write_rows(folder / "a.mcap", sorted(rows, key=lambda row: row[0]))
    return read_bag(folder / "a.mcap")


def state(like, names, values, shift_ns=0):
    """A JointState stamped as another one, or somewhat later."""
    t = STORE.types
    stamp = like.header.stamp
    ns = stamp.sec * 10**9 + stamp.nanosec + shift_ns
    header = t["std_msgs/msg/Header"](
        t["builtin_interfaces/msg/Time"](ns // 10**9, ns % 10**9), like.header.frame_id
    )
    none = np.zeros(0)
    return t["sensor_msgs/msg/JointState"](header, list(names), np.array(values), none, none)


def crowd(topic, ns, msg):
    """A gripper with its own clock beside the arm; goals of other joints beside the hand's."""
    yield ns, msg
    if topic == STATES:
        yield ns + 2_000_000, state(msg, ["finger", "thumb"], [0.02, 0.03], -(10**15))
    if topic == GOALS:
        t = STORE.types
        goal = t["trajectory_msgs/msg/JointTrajectory"](msg.header, ["wheel"], msg.points)
        yield ns + 1, goal
        yield ns + 2, t["trajectory_msgs/msg/JointTrajectory"](msg.header, ["wheel"], [])


def halves(topic, ns, msg, cut_at=3, lost=lambda ns: False):
    """The arm's joints in two messages, the later one first in every other pair."""
    if topic != STATES:
        yield ns, msg
        return
    parts = [state(msg, ARM[:cut_at], msg.position[:cut_at]),
             state(msg, ARM[cut_at:], msg.position[cut_at:], 1_000_000)]  # fmt: skip
    order = parts if ns // 10_000_000 % 2 else parts[::-1]
    for number, part in enumerate(order):
        if part is parts[0] or not lost(ns):
            yield ns + 500_000 * number, part


def assert_converts(bag, contract):
    """Both ways of making frames agree; returns the plan."""
    plan = planned(bag, contract)
    assert_same(plan, reference(bag, contract), bag, contract)
    return plan


@pytest.mark.parametrize("clock", ["header", "receive"])
def test_frames_are_those_of_the_arm_alone(tmp_path, clock):
    contract = clocks(two_cameras(), clock)
    bag = rewritten(tmp_path, crowd)
    plan = assert_converts(bag, contract)
    alone = assert_converts(read_bag(tmp_path / "plain.mcap"), contract)
    assert len(plan) == len(alone) > 15 and plan.dropped == {} == alone.dropped
    np.testing.assert_array_equal(plan.values["state.joints"], alone.values["state.joints"])
    np.testing.assert_array_equal(plan.actions, alone.actions)


@pytest.mark.parametrize("clock", ["header", "receive"])
def test_halves_are_put_together(tmp_path, clock):
    contract = clocks(two_cameras(), clock)
    plan = assert_converts(rewritten(tmp_path, halves), contract)
    assert len(plan) > 15 and plan.dropped == {}
    angles = plan.values["state.joints"]  # sin(number / 50 + joint): both halves of one number
    numbers = np.unwrap(np.arcsin(angles[:, 0])) * 50
    np.testing.assert_allclose(angles[:8, 6], np.sin(numbers[:8] / 50 + 6), atol=1e-5)


def test_messages_that_name_a_joint_twice_are_unreadable_and_counted_with_the_reason(tmp_path):
    def change(topic, ns, msg):
        if topic == STATES and 0.8e9 < ns - START_NS < 1.5e9:
            msg = state(msg, [*ARM, ARM[2]], [*msg.position, 0.5])
        yield ns, msg

    bag = rewritten(tmp_path, change, 3.0)
    plan = assert_converts(bag, two_cameras())
    assert len(plan) > 15 and plan.dropped["state.joints: stale"] >= 2
    always = rewritten(
        tmp_path,
        lambda topic, ns, msg: [
            (ns, state(msg, [*ARM, ARM[0]], [*msg.position, 0.5]) if topic == STATES else msg)
        ],
    )
    (episode,) = inspect_bag(always, two_cameras()).episodes
    assert "joint 'panda_joint1' stands 2 times in the message" in episode.fault


def test_a_half_that_falls_silent_loses_the_frames_and_no_others(tmp_path):
    def change(topic, ns, msg):
        return halves(topic, ns, msg, lost=lambda ns: 0.8e9 < ns - START_NS < 1.5e9)

    plan = assert_converts(rewritten(tmp_path, change, 3.0), two_cameras())
    assert len(plan) > 15 and plan.dropped["state.joints: stale"] >= 2


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**31),
    jitter_s=st.sampled_from([0.0, 0.01, 0.2]),
    lost=st.sampled_from([0.0, 0.2]),
    cut_at=st.integers(1, 6),
    target=st.sampled_from([20_000, 10**9]),
)
def test_segments_and_both_passes_agree(tmp_path_factory, seed, jitter_s, lost, cut_at, target):
    folder, contract = tmp_path_factory.mktemp("bag"), two_cameras()

    def change(topic, ns, msg):
        for at, found in halves(topic, ns, msg, cut_at):
            yield from crowd(topic, at, found)

    trouble = Trouble(lost=lost, jitter_s=jitter_s)
    bag = rewritten(folder, change, seed=seed, trouble=trouble)
    topics, parts = map_topics(bag, contract), []
    for segment in cut(bag.weights, find_spans(bag, topics)[0], target):
        path = folder / f"{segment.number}"
        ScanJob(BagPlace.of(bag, 10**8), contract, topics, segment, (), path, {}).run()
        parts.append(read_part(path, {}, check=True))
    close_last()
    scan = joined_scan(parts, contract, folder)
    count = bag.topics[STATES].count
    assert scan.observed["state.joints"].others == {"finger, thumb": count // 2}
    assert scan.observed["state.joints"].unreadable == 0
    assert_same(planned(bag, contract, scan), reference(bag, contract), bag, contract)


def test_a_joint_that_is_lost_costs_the_frames_as_unreadable(tmp_path):
    def change(topic, ns, msg):
        lost = topic == STATES and 0.8e9 < ns - START_NS < 1.0e9
        yield ns, (state(msg, ARM[:6], msg.position[:6]) if lost else msg)

    plan = assert_converts(rewritten(tmp_path, change), two_cameras())
    assert len(plan) > 15 and plan.dropped["state.joints: unreadable"] == 2


def test_only_other_joints_are_named_as_what_came(tmp_path):
    def change(topic, ns, msg):
        if topic == STATES:
            yield ns, state(msg, ["finger"], [0.0])
        elif topic == GOALS:
            yield from list(crowd(topic, ns, msg))[1:]
        else:
            yield ns, msg

    bag, contract = rewritten(tmp_path, change), two_cameras()
    plan = planned(bag, contract)
    assert plan == reference(bag, contract)
    assert "no readable message of state.joints" in plan
    assert plan.endswith("joint_states: messages of other joints came: finger")
    (topic,) = [t for t in inspect_bag(bag, contract).topics if t.name == STATES]
    assert topic.note == f"{bag.topics[STATES].count} messages of other joints (finger)"

    def goals(topic, ns, msg):
        yield from list(crowd(topic, ns, msg))[1:] if topic == GOALS else [(ns, msg)]

    plan = assert_converts(rewritten(tmp_path, goals), contract)
    why = f"{GOALS[1:]}: no command (messages of other joints came: wheel)"
    assert len(plan) == 0 and plan.trimmed[why] > 15


def test_one_half_alone_says_which_joints_are_missing(tmp_path):
    bag = rewritten(tmp_path, lambda *row: halves(*row, lost=lambda ns: True))
    contract = two_cameras()
    plan = planned(bag, contract)
    assert plan == reference(bag, contract)
    missing = ", ".join(ARM[3:])
    assert plan.endswith(f"joint_states: only a part of its joints came, not {missing}")


def test_the_balance_sheet_counts_and_names_them(tmp_path):
    bag = rewritten(tmp_path, crowd)
    build_dataset([bag.path], two_cameras(), tmp_path / "set", recipe=Recipe(instruction="go"))
    (sheet,) = load_index(tmp_path / "set").balance.values()
    topic, goals = sheet["topics"][STATES], sheet["topics"][GOALS]
    assert topic["of_other_joints"] == {"finger, thumb": topic["read"] // 2}
    assert goals["of_other_joints"] == {"wheel": goals["read"] * 2 // 3}
    assert topic["unreadable"] == goals["unreadable"] == 0
    rows = {row[0]: row[-1] for row in topic_rows(sheet)}
    assert rows[STATES] == f"{topic['read'] // 2} (finger, thumb)"
    others = topic["read"] // 2 + goals["read"] * 2 // 3
    assert f", {others} of other joints" in balance_rows([sheet])[1][1]
    assert f", {2 * others} of other joints" in balance_rows([sheet, sheet])[-1][1]


def test_a_rate_is_that_of_the_readings(tmp_path):
    """A gripper must not hide that the arm falls silent."""

    def change(topic, ns, msg):
        silent = topic == STATES and 0.5e9 < ns - START_NS < 1.5e9
        return [row for row in crowd(topic, ns, msg) if not (silent and row[1] is msg)]

    bag, contract = rewritten(tmp_path, change), two_cameras()
    (topic,) = [t for t in inspect_bag(bag, contract).topics if t.name == STATES]
    assert topic.max_gap_s == pytest.approx(1.0, abs=0.03)
    assert any("gap of" in fault for fault in topic.faults)
    assert topic.note == "200 messages of other joints (finger, thumb)"

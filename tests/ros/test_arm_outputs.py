"""The messages that move or stop an arm, by kind of output."""

from __future__ import annotations

import math
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from roboalign_policy.core.contract.contract import (
    ContractError,
    contract_from_dict,
    load_contract,
)
from roboalign_policy.core.gate.streams import StreamWatch
from roboalign_policy.core.gate.types import GateFault, Passed, Reason
from roboalign_policy.ros.arm_outputs import ArmOutputs

NOW_NS = 5_000_000_000
# A planar arm: two links of 0.4 m and 0.3 m that turn about z.
URDF = """<robot name="planar">
  <link name="base"/><link name="upper"/><link name="lower"/><link name="tool"/>
  <joint name="shoulder" type="revolute"><parent link="base"/><child link="upper"/>
    <axis xyz="0 0 1"/><limit lower="-2" upper="2" velocity="2" effort="1"/></joint>
  <joint name="elbow" type="revolute"><parent link="upper"/><child link="lower"/>
    <origin xyz="0.4 0 0"/><axis xyz="0 0 1"/>
    <limit lower="-2.5" upper="2.5" velocity="2" effort="1"/></joint>
  <joint name="flange" type="fixed"><parent link="lower"/><child link="tool"/>
    <origin xyz="0.3 0 0"/></joint>
</robot>"""


def planar(outputs, **action):
    """A planar arm that is taught by a twist of x and y, and a gripper."""
    align = {"clock": "receive"}
    twist = {
        "topic": "twist",
        "type": "geometry_msgs/msg/TwistStamped",
        "fields": {
            "dx": {"path": "twist.linear.x", "gain": 10.0},
            "dy": {"path": "twist.linear.y", "gain": 10.0},
        },
    }
    grip = {
        "topic": "grip",
        "type": "std_msgs/msg/Float64MultiArray",
        "fields": {"gripper": {"path": "data[0]"}},
        "align": align,
    }
    joints = [{"name": n, "path": f"position[{n}]", "unit": "rad"} for n in ("shoulder", "elbow")]
    places = [(n, f"pose.position.{n}", "m") for n in "xyz"]
    places += [(f"q{n}", f"pose.orientation.{n}", "1") for n in "xyzw"]
    pose = [{"name": n, "path": path, "unit": unit} for n, path, unit in places]
    stream = {"max_age_s": 0.2}
    return contract_from_dict(
        {
            "schema": "roboalign-contract/1",
            "name": "planar",
            "base_frame": "base",
            "rate_hz": 10.0,
            "observations": [
                {
                    "key": "state.joints",
                    "topic": "joint_states",
                    "type": "sensor_msgs/msg/JointState",
                    "fields": joints,
                    **stream,
                },
                {
                    "key": "state.ee",
                    "topic": "ee",
                    "type": "geometry_msgs/msg/PoseStamped",
                    "fields": pose,
                    **stream,
                },
            ],
            "action": {
                "control_mode": "ee_delta",
                "horizon": 4,
                "dims": [
                    {"name": "dx", "unit": "0.01 m", "limits": [-1.0, 1.0]},
                    {"name": "dy", "unit": "0.01 m", "limits": [-1.0, 1.0]},
                    {"name": "gripper", "unit": "1", "limits": [-1.0, 1.0]},
                ],
                "commands": [twist, grip],
                "outputs": outputs,
                **action,
            },
        }
    )


JOINT_OUTPUT = {
    "kind": "joint_trajectory",
    "topic": "arm/joint_trajectory",
    "stream": "state.joints",
    "joint_names": ["shoulder", "elbow"],
    "base": "base",
    "tip": "tool",
}


def watched(contract, joints=(0.3, 0.8), pose=(0.5, 0.1, 0.2, 0, 0, 0, 1), at_s=0.0):
    """Streams that have been heard once."""
    streams = StreamWatch(contract, 0.05)
    streams.sample("state.joints", NOW_NS, NOW_NS, at_s, np.array(joints, float))
    streams.sample("state.ee", NOW_NS, NOW_NS, at_s, np.array(pose, float))
    return streams


def passed(*rows, step_s=0.1):
    return Passed(np.array(rows, float), step_s)


def tool(joints):
    """Closed form of the planar arm."""
    a, b = joints
    return np.array(
        [
            0.4 * math.cos(a) + 0.3 * math.cos(a + b),
            0.4 * math.sin(a) + 0.3 * math.sin(a + b),
        ]
    )


def test_steps_go_out_as_twist_and_stop_as_zeros_with_the_gripper_kept():
    contract = planar([])
    outputs, streams = ArmOutputs(contract, None), watched(contract)
    twist, grip = outputs.motion(passed([0.5, -1.0, 0.7]), NOW_NS, streams, 0.0)
    assert (twist.twist.linear.x, twist.twist.linear.y) == (0.05, -0.1)
    assert list(grip.data) == pytest.approx([0.7])
    twist, grip = outputs.safe(NOW_NS, streams, 0.0)
    assert (twist.twist.linear.x, twist.twist.linear.y) == (0.0, 0.0)
    assert list(grip.data) == pytest.approx([0.7])


def test_a_gripper_that_was_never_commanded_is_not_commanded_by_a_stop():
    contract = planar([])
    twist, grip = ArmOutputs(contract, None).safe(NOW_NS, watched(contract), 0.0)
    assert twist.twist.linear.x == 0.0 and grip is None


@pytest.mark.parametrize("kind", ["joint_trajectory", "joint_group"])
def test_joint_targets_move_the_tool_by_the_steps_from_what_was_commanded(kind):
    contract = planar([{**JOINT_OUTPUT, "kind": kind}])
    outputs, streams = ArmOutputs(contract, URDF), watched(contract)
    assert [c.topic for c in outputs.channels] == ["grip", "arm/joint_trajectory"]
    place = tool((0.3, 0.8))
    for _ in range(5):
        _, msg = outputs.motion(passed([1.0, -0.5, 0.0]), NOW_NS, streams, 0.0)
        place = place + [0.01, -0.005]
        joints = msg.data if kind == "joint_group" else msg.points[0].positions
        np.testing.assert_allclose(tool(joints), place, atol=2e-5)
    if kind == "joint_trajectory":
        assert msg.joint_names == ["shoulder", "elbow"]
        assert msg.points[0].time_from_start.nanosec == 100_000_000


def test_a_stop_holds_the_measured_joints_and_the_next_motion_starts_there():
    contract = planar([JOINT_OUTPUT])
    outputs, streams = ArmOutputs(contract, URDF), watched(contract)
    outputs.motion(passed([1.0, 0.0, 0.0]), NOW_NS, streams, 0.0)
    streams.sample("state.joints", NOW_NS, NOW_NS, 0.1, np.array([0.5, 0.9]))
    _, held = outputs.safe(NOW_NS, streams, 0.1)
    assert list(held.points[0].positions) == pytest.approx([0.5, 0.9])
    _, msg = outputs.motion(passed([0.0, 0.0, 0.0]), NOW_NS, streams, 0.1)
    assert list(msg.points[0].positions) == pytest.approx([0.5, 0.9])


def test_a_stop_with_stale_joints_holds_what_was_commanded_last():
    contract = planar([JOINT_OUTPUT])
    outputs, streams = ArmOutputs(contract, URDF), watched(contract)
    _, sent = outputs.motion(passed([1.0, 0.0, 0.0]), NOW_NS, streams, 0.0)
    _, held = outputs.safe(NOW_NS, streams, 1.0)
    assert list(held.points[0].positions) == list(sent.points[0].positions)


def test_a_step_out_of_reach_is_a_stop_and_nothing_is_made():
    contract = planar([JOINT_OUTPUT])
    outputs, streams = ArmOutputs(contract, URDF), watched(contract, joints=(0.0, 0.02))
    with pytest.raises(GateFault) as fault:
        for _ in range(50):
            outputs.motion(passed([1.0, 0.0, 0.0]), NOW_NS, streams, 0.0)
    assert fault.value.reason is Reason.UNREACHABLE


def test_pose_targets_follow_from_the_measured_pose():
    contract = planar([{"kind": "pose_target", "topic": "target_pose", "stream": "state.ee"}])
    outputs, streams = ArmOutputs(contract, None), watched(contract)
    for _ in range(3):
        _, msg = outputs.motion(passed([1.0, -1.0, 0.0]), NOW_NS, streams, 0.0)
    place = msg.pose.position
    np.testing.assert_allclose([place.x, place.y, place.z], [0.53, 0.07, 0.2], atol=1e-9)
    assert msg.pose.orientation.w == pytest.approx(1.0)
    _, held = outputs.safe(NOW_NS, streams, 0.0)
    assert held.pose.position.x == pytest.approx(0.5)  # where it is, not where it was going


def test_a_gripper_action_gets_a_goal_only_when_the_command_changes(monkeypatch):
    class Goal:
        def __init__(self):
            self.command = SimpleNamespace(position=0.0, max_effort=0.0)

    fake = ModuleType("control_msgs.action")
    fake.GripperCommand = SimpleNamespace(Goal=Goal)
    monkeypatch.setitem(sys.modules, "control_msgs", ModuleType("control_msgs"))
    monkeypatch.setitem(sys.modules, "control_msgs.action", fake)
    output = {
        "kind": "gripper_action",
        "topic": "gripper/gripper_cmd",
        "gain": -50.0,
        "offset": 1.0,
        "max_effort": 20.0,
    }
    contract = planar([output])
    outputs, streams = ArmOutputs(contract, None), watched(contract)
    assert [c.topic for c in outputs.channels] == ["twist", "gripper/gripper_cmd"]
    goals = [
        outputs.motion(passed([0.0, 0.0, grip]), NOW_NS, streams, 0.0)[1]
        for grip in (-1.0, -1.0, 1.0, 1.0)
    ]
    assert [g and round(g.command.position, 6) for g in goals] == [0.04, None, 0.0, None]
    assert goals[0].command.max_effort == 20.0
    assert outputs.safe(NOW_NS, streams, 0.0)[1] is None


def test_without_control_msgs_a_gripper_action_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "control_msgs.action", None)
    with pytest.raises(ValueError, match="ros-\\$ROS_DISTRO-control-msgs"):
        ArmOutputs(planar([{"kind": "gripper_action", "topic": "g"}]), None)


def test_a_whole_chunk_is_one_trajectory_with_rising_times():
    data = load_contract("so101").to_dict()
    for command in data["action"]["commands"]:
        command["send"] = "chunk"
    contract = contract_from_dict(data)
    outputs, streams = ArmOutputs(contract, None), StreamWatch(contract, 0.05)
    rows = np.linspace(0.0, 0.5, 30)[:, None] * np.ones(6)
    arm, gripper = outputs.motion(Passed(rows, 1 / 30), NOW_NS, streams, 0.0)
    assert arm.joint_names[:2] == ["shoulder_pan", "shoulder_lift"] and len(arm.points) == 30
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in arm.points]
    assert (np.diff(times) > 0).all() and times[0] == pytest.approx(1 / 30)
    np.testing.assert_allclose([p.positions[1] for p in arm.points], rows[:, 1], atol=1e-6)
    assert not arm.points[0].velocities and arm.header.stamp.sec == 0
    assert len(gripper.points) == 30
    # A stop replaces the running trajectory by one point: the present positions.
    streams.sample("state.joints", NOW_NS, NOW_NS, 0.0, np.full(6, 0.1))
    arm, gripper = outputs.safe(NOW_NS, streams, 0.0)
    assert len(arm.points) == 1 and list(arm.points[0].positions) == pytest.approx([0.1] * 5)
    assert list(gripper.points[0].positions) == pytest.approx([0.0])  # as it is told now


@pytest.mark.parametrize(
    ("after_s", "told"), [(0.0, 0.0), (0.25, 0.15), (0.5, 0.4), (0.6, 0.5), (2.5, 0.5)]
)
def test_a_stop_within_a_chunk_never_leads_on_to_its_end(after_s, told):
    data = load_contract("so101").to_dict()
    for command in data["action"]["commands"]:
        command["send"] = "chunk"
    contract = contract_from_dict(data)
    outputs, streams = ArmOutputs(contract, None), StreamWatch(contract, 0.05)
    rows = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])[:, None] * np.ones(6)
    outputs.motion(Passed(rows, 0.1), NOW_NS, streams, 100.0)
    # No joints were ever heard: neither arm nor gripper may go where the chunk was to end.
    arm, gripper = outputs.safe(NOW_NS, streams, 100.0 + after_s)
    assert list(arm.points[0].positions) == pytest.approx([told] * 5)
    assert list(gripper.points[0].positions) == pytest.approx([told])


def controller_takes(msg, now_s):
    """Whether a joint_trajectory_controller begins a trajectory, by its own clock.

    Source: ros2_controllers, joint_trajectory_controller.cpp, validate_trajectory_msg.
    """
    start_s = msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9
    last = msg.points[-1].time_from_start
    return start_s == 0.0 or start_s + last.sec + last.nanosec * 1e-9 >= now_s


@pytest.mark.parametrize(("send", "steps"), [("step", 1), ("chunk", 5)])
@pytest.mark.parametrize("ahead_s", [-5.0, 0.0, 0.02, 0.05, 0.5, 3600.0])
def test_a_stop_is_taken_whatever_the_controllers_clock_says(send, steps, ahead_s):
    """Also where it took the motion, and its clock was set since."""
    data = load_contract("so101").to_dict()
    for command in data["action"]["commands"]:
        command["send"] = send
    contract = contract_from_dict(data)
    outputs, streams = ArmOutputs(contract, None), StreamWatch(contract, 0.05)
    streams.sample("state.joints", NOW_NS, NOW_NS, 0.0, np.full(6, 0.1))
    motion = outputs.motion(passed(*[[0.1] * 6] * steps, step_s=1 / 30), NOW_NS, streams, 0.0)
    now_s = NOW_NS * 1e-9 + ahead_s
    taken = [controller_takes(msg, now_s) for msg in motion]
    assert all(taken) == any(taken) == (send == "chunk" or ahead_s < 1 / 30)
    for msg in outputs.safe(NOW_NS, streams, 0.01):
        assert len(msg.points) == 1 and controller_takes(msg, now_s)
        assert msg.points[0].time_from_start.nanosec > 0  # and it can be reached
    again = outputs.motion(passed([0.1] * 6, step_s=1 / 30), NOW_NS, streams, 0.1)
    assert all((msg.header.stamp.sec == 5) for msg in again)  # steps keep their time


def test_a_stop_of_joints_by_kinematics_is_taken_whatever_the_controllers_clock_says():
    contract = planar([JOINT_OUTPUT])
    outputs, streams = ArmOutputs(contract, URDF), watched(contract)
    outputs.motion(passed([1.0, 0.0, 0.0]), NOW_NS, streams, 0.0)
    _, held = outputs.safe(NOW_NS, streams, 0.01)
    assert controller_takes(held, NOW_NS * 1e-9 + 3600.0)


def joint_arm(**safety):
    """The SO-101 by joint targets, one at a time; its outputs and streams."""
    data = load_contract("so101").to_dict()
    data["action"]["safety"] = {**data["action"].get("safety", {}), **safety}
    contract = contract_from_dict(data)
    return ArmOutputs(contract, None), StreamWatch(contract, 0.05)


def held_after(told, *measured, first_pose=0.3, after_s=0.02):
    """What a stop sends after a target, the joints having been measured; None: nothing."""
    outputs, streams = joint_arm(first_pose=first_pose)
    for number, value in enumerate(measured):
        at_s = 100.0 + after_s * (number + 1) / len(measured)
        streams.sample("state.joints", NOW_NS, NOW_NS, at_s, np.full(6, value))
    outputs.motion(Passed(np.full((1, 6), told), 1 / 30), NOW_NS, streams, 100.0)
    arm, gripper = outputs.safe(NOW_NS, streams, 100.0 + after_s)
    assert list(gripper.points[0].positions) == pytest.approx([told])  # a gripper keeps its grip
    return None if arm is None else arm.points[0].positions[0]


def test_a_stop_holds_where_the_joints_are():
    assert held_after(0.5, 0.4) == pytest.approx(0.4)


@pytest.mark.parametrize("glitch", [math.nan, 9.0, 0.5 + 0.31])
def test_a_stop_never_leads_to_joints_that_cannot_be_true(glitch):
    """Not finite, beyond the limits, or too far from what the arm is told: it is told to stay."""
    assert held_after(0.5, 0.5, glitch) == pytest.approx(0.5)


def test_a_jump_within_the_time_that_speeds_are_measured_over_is_no_place_to_hold():
    assert held_after(0.5, 0.5, 0.78, after_s=0.01) == pytest.approx(0.5)


def test_where_the_arm_was_a_while_ago_is_no_place_to_hold():
    """It is still fresh enough to drive by, but the arm has moved on since."""
    outputs, streams = joint_arm(first_pose=0.3)
    streams.sample("state.joints", NOW_NS, NOW_NS, 100.0, np.full(6, 0.4))
    outputs.motion(Passed(np.full((1, 6), 0.5), 1 / 30), NOW_NS, streams, 100.0)
    for after_s, held in ((0.04, 0.4), (0.08, 0.5)):
        outputs.motion(Passed(np.full((1, 6), 0.5), 1 / 30), NOW_NS, streams, 100.0 + after_s)
        arm, _ = outputs.safe(NOW_NS, streams, 100.0 + after_s)
        assert arm.points[0].positions[0] == pytest.approx(held)


def test_joints_that_were_old_when_they_arrived_are_no_place_to_hold():
    outputs, streams = joint_arm(first_pose=0.3)
    outputs.motion(Passed(np.full((1, 6), 0.5), 1 / 30), NOW_NS, streams, 100.0)
    late_ns = NOW_NS - 80_000_000
    streams.sample("state.joints", late_ns, NOW_NS, 100.0, np.full(6, 0.4))
    arm, _ = outputs.safe(NOW_NS, streams, 100.0)
    assert arm.points[0].positions[0] == pytest.approx(0.5)


def test_joints_in_doubt_long_after_the_last_target_hold_nothing():
    """By then somebody may have moved the arm: the last target would be a jump."""
    assert held_after(0.5, 0.5, math.nan, after_s=2.5) is None


def test_a_second_stop_does_not_go_back_to_the_target_of_the_run_before():
    outputs, streams = joint_arm(first_pose=0.3)
    outputs.motion(Passed(np.full((1, 6), 0.5), 1 / 30), NOW_NS, streams, 100.0)
    outputs.safe(NOW_NS, streams, 100.1)
    by_hand = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.2])
    streams.sample("state.joints", NOW_NS, NOW_NS, 100.2, by_hand)
    arm, gripper = outputs.safe(NOW_NS, streams, 100.2)
    assert list(arm.points[0].positions) == pytest.approx([0.1] * 5)
    assert list(gripper.points[0].positions) == pytest.approx([0.5])


def test_joint_outputs_do_not_hold_at_joints_beyond_their_limits():
    contract = planar([JOINT_OUTPUT])
    outputs, streams = ArmOutputs(contract, URDF), watched(contract)
    _, sent = outputs.motion(passed([1.0, 0.0, 0.0]), NOW_NS, streams, 0.0)
    streams.sample("state.joints", NOW_NS, NOW_NS, 0.1, np.array([2.6, 0.9]))
    _, held = outputs.safe(NOW_NS, streams, 0.1)
    assert list(held.points[0].positions) == list(sent.points[0].positions)
    assert outputs.safe(NOW_NS, streams, 0.1)[1] is None  # nor at a target of long ago


def test_pose_targets_do_not_hold_outside_of_the_workspace():
    box = {"stream": "state.ee", "x": [0.3, 0.6], "y": [-0.3, 0.3], "z": [0.0, 0.5]}
    output = {"kind": "pose_target", "topic": "target_pose", "stream": "state.ee"}
    contract = planar([output], safety={"workspace": box})
    outputs, streams = ArmOutputs(contract, None), watched(contract)
    _, sent = outputs.motion(passed([1.0, 0.0, 0.0]), NOW_NS, streams, 0.0)
    pose = np.array([0.9, 0.1, 0.2, 0.0, 0.0, 0.0, 1.0])
    streams.sample("state.ee", NOW_NS, NOW_NS, 0.1, pose)
    _, held = outputs.safe(NOW_NS, streams, 0.1)
    assert held.pose.position.x == pytest.approx(sent.pose.position.x)


def test_safe_stop_is_a_trajectory_without_points():
    data = load_contract("so101").to_dict()
    data["action"]["safe"] = "stop"
    contract = contract_from_dict(data)
    outputs = ArmOutputs(contract, None)
    arm, gripper = outputs.safe(NOW_NS, StreamWatch(contract, 0.05), 0.0)
    assert arm.joint_names and not arm.points and not gripper.points


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([{"kind": "pose_target", "topic": "p"}], "stream, which kind pose_target needs"),
        ([{**JOINT_OUTPUT, "stream": "state.jonts"}], "did you mean 'state.joints'"),
        ([{**JOINT_OUTPUT, "joint_names": ["shoulder"]}], "present positions of the 1"),
        ([JOINT_OUTPUT, {**JOINT_OUTPUT, "topic": "b"}], "one output that moves the arm"),
        ([{**JOINT_OUTPUT, "kind": "joint_trajectories"}], "one of joint_trajectory"),
    ],
)
def test_a_contract_with_wrong_outputs_is_refused(outputs, expected):
    with pytest.raises(ContractError, match=expected):
        planar(outputs)


def test_a_urdf_that_does_not_fit_names_what_is_wrong():
    with pytest.raises(ValueError, match="no robot_description"):
        ArmOutputs(planar([JOINT_OUTPUT]), None)
    with pytest.raises(ValueError, match="tooool"):
        ArmOutputs(planar([{**JOINT_OUTPUT, "tip": "tooool"}]), URDF)


def test_a_urdf_that_is_a_git_lfs_pointer_is_called_one(tmp_path):
    file = tmp_path / "arm.urdf"
    file.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize 4194304\n"
    )
    with pytest.raises(ValueError, match=f"urdf: {file} is a Git LFS pointer.* `git lfs pull`"):
        ArmOutputs(planar([{**JOINT_OUTPUT, "urdf": str(file)}]), None)

"""Tests of reading a URDF: what it says, and that a faulty one is refused by name."""

import math

import mujoco
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urdf_arms import (
    PANDA_JOINTS,
    UR_JOINTS,
    joint,
    link,
    panda,
    panda_pose,
    planar,
    robot,
    ur5e,
    ur5e_pose,
)

from roboalign_policy.kinematics import ArmSolver, JointLimits, Mimic, UrdfError, UrdfRobot
from roboalign_policy.kinematics.chain_model import ChainModel
from roboalign_policy.kinematics.urdf_text import MAX_CHARACTERS, MAX_DEPTH

LIMIT = (-1.0, 1.0, 2.0, 5.0)


def read(text: str) -> UrdfRobot:
    return UrdfRobot.from_text(text, "topic robot_description")


def test_names_limits_and_chain_of_a_ur5e():
    ur = read(ur5e())
    assert (ur.name, ur.root) == ("ur5e", "world")
    assert ur.joint_names("base_link", "tool0") == UR_JOINTS
    assert [part.name for part in ur.chain("wrist_3_link", "tool0")] == ["to_flange", "to_tool0"]
    limits = ur.joint_limits()
    assert list(limits) == list(UR_JOINTS)
    assert limits["elbow_joint"] == JointLimits(-math.pi, math.pi, math.pi)
    assert {part.effort for part in ur.joints if part.moves} == {150.0, 28.0}


def test_fingers_of_a_panda_are_no_part_of_the_arm_but_have_limits():
    arm = read(panda())
    assert arm.joint_names("panda_link0", "panda_hand_tcp") == PANDA_JOINTS
    limits = arm.joint_limits()
    assert limits["panda_joint4"] == JointLimits(-3.0718, -0.0698, 2.175)
    assert limits["panda_finger_joint1"] == JointLimits(0.0, 0.04, 0.2)
    follower = next(part for part in arm.joints if part.name == "panda_finger_joint2")
    assert follower.mimic == Mimic("panda_finger_joint1", 1.0, 0.0)


def test_a_continuous_joint_has_no_ends_and_perhaps_no_speed():
    text = robot(
        "r",
        *(link(name) for name in "abc"),
        joint("free", "a", "b", kind="continuous"),
        joint("timed", "b", "c", kind="continuous", limit=(0, 0, 3.0, 1.0)),
    )
    assert read(text).joint_limits() == {
        "free": JointLimits(-math.inf, math.inf, math.inf),
        "timed": JointLimits(-math.inf, math.inf, 3.0),
    }


def test_what_is_left_out_has_the_value_of_the_specification():
    text = robot(
        "r",
        link("a"),
        link("b"),
        '<joint name="j" type="prismatic"><parent link="a"/><child link="b"/>'
        '<limit upper="0.04" velocity="1" effort="1"/></joint>',
    )
    part = read(text).joints[0]
    assert (part.xyz, part.rpy, part.axis) == ((0, 0, 0), (0, 0, 0), (1, 0, 0))
    assert part.limits == JointLimits(0.0, 0.04, 1.0)


def test_other_elements_of_the_robot_are_passed_over():
    inside = (
        '<transmission name="t"><joint name="first"><hardwareInterface/></joint></transmission>'
        '<gazebo reference="upper"/><mujoco><compiler meshdir="nowhere"/></mujoco>'
        '<ros2_control name="x" type="system"><joint name="first"/></ros2_control>'
        "<!-- a comment --></robot>"
    )
    assert read(planar().replace("</robot>", inside)) == read(planar())


PART = joint("j", "a", "b", kind="revolute", limit=LIMIT)
LINKS = link("a") + link("b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty"]),
        ("not xml", ["well-formed"]),
        ("<robot><link name='a'>", ["well-formed"]),
        ("\ud800<robot/>", ["Unicode"]),
        ("<sdf version='1.9'/>", ["<sdf>", "expected <robot>"]),
        ("<robot xmlns:xacro='http://www.ros.org/wiki/xacro'><xacro:arm/></robot>", ["xacro"]),
        (robot("r"), ["link", "expected at least one"]),
        (robot("r", "<link/>"), ["link", "without a name"]),
        (robot("r", link("a"), link("a")), ["link 'a'", "twice"]),
        (robot("r", LINKS, link("c"), PART, PART.replace("'b'", "'c'")), ["joint 'j'", "twice"]),
        (robot("r", link("a"), PART), ["joint 'j'", "child", "'b'"]),
        (robot("r", link("b"), PART), ["joint 'j'", "parent", "'a'"]),
        (robot("r", LINKS, link("c"), PART), ["2 root links", "a, c"]),
        (robot("r", LINKS, joint("k", "b", "a"), PART), ["cycle", "a, b"]),
        (robot("r", LINKS, link("c"), PART, joint("k", "c", "c")), ["cycle", "c"]),
        (robot("r", LINKS, PART, joint("k", "a", "b")), ["joint 'k'", "'b'", "joint 'j'"]),
        (robot("r", LINKS, PART.replace("revolute", "hinge")), ["joint 'j'", "type", "'hinge'"]),
        (robot("r", LINKS, PART.replace('<child link="b"/>', "")), ["joint 'j'", "child"]),
        (robot("r", LINKS, PART.replace('<parent link="a"/>', "<parent/>")), ["parent"]),
        (
            robot("r", LINKS, joint("j", "a", "b", kind="revolute")),
            ["joint 'j'", "limit", "revolute"],
        ),
        (
            robot("r", LINKS, joint("j", "a", "b", kind="prismatic")),
            ["joint 'j'", "limit", "prismatic"],
        ),
        (
            robot("r", LINKS, PART.replace('lower="-1.0" upper="1.0"', "")),
            ["joint 'j'", "lower", "upper"],
        ),
        (robot("r", LINKS, PART.replace('velocity="2.0"', "")), ["limit", "velocity", "none"]),
        (robot("r", LINKS, PART.replace('effort="5.0"', "")), ["limit", "effort", "none"]),
        (robot("r", LINKS, PART.replace('velocity="2.0"', 'velocity="-2"')), ["velocity", "-2"]),
        (robot("r", LINKS, PART.replace('upper="1.0"', 'upper="-3"')), ["lower -1", "upper -3"]),
        (robot("r", LINKS, PART.replace('upper="1.0"', 'upper="nan"')), ["upper", "'nan'"]),
        (robot("r", LINKS, PART.replace('upper="1.0"', 'upper="${pi}"')), ["upper", "${pi}"]),
        (robot("r", LINKS, PART.replace('xyz="0 0 1"', 'xyz="0 0 0"')), ["axis", "length 1"]),
        (robot("r", LINKS, PART.replace('rpy="0 0 0"', 'rpy="0 0"')), ["origin", "rpy", "'0 0'"]),
        (robot("r", LINKS, PART.replace('rpy="0 0 0"', 'rpy="0 inf 0"')), ["origin", "'inf'"]),
        (robot("r", LINKS, PART.replace('xyz="0 0 0"', 'xyz="0 1e9 0"')), ["origin: xyz", "1000"]),
        (
            robot("r", LINKS, PART.replace("</joint>", '<mimic joint="k"/></joint>')),
            ["joint 'j'", "mimic", "'k'"],
        ),
        (
            robot("r", LINKS, PART.replace("</joint>", '<mimic joint="j"/></joint>')),
            ["joint 'j'", "mimic", "follows none"],
        ),
        (
            robot("r", LINKS, PART.replace("</joint>", '<mimic joint="k" offset="a"/></joint>')),
            ["joint 'j'", "mimic", "offset", "'a'"],
        ),
    ],
)
def test_a_fault_is_refused_with_its_name(text, words):
    with pytest.raises(UrdfError) as caught:
        read(text)
    assert all(word in str(caught.value) for word in ["topic robot_description", *words])


@pytest.mark.parametrize(
    "dtd",
    [
        '<!DOCTYPE robot [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
        '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;">]>',
        '<!DOCTYPE robot [<!ENTITY d SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE robot SYSTEM "http://localhost/robot.dtd">',
        "<!DOCTYPE robot>",
    ],
)
def test_a_document_type_is_refused_before_its_entities_are_read(dtd):
    with pytest.raises(UrdfError, match="document type 'robot'"):
        read(f"{dtd}<robot name='&d;'><link name='a'/></robot>")


def test_a_huge_text_and_a_deep_one_are_refused():
    with pytest.raises(UrdfError, match=f"expected at most {MAX_CHARACTERS}"):
        read(f"<robot>{' ' * MAX_CHARACTERS}</robot>")
    with pytest.raises(UrdfError, match=f"more than {MAX_DEPTH}"):
        read("<robot>" + "<link>" * (MAX_CHARACTERS // 7))


edits = st.tuples(st.integers(0, 2000), st.integers(0, 30), st.text(max_size=3))


@given(st.lists(edits, min_size=1, max_size=4))
def test_a_garbled_text_is_a_robot_or_a_urdf_error(changes):
    text = planar()
    for start, length, inserted in changes:
        start %= len(text)
        text = text[:start] + inserted + text[start + length :]
    try:
        read(text).joint_limits()
    except UrdfError as error:
        assert str(error).startswith("topic robot_description")


@pytest.mark.parametrize(
    ("base", "tip", "words"),
    [
        ("nowhere", "tool0", ["base", "'nowhere'", "base_link"]),
        ("base_link", "tool1", ["tip", "'tool1'", "tool0"]),
        ("tool0", "base_link", ["tip", "'base_link'", "'tool0' carries"]),
        ("camera", "tool0", ["tip", "'tool0'", "'camera' carries"]),
    ],
)
def test_a_chain_that_is_not_there_is_refused(base, tip, words):
    with pytest.raises(UrdfError) as caught:
        read(ur5e()).chain(base, tip)
    assert all(word in str(caught.value) for word in ["topic robot_description", *words])


angles = st.lists(st.floats(-3.0, 3.0), min_size=7, max_size=7)


@given(angles)
@example([0.0] * 7)
def test_forward_is_the_closed_form_of_the_makers_tables(q):
    ur = ArmSolver(read(ur5e()), "base_link_inertia", "tool0", UR_JOINTS)
    arm = ArmSolver(read(panda()), "panda_link0", "panda_link8", PANDA_JOINTS)
    for solver, pose, joints in ((ur, ur5e_pose, q[:6]), (arm, panda_pose, q)):
        position, rotation = solver.forward(np.array(joints))
        expected = pose(np.array(joints))
        np.testing.assert_allclose(position, expected[:3, 3], atol=1e-12)
        np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-12)


def test_the_smallest_numbers_of_a_text_are_no_fault():
    text = robot(
        "r", LINKS, joint("j", "a", "b", (1e-320, 0.1, 0), (0, 5e-324, 0), "revolute", LIMIT)
    )
    position, rotation = ChainModel(read(text).chain("a", "b"), ["j"]).forward(np.zeros(1))
    assert position.tolist() == [0.0, 0.1, 0.0] and (rotation == np.eye(3)).all()


numbers = st.floats(-2.0, 2.0, allow_subnormal=False)
vectors = st.tuples(numbers, numbers, numbers)
parts = st.tuples(
    st.sampled_from(["revolute", "continuous", "prismatic", "fixed"]),
    vectors,
    vectors,
    vectors.filter(lambda axis: math.hypot(*axis) > 0.1),
    numbers,
)


@settings(max_examples=60)
@given(st.lists(parts, min_size=1, max_size=8).filter(lambda found: found[0][0] != "fixed"))
def test_any_chain_is_where_mujocos_own_reader_of_urdf_puts_it(found):
    inertia = (
        '<inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/>'
    )
    text = "".join(
        f'<link name="l{place}">{inertia}</inertial></link>' for place in range(len(found) + 1)
    )
    for place, (kind, xyz, rpy, axis, _) in enumerate(found):
        limit = None if kind == "fixed" else (-4.0, 4.0, 1.0, 1.0)
        along = " ".join(repr(value) for value in axis)
        text += joint(f"j{place}", f"l{place}", f"l{place + 1}", xyz, rpy, kind, limit, along)
    text = robot("r", '<mujoco><compiler fusestatic="false"/></mujoco>', text)
    positions = {f"j{place}": part[4] for place, part in enumerate(found) if part[0] != "fixed"}

    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    for name, value in positions.items():
        data.joint(name).qpos[:] = value
    mujoco.mj_kinematics(model, data)
    tip = data.body(f"l{len(found)}")

    names = list(reversed(positions))  # any order
    chain = ChainModel(read(text).chain("l0", f"l{len(found)}"), names)
    position, rotation = chain.forward(np.array([positions[name] for name in names]))
    np.testing.assert_allclose(position, tip.xpos, atol=1e-9)
    np.testing.assert_allclose(rotation, tip.xmat.reshape(3, 3), atol=1e-9)

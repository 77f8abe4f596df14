"""Another safety gate on the same command topics, and others that publish there."""

from __future__ import annotations

import pytest

from roboalign_policy.core.gate.rival_gates import SILENT_S, RivalGates
from roboalign_policy.core.gate.types import GateState

OWN, OTHER, TOPIC = "/safety_gate_node", "/left/safety_gate_node", "/arm/joint_trajectory"


def seen(*nodes, gates=(), at_s=10.0, rivals=None):
    rivals = rivals or RivalGates(OWN)
    rivals.look({TOPIC: [OWN, *nodes], "/gripper": [OWN]}, gates, at_s)
    return rivals


def test_alone_it_may_be_enabled():
    rivals = seen()
    assert rivals.refusal() == rivals.enabled() == rivals.strangers == ""
    assert not rivals.speaks_for_own()


@pytest.mark.parametrize("node", [OTHER, OWN])
def test_another_gate_keeps_it_from_being_enabled_for_as_long_as_it_lives(node):
    rivals = seen(node, gates=[node])
    assert f"another safety gate, {node}" in rivals.refusal() and TOPIC in rivals.refusal()
    assert "`ros2 topic info -v" in rivals.refusal() and "ROS_DOMAIN_ID" in rivals.refusal()
    assert ("a second launch?" in rivals.refusal()) == (node == OWN)
    assert not rivals.heard_now()  # seen only: killed ones are, too
    for number in range(50):
        at_s = 10.0 + 0.1 * number
        rivals.heard(node, GateState.DISABLED, at_s)
        seen(node, gates=[node], at_s=at_s, rivals=rivals)
        assert rivals.refusal() and rivals.heard_now() and not rivals.enabled()
    seen(node, gates=[node], at_s=14.9 + SILENT_S + 0.1, rivals=rivals)
    assert rivals.refusal() == "" and not rivals.heard_now()


def test_a_killed_gate_that_is_still_known_is_waited_for_a_second_only():
    rivals = seen(OWN, gates=[OWN])
    assert rivals.refusal()
    seen(OWN, gates=[OWN], at_s=10.0 + SILENT_S, rivals=rivals)
    assert rivals.refusal() == "" and rivals.strangers == ""


@pytest.mark.parametrize("state", list(GateState))
def test_another_gate_that_is_enabled_too_is_told(state):
    rivals = seen(OTHER, gates=[OTHER])
    rivals.heard(OTHER, state, 10.0)
    told = rivals.enabled()
    assert bool(told) == (state in (GateState.READY, GateState.ACTIVE))
    assert not told or (OTHER in told and "is enabled" in told)


def test_of_two_of_one_name_the_disabled_one_is_silent():
    rivals = seen(OWN, gates=[OWN])
    assert not rivals.speaks_for_own()
    rivals.heard(OWN, GateState.DISABLED, 10.0)
    assert not rivals.speaks_for_own()  # both are disabled: both say so
    rivals.heard(OWN, GateState.STOPPED, 10.1)
    assert rivals.speaks_for_own()
    seen(OWN, gates=[OWN], at_s=10.1 + SILENT_S, rivals=rivals)
    assert rivals.speaks_for_own()  # it may only be late
    seen(OWN, gates=[OWN], at_s=15.2, rivals=rivals)
    assert not rivals.speaks_for_own()
    seen(at_s=15.3, rivals=rivals)
    assert not rivals.speaks_for_own()
    other = seen(OTHER, gates=[OTHER])
    other.heard(OTHER, GateState.ACTIVE, 10.0)
    assert not other.speaks_for_own()


def test_somebody_past_the_gates_is_named_and_keeps_nobody_from_driving():
    rivals = seen("/joystick", "")
    assert "not known yet" in rivals.refusal() and not rivals.strangers
    seen("/joystick", "", at_s=10.0 + SILENT_S, rivals=rivals)
    assert rivals.refusal() == rivals.enabled() == ""
    names = f"/joystick on {TOPIC}, a node whose name is not known on {TOPIC}"
    assert rivals.strangers == names
    seen(at_s=12.0, rivals=rivals)
    assert rivals.strangers == ""

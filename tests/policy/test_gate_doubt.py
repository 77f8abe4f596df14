"""Another gate keeps the gate shut; a lost controller stops it, in READY too."""

from __future__ import annotations

import pytest
from gate_world import World, delta_contract

from roboalign_policy.core.gate.types import GateFault, GateState, Reason

STEP = [0.1, 0.0, 0.0]
LOST = GateFault(Reason.NO_CONTROLLER, "/arm_controller on /arm was started anew")


def test_another_gate_keeps_it_from_being_enabled():
    world = World(delta_contract())
    world.streams()
    world.gate.controllers("", "another safety gate, /left_gate")
    refused = world.gate.enable(world.now_ns, world.t)
    assert refused == "two senders: another safety gate, /left_gate"
    assert (world.gate.state, world.gate.reason) == (GateState.DISABLED, Reason.TWO_SENDERS)
    world.ready()
    world.gate.controllers("", "another safety gate, /left_gate")
    world.drive(STEP, steps=3)
    assert world.gate.state is GateState.ACTIVE  # the first one drives on


@pytest.mark.parametrize("state", [GateState.DISABLED, GateState.READY, GateState.ACTIVE])
def test_doubt_stops_where_candidates_may_pass(state):
    world = World(delta_contract())
    if state is not GateState.DISABLED:
        world.ready()
    if state is GateState.ACTIVE:
        world.drive(STEP, steps=3)
    world.gate.doubt(LOST, world.t)
    if state is GateState.DISABLED:
        assert world.gate.state is GateState.DISABLED
        return
    assert (world.gate.state, world.gate.reason) == (GateState.STOPPED, Reason.NO_CONTROLLER)
    assert world.gate.pop_safe() == (state is GateState.ACTIVE)
    world.drive(STEP, steps=3)
    assert world.gate.state is GateState.STOPPED

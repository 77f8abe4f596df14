"""How runs end: in order, in doubt, by the gate; and that nothing follows the last word."""

import pytest
from realtime_world import CLOSED, NO_GATE, TAKEN, World, driving

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.drive.types import State

ALIVE, MOTION = CandidateKind.ALIVE, CandidateKind.MOTION
END, FAULT = CandidateKind.END, CandidateKind.FAULT


@pytest.mark.parametrize("reason", ["cancelled", "timeout", "preempted", "not_active", "shutdown"])
def test_run_that_ends_in_order_says_so_once(reason):
    world = driving()
    world.stop(reason)
    world.run(0.5)
    assert [o.kind for _, o in world.sent].count(END) == 1
    assert world.sent[-1][1].kind is END


def test_run_that_takes_over_from_one_that_moves_owes_its_last_word():
    """Also where it ends before it has said anything: else the gate takes it for a death."""
    world = driving()
    world.start()
    world.stop("cancelled")
    assert world.sent[-1][1].kind is END
    world.run(0.5)
    assert world.sent[-1][1].kind is END
    assert [o.kind for _, o in world.sent].count(END) == 1


def test_run_of_so_many_chunks_ends_in_order():
    world = World(horizon=3, mode="sync")
    world.start(max_chunks=2)
    world.run(2.0)
    times, outputs = world.motions()
    assert len(outputs) == 6
    assert world.drive.end.reason == "max_chunks"
    assert world.sent[-1][1].kind is END
    assert world.sent[-1][0] - times[-1] == pytest.approx(0.1, abs=1e-3)


def test_lost_camera_is_a_fault_at_once_and_nothing_follows():
    world = driving()
    world.missing = "stale: 0.42 s > 0.3 s"
    sent = world.run(1.0)
    assert (sent[-1][1].kind, sent[-1][1].reason) == (FAULT, "image.front: stale: 0.42 s > 0.3 s")
    assert [o.kind for _, o in sent].count(FAULT) == 1
    assert world.drive.end.reason == "gate_stop"
    assert "image.front: stale: 0.42 s > 0.3 s; the gate was told to stop" in (
        world.drive.end.message
    )


def test_missing_camera_before_the_first_motion_is_waited_for():
    world = World()
    world.missing = "never received"
    world.start()
    assert set(world.kinds(0.5)) == {ALIVE}
    assert world.drive.state is State.OBSERVATION_HOLD
    world.missing = ""
    assert MOTION in world.kinds(0.5)


def test_refused_chunk_while_driving_is_a_fault_although_the_old_one_has_steps_left():
    world = driving(horizon=8, replan_after_steps=2)
    world.answer_with = lambda request: world.chunk(status="undecodable")
    remaining = []
    world.realtime.answer = _watched(world.realtime.answer, world, remaining)
    sent = world.run(1.0)
    assert remaining[-1] > 0
    assert (sent[-1][1].kind, sent[-1][1].reason) == (FAULT, "undecodable: why")
    assert world.drive.end.reason == "gate_stop"


def _watched(answer, world, remaining):
    def answered(*values):
        remaining.append(world.drive.buffer.remaining)
        return answer(*values)

    return answered


def test_refused_chunks_before_the_first_motion_end_the_run_after_some():
    world = World(max_invalid_chunks=3)
    world.answer_with = lambda request: world.chunk(value=7.0)
    world.start()
    kinds = world.kinds(2.0)
    assert (kinds[-1], set(kinds[:-1])) == (FAULT, {ALIVE})
    assert (world.drive.end.reason, len(world.requests)) == ("chunk_fault", 3)
    # Each was asked about an image of its own.
    assert len({request.observation_ns for _, request in world.requests}) == 3


def test_model_that_raises_and_model_that_hangs_are_faults():
    world = driving()
    world.answer_with = lambda request: "the model broke"
    assert world.run(2.0)[-1][1].reason == "the model broke"
    assert (world.drive.state, world.drive.end.reason) == (State.FAULT, "inference_fault")
    world = driving(inference_timeout_s=0.7)
    world.latency_s = 60.0
    last = world.run(3.0)[-1][1]
    assert last.kind is FAULT
    assert "has not answered for 0.7 s" in last.reason


def test_nothing_is_sent_or_asked_while_the_gate_is_closed():
    world = World()
    world.gate = CLOSED
    world.start(patient=True)
    assert (world.run(1.0), world.requests) == ([], [])
    assert (world.drive.state, world.drive.reason) == (State.GATE_HOLD, "gate: stopped")
    world.gate = NO_GATE
    assert MOTION in world.kinds(0.5)
    world.gate = CLOSED
    assert world.kinds(0.5) == []
    assert (world.drive.end.reason, world.drive.end.message) == ("gate_stop", "gate: stopped")


def test_while_a_person_drives_there_are_signs_of_life_and_then_a_fresh_start():
    world = driving()
    world.gate = TAKEN
    assert set(world.kinds(1.0)) == {ALIVE}
    assert (world.drive.state, world.drive.reason) == (State.GATE_HOLD, TAKEN.reason)
    asked = len(world.requests)
    world.gate = NO_GATE
    again_s = world.now_s
    assert MOTION in world.kinds(0.5)
    assert world.requests[asked][1].observation_ns >= round(again_s * 1e9)
    assert world.requests[asked][1].remaining.shape == (0, 7)
    world.gate = TAKEN
    world.run(0.1)
    world.stop()
    assert world.kinds(0.2) == []  # the last word is the person's
    assert END not in [o.kind for _, o in world.sent]


def test_after_a_person_the_arm_begins_at_the_first_action_not_where_it_once_was():
    world = driving(contract="so101")
    world.gate = TAKEN
    world.run(0.3)
    world.gate = NO_GATE
    world.answer_with = lambda request: world.chunk(-0.1)
    _, outputs = world.motions(world.run(0.3))
    assert outputs[0].data[0, 0] == pytest.approx(-0.1)


def test_without_a_gate_the_run_goes_on_by_itself_after_a_lost_camera():
    world = driving(guarded=False)
    world.missing = "stale"
    assert MOTION not in world.kinds(0.5)[5:]
    assert world.drive.running
    world.missing = ""
    assert MOTION in world.kinds(0.5)
    assert FAULT not in [o.kind for _, o in world.sent]

"""The drive in real time: chunks that overlap, the gate, a model that hangs."""

import numpy as np
import pytest
from drive_steps import STEP_NS, T, answer, frame, make_drive, missing, step

from roboalign_policy.core.drive.types import Decision, State


@pytest.mark.parametrize("latency_steps", [0, 1, 2, 3])
def test_realtime_never_waits_and_joins_chunks_without_gap_or_repeat(latency_steps):
    """With a model faster than half a chunk every tick after the first answer commands."""
    drive = make_drive(lockstep=False, overtake_steps=T)
    drive.start("go", 0.0)
    pending, commanded = [], []
    for number in range(40):
        for due, request in [p for p in pending if p[0] <= number]:
            answer(drive, request, number, elapsed_s=latency_steps * 0.1)
            pending.remove((due, request))
        result = step(drive, number)
        if result.request is not None:
            pending.append((number + max(1, latency_steps), result.request))
        if result.action is not None:
            commanded.append(number)
    gaps = np.diff(commanded)
    assert gaps.max() <= max(1, latency_steps - T // 2 + 1)
    assert drive.counters.commands == len(commanded)


def test_realtime_model_slower_than_a_chunk_still_gets_through():
    drive = make_drive(lockstep=False)
    drive.start("go", 0.0)
    pending, commanded = None, 0
    for number in range(100):
        if pending is not None and number >= pending[0]:
            answer(drive, pending[1], number, elapsed_s=1.0)
            pending = None
        result = step(drive, number)
        if result.request is not None:
            pending = (number + 10, result.request)
        commanded += result.action is not None
    assert commanded >= 15
    assert drive.counters.refused == 0


def test_sync_holds_while_the_model_thinks_and_goes_on_at_the_chunks_begin():
    drive = make_drive(lockstep=False, mode="sync", replan_after_steps=2)
    drive.start("go", 0.0)
    answer(drive, step(drive, 0).request, 1)
    assert [step(drive, n).action.index for n in (1, 2)] == [0, 1]
    assert drive.idle
    request = step(drive, 3).request
    np.testing.assert_array_equal(request.remaining, np.full((2, 1), 0.1, np.float32))
    assert step(drive, 4).action is None  # two actions are left, but the chunk is used up
    answer(drive, request, 5)
    assert step(drive, 5).action.index == 0


def test_request_carries_what_the_running_chunk_still_holds():
    drive = make_drive(lockstep=False, replan_after_steps=1)
    drive.start("go", 0.0)
    first = step(drive, 0).request
    assert first.remaining.shape == (0, 1)
    answer(drive, first, 0)
    step(drive, 0)
    second = step(drive, 1).request
    assert (second.remaining.shape, second.remaining.dtype) == ((3, 1), np.float32)


def test_nothing_is_asked_or_taken_where_that_is_not_wanted():
    drive = make_drive(lockstep=False)
    drive.start("go", 0.0)
    assert drive.step(frame(0), 0, 0.0, ask=False).request is None
    request = drive.step(frame(0), 0, 0.0, take=False).request
    answer(drive, request, 0)
    assert drive.step(frame(0), 0, 0.0, take=False).action is None
    assert step(drive, 0).action.index == 0


def test_hung_model_ends_the_run_in_real_time_and_its_late_answer_moves_nothing():
    drive = make_drive(lockstep=False, inference_timeout_s=1.0)
    drive.start("go", 0.0, patient=True)
    request = step(drive, 0).request
    drive.watch(0.9)
    assert drive.running
    drive.watch(1.1)
    assert (drive.state, drive.end.reason) == (State.FAULT, "inference_fault")
    assert "has not answered for 1.1 s, limit 1 s" in drive.end.message
    assert answer(drive, request, 20) is None
    assert step(drive, 20) == Decision()


def test_closed_gate_forgets_the_chunk_and_the_run_goes_on_with_a_fresh_frame():
    drive = make_drive(lockstep=False)
    drive.start("go", 0.0)
    request = step(drive, 0).request
    answer(drive, request, 0)
    drive.gate_hold("gate: not enabled", 0.1)
    assert (drive.state, drive.reason) == (State.GATE_HOLD, "gate: not enabled")
    assert (drive.running, drive.buffer.remaining) == (True, 0)
    drive.gate_opened(0.2)
    assert (drive.state, drive.reason) == (State.RUNNING, "")
    result = step(drive, 2)
    assert (result.action, result.request.observation_ns) == (None, 2 * STEP_NS)


@pytest.mark.parametrize(("patient", "taken"), [(False, False), (True, False), (False, True)])
def test_a_goal_waits_only_so_long_for_the_gate(patient, taken):
    """A person who has taken over may keep the arm; who waits patiently waits for ever."""
    drive = make_drive(lockstep=False, observation_timeout_s=1.0)
    drive.start("go", 0.0, patient=patient)
    for tick in range(20):
        drive.gate_hold("gate: closed", tick * 0.1, taken=taken)
        drive.watch(tick * 0.1)
    if patient or taken:
        assert drive.running
    else:
        assert drive.end.reason == "gate_stop"
        assert "waited for the gate for 1.1 s: gate: closed" in drive.end.message


def test_a_note_stands_in_the_status_only_while_all_is_well():
    drive = make_drive(lockstep=False)
    drive.start("go", 0.0)
    drive.note("holding: no chunk")
    assert drive.reason == "holding: no chunk"
    step(drive, 1, missing(1))
    drive.note("")
    assert "image.front" in drive.reason


@pytest.mark.parametrize("overtake_steps", [0, 1, 2])
def test_an_arm_waits_for_the_next_chunk_once_it_has_gone_far_enough(overtake_steps):
    """The answer lies back by so many steps, and by no more."""
    drive = make_drive(lockstep=False, overtake_steps=overtake_steps)
    drive.start("go", 0.0)
    pending, places = [], []
    for number in range(40):
        for due, request in [p for p in pending if p[0] <= number]:
            chunk = answer(drive, request, number, elapsed_s=0.3)
            places.append(drive.buffer.commanded - chunk.place)
            pending.remove((due, request))
        result = step(drive, number)
        if result.request is not None:
            pending.append((number + 3, result.request))
    assert len(places) > 5
    assert set(places[1:]) == {overtake_steps}

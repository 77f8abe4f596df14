"""The drive: when it commands, when it asks, when it stops; in lock step and in real time."""

import pytest
from drive_steps import STEP_NS, T, answer, make_drive, missing, run_lockstep, step

from roboalign_policy.core.drive.types import State
from roboalign_policy.core.policy.accept import ChunkError


def test_idle_until_started():
    drive = make_drive()
    result = step(drive, 0)
    assert (result.action, result.request, drive.state) == (None, None, State.IDLE)


def test_lockstep_uses_up_a_chunk_then_asks():
    drive = make_drive()
    drive.start("go", 0.0)
    assert run_lockstep(drive, 6) == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1)]
    assert drive.counters.commands == 6


def test_lockstep_replans_after_the_steps_asked_for():
    drive = make_drive(replan_after_steps=2)
    drive.start("go", 0.0)
    assert run_lockstep(drive, 5) == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]


def test_lockstep_commands_nothing_while_the_model_thinks():
    drive = make_drive()
    drive.start("go", 0.0)
    assert step(drive, 0).request is not None
    again = step(drive, 0)
    assert (again.action, again.request, drive.waiting) == (None, None, True)


@pytest.mark.parametrize("lockstep", [True, False])
def test_missing_observation_stops_and_says_which(lockstep):
    drive = make_drive(lockstep)
    drive.start("go", 0.0)
    answer(drive, step(drive, 0).request, 0)
    assert step(drive, 0).action is not None
    assert step(drive, 1, missing(1)).action is None
    assert drive.state is State.OBSERVATION_HOLD
    assert drive.reason == "image.front: stale: 0.42 s > 0.3 s"
    assert drive.counters.stale == drive.counters.refused == 1
    # What was left of the chunk is gone: the next good frame asks anew instead of resuming.
    result = step(drive, 1)
    assert result.action is None
    assert result.request is not None


def test_answer_to_an_observation_before_the_hold_is_dropped():
    drive = make_drive(lockstep=False)
    drive.start("go", 0.0)
    request = step(drive, 0).request
    step(drive, 1, missing(1))
    assert answer(drive, request, 2) is None
    assert step(drive, 2).action is None


@pytest.mark.parametrize("status", ["undecodable", "non_finite", "out_of_limits"])
def test_invalid_chunk_stops_and_three_in_a_row_end_the_run(status):
    drive = make_drive()
    drive.start("go", 0.0)
    for _ in range(3):
        assert drive.end is None
        with pytest.raises(ChunkError, match=f"{status}: why"):
            answer(drive, step(drive, 0).request, 0, status=status, detail="why")
        assert drive.state is (State.CHUNK_HOLD if drive.end is None else State.IDLE)
    assert drive.end.reason == "chunk_fault" and drive.end.message == drive.reason
    assert (drive.counters.undecodable, drive.counters.commands) == (3, 0)
    assert step(drive, 0).request is None


def test_ok_chunk_beyond_the_limits_is_not_believed():
    drive = make_drive()
    drive.start("go", 0.0)
    with pytest.raises(ChunkError, match="out_of_limits: dx at step 0 is 1.2"):
        answer(drive, step(drive, 0).request, 0, value=1.2)


def test_valid_chunk_resets_the_count_of_invalid_ones():
    drive = make_drive(max_invalid_chunks=2)
    drive.start("go", 0.0)
    for _ in range(3):
        with pytest.raises(ChunkError):
            answer(drive, step(drive, 0).request, 0, status="undecodable")
        answer(drive, step(drive, 0).request, 0)
        drive.set_instruction(
            drive.instruction + "!"
        )  # drops the chunk, so that the next is asked
    assert drive.running


def test_instruction_changes_while_running():
    drive = make_drive()
    drive.start("first", 0.0)
    request = step(drive, 0).request
    assert request.instruction == "first"
    assert drive.set_instruction("second")
    assert answer(drive, request, 0) is None  # the answer to the old one is not executed
    assert step(drive, 0).request.instruction == "second"


def test_same_instruction_again_changes_nothing():
    drive = make_drive()
    drive.start("go", 0.0)
    run_lockstep(drive, 1)
    assert not drive.set_instruction("go")
    assert step(drive, 1).action.index == 1


@pytest.mark.parametrize("landed", [0, 11, 3])
def test_lockstep_jump_of_the_clock_drops_the_chunk(landed):
    """A reset simulator goes on at another stamp, earlier or later; no action survives it."""
    drive = make_drive()
    drive.start("go", 0.0)
    run_lockstep(drive, 2)
    result = step(drive, landed)
    assert result.action is None
    assert result.request.observation_ns == landed * STEP_NS


def test_lockstep_frame_that_comes_while_thinking_supersedes_the_question():
    drive = make_drive()
    drive.start("go", 0.0)
    stale = step(drive, 0).request
    step(drive, 20)  # the simulator was reset meanwhile
    assert answer(drive, stale, 20) is None
    assert step(drive, 20).request.observation_ns == 20 * STEP_NS


def test_max_chunks_end_the_run_after_the_last_action():
    drive = make_drive()
    drive.start("go", 0.0, max_chunks=2)
    run_lockstep(drive, 2 * T)
    assert drive.running
    assert step(drive, 2 * T).request is None
    assert (drive.end.reason, drive.end.chunks, drive.end.steps) == ("max_chunks", 2, 2 * T)


def test_new_run_forgets_the_chunk_of_the_old_one():
    drive = make_drive()
    drive.start("go", 0.0)
    run_lockstep(drive, 1)
    drive.stop("cancelled", "the client cancelled")
    assert (step(drive, 1).action, drive.end.steps) == (None, 1)
    drive.start("go", 0.0)
    assert step(drive, 1).request is not None


def test_inference_fault_stays_until_configured_again():
    drive = make_drive()
    drive.start("go", 0.0)
    step(drive, 0)
    drive.fail("CUDA out of memory")
    assert (drive.state, drive.end.reason) == (State.FAULT, "inference_fault")
    assert step(drive, 0).request is None
    drive.stop("not_active", "deactivated")
    assert drive.state is State.FAULT


def test_run_without_observations_ends_unless_patient():
    drive = make_drive(observation_timeout_s=1.0)
    drive.start("go", 0.0)
    drive.watch(0.9)
    assert drive.running
    drive.watch(1.1)
    assert drive.end.reason == "observation_fault"
    drive.start("go", 2.0, patient=True)
    drive.watch(100.0)
    assert drive.running


def test_thinking_is_not_silence():
    drive = make_drive(observation_timeout_s=1.0)
    drive.start("go", 0.0)
    step(drive, 0)
    drive.watch(50.0)
    assert drive.running


def test_replanning_after_more_steps_than_a_chunk_has_means_all_of_them():
    drive = make_drive(replan_after_steps=9)
    drive.start("go", 0.0)
    assert run_lockstep(drive, 5)[-1] == (2, 0)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mode": "rtc"}, "mode: found 'rtc', expected one of sync, async_blend"),
        ({"inference_timeout_s": 0.0}, "inference_timeout_s: found 0.0"),
        ({"max_chunk_age_s": 0.0}, "max_chunk_age_s: found 0.0"),
        ({"max_invalid_chunks": 0}, "max_invalid_chunks: found 0, expected 1"),
        ({"replan_after_steps": -1}, "replan_after_steps: found -1, expected 0"),
        ({"observation_timeout_s": -1.0}, "observation_timeout_s: found -1.0"),
    ],
)
def test_impossible_settings_fail_when_declared(values, text):
    with pytest.raises(ValueError, match=text):
        make_drive(**values)

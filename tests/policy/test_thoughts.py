"""A thought that is kept: who acts on it, when it is renewed, and when it is too old."""

import re

import numpy as np
import pytest
from drive_steps import STEP_NS, make_drive, prediction, step
from realtime_world import CLOSED, World

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.drive.thoughts import (
    EVERY_N,
    NEVER,
    WHEN_FULFILLED,
    Thought,
    Thoughts,
    ThoughtSettings,
)
from roboalign_policy.core.drive.types import State
from roboalign_policy.core.policy.accept import ChunkError

MOTION, FAULT = CandidateKind.MOTION, CandidateKind.FAULT


def keeping(mode=EVERY_N, chunks=2, max_age_s=4.0, drive_mode="async_blend", **options):
    """A world that drives with kept thoughts."""
    world = World(reasoning=ThoughtSettings(mode, chunks, max_age_s), mode=drive_mode, **options)
    world.start()
    return world


def texts(world):
    return [request.thought.text for _, request in world.requests]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mode": "sometimes"}, "reasoning: found 'sometimes', expected one of always, every_n"),
        ({"chunks": 0}, "reasoning_chunks: found 0, expected 1 or more"),
        ({"max_age_s": 0.0}, "max_thought_age_s: found 0.0, expected a positive number"),
    ],
)
def test_impossible_settings_are_refused(values, text):
    with pytest.raises(ValueError, match=text):
        ThoughtSettings(**values)


@pytest.mark.parametrize("mode", ["always", NEVER])
def test_without_kept_thoughts_the_policy_is_left_alone(mode):
    world = keeping(mode)
    world.run(2.0)
    assert world.thoughts == []
    assert [request.thought for _, request in world.requests] == [None] * len(world.requests)
    assert len(world.requests) > 2


@pytest.mark.parametrize("mode", ["sync", "async_blend"])
def test_one_thought_serves_several_chunks_and_the_next_is_made_beside_them(mode):
    world = keeping(chunks=3, drive_mode=mode)
    world.run(6.0)
    said = texts(world)
    assert said[:3] == ["thought 1"] * 3
    # The second is asked for together with the third chunk, which does not wait for it.
    third_s = world.times_asked()[2]
    asked_ns = world.thoughts[1][1].observation_ns
    assert asked_ns == world.requests[2][1].observation_ns
    assert world.thoughts[1][0] == pytest.approx(third_s + world.think_s, abs=1e-3)
    assert said[3:6] == ["thought 2"] * 3
    assert world.drive.state is State.RUNNING


def test_the_first_chunk_waits_for_the_first_thought_and_comes_at_once_then():
    world = keeping(latency_s=0.05)
    world.think_s = 0.5
    world.run(1.0)
    thought_s = world.thoughts[0][0]
    assert world.times_asked()[0] == pytest.approx(thought_s, abs=1e-3)
    assert world.motions()[0][0] >= thought_s + 0.05 - 1e-3


def test_a_chunk_tells_how_old_its_thought_is():
    world = keeping(chunks=2, drive_mode="sync")
    world.run(4.0)
    first, second = (request for _, request in world.requests[:2])
    assert first.thought == second.thought
    assert second.observation_ns - second.thought.observation_ns > 0.8e9


def test_a_thought_that_is_too_old_stops_the_arm_like_an_old_image():
    world = keeping(chunks=1, max_age_s=1.5)
    world.run(1.0)
    assert MOTION in [output.kind for _, output in world.sent]
    world.think_s = 60.0  # the thinker hangs
    sent = world.run(3.0)
    kinds = [output.kind for _, output in sent]
    assert kinds[-1] is FAULT
    reason = sent[-1][1].reason
    assert re.match(r"thought: its observation is 1\.[56]\d\d s old", reason)
    assert "max_thought_age_s 1.500 s" in reason
    assert world.drive.end.reason == "gate_stop"
    last = world.thoughts[-1][1].observation_ns / 1e9
    assert sent[-1][0] - last == pytest.approx(1.55, abs=0.06)


def test_a_thinker_that_hangs_before_the_first_motion_is_a_fault():
    world = keeping(inference_timeout_s=2.0)
    world.think_s = 60.0
    world.run(3.0)
    assert world.requests == []
    assert world.drive.state is State.FAULT
    assert "the model has not answered" in world.drive.end.message


def test_thoughts_that_come_too_late_end_the_run():
    world = keeping(max_age_s=0.5, max_invalid_chunks=2)
    world.think_s = 0.8
    world.run(4.0)
    assert world.requests == []
    assert world.drive.end.reason == "chunk_fault"
    assert "too_old: thought: its observation is 0.8" in world.drive.end.message


def test_a_thought_of_another_instruction_is_neither_kept_nor_waited_for():
    world = keeping(chunks=5)
    world.run(1.0)
    world.drive.set_instruction("something else")
    world.run(0.6)
    asked = [request.instruction for _, request in world.thoughts]
    assert asked[-1] == "something else"
    late = world.requests[-1][1]
    assert (late.instruction, late.thought.text) == ("something else", f"thought {len(asked)}")


def test_the_closed_gate_forgets_what_was_thought():
    world = keeping(chunks=50)
    world.run(0.5)
    assert len(world.thoughts) == 1
    world.gate = CLOSED
    world.run(0.2)
    assert world.drive.end.reason == "gate_stop"
    world.gate = type(CLOSED)(True, False, "")
    world.start()
    world.run(1.0)
    assert len(world.thoughts) == 2
    assert texts(world)[-1] == "thought 2"


def test_a_fulfilled_thought_is_not_acted_on():
    """The gripper closes in the first chunk's step 2: what led there is over."""
    world = keeping(WHEN_FULFILLED, max_age_s=20.0, latency_s=0.05, drive_mode="sync")
    grip = list(world.contract.action.names).index("gripper")

    def answer(request):
        found = world.chunk()
        closed = request.thought.text != "thought 1"
        found.actions[:, grip] = -1.0
        found.actions[2 if not closed else 0 :, grip] = 1.0
        return found

    world.answer_with = answer
    world.run(6.0)
    said = texts(world)
    assert said[0] == "thought 1"
    assert set(said[1:]) == {"thought 2"}
    times, outputs = world.motions()
    closing_s = next(at for at, out in zip(times, outputs, strict=True) if out.data[0, grip] > 0)
    # It is asked for with the first frame after the step that closed the gripper.
    second = world.thoughts[1][1]
    assert 0.0 < second.observation_ns / 1e9 - closing_s <= 0.11
    assert second.place > 2


def test_a_thought_that_is_fulfilled_while_the_model_computes_is_not_acted_on():
    """The next chunk is asked for with it before the gripper closes, and comes after that."""
    world = keeping(WHEN_FULFILLED, max_age_s=20.0, latency_s=0.35, overtake_steps=8)
    grip = list(world.contract.action.names).index("gripper")

    def answer(request):
        found = world.chunk(0.1 if request.thought.text == "thought 1" else -0.1)
        found.actions[:, grip] = 1.0
        if len(world.requests) == 1:
            found.actions[:6, grip] = -1.0
        return found

    world.answer_with = answer
    world.run(3.0)
    times, outputs = world.motions()
    gripper = np.array([out.data[0, grip] for out in outputs])
    closing_s = times[np.argmax(gripper > 0)]
    late = [at for at, request in world.requests if request.thought.text == "thought 1"][-1]
    assert late < closing_s < late + world.latency_s
    assert len(world.thoughts) == 2
    # Two steps of the first chunk follow; what moves the arm then is made with the new thought.
    forward = np.array([out.data[0, 0] for out in outputs])[times >= closing_s]
    assert (forward > 0).sum() <= 2
    assert (forward < 0).sum() > 5


def test_a_chunk_whose_thought_grows_too_old_stops_though_a_newer_thought_is_there():
    world = keeping(chunks=1, max_age_s=1.0, latency_s=0.05, horizon=20, replan_after_steps=6)
    world.run(0.5)
    world.latency_s = 60.0  # the next chunk does not come, the next thought does
    world.run(2.0)
    assert len(world.thoughts) > 1
    first_ns = world.thoughts[0][1].observation_ns
    kept = [at for at, out in world.sent if out.kind is MOTION]
    assert max(kept) - first_ns / 1e9 <= 1.0 + 0.1


def test_an_arm_that_waits_is_not_stopped_by_the_thought_of_a_chunk_that_is_used_up():
    drive = make_drive(
        lockstep=False,
        mode="sync",
        replan_after_steps=2,
        reasoning=ThoughtSettings(EVERY_N, 1, 0.5),
    )
    drive.start("go", 0.0)
    drive.thought(step(drive, 0).asked.thought, "x", 0, 0.0)
    first = step(drive, 0)
    drive.answer(first.request, prediction(), 0, 0.01, 0.0)
    drive.thoughts.take(Thought("y", 2 * STEP_NS, 2))
    commanded = [step(drive, number).action for number in (1, 2)]
    assert None not in commanded and drive.used_up
    waits = [step(drive, number) for number in (3, 6)]  # at 0.6 s "x" is too old, "y" is not
    assert waits[0].request.thought.text == "y"
    assert [wait.action for wait in waits] == [None, None]
    assert drive.state is State.RUNNING and drive.waiting


def test_a_chunk_that_comes_with_too_old_a_thought_is_refused():
    drive = make_drive(lockstep=False, reasoning=ThoughtSettings(EVERY_N, 2, 0.5))
    drive.start("go", 0.0)
    thinking = step(drive, 0).asked.thought
    drive.thought(thinking, "x", STEP_NS, 0.1)
    request = step(drive, 1).request
    assert request.thought.text == "x"
    with pytest.raises(ChunkError, match=r"thought: its observation is 0\.600 s old"):
        drive.answer(request, prediction(), 6 * STEP_NS, 0.5, 0.6)
    assert drive.state is State.CHUNK_HOLD
    assert step(drive, 7).action is None


def test_an_unfulfilled_thought_is_renewed_at_half_its_age():
    world = keeping(WHEN_FULFILLED, max_age_s=4.0)
    world.run(7.0)
    asked_s = [request.observation_ns / 1e9 for _, request in world.thoughts]
    np.testing.assert_allclose(np.diff(asked_s), 2.1, atol=0.11)
    assert world.drive.state is State.RUNNING


def kept_in_lock_step(drive, steps):
    """Thoughts that the policy was given, and (chunk, index) of each step."""
    given, commanded = [], []
    for number in range(steps):
        result = step(drive, number)
        if result.request is not None:
            assert result.asked.thought is None
            given.append(result.request.thought and result.request.thought.text)
            answer = prediction()
            answer.reasoning = given[-1] or f"thought at {number}"
            drive.answer(result.request, answer, number * STEP_NS, 0.05, number * 0.1)
            result = step(drive, number)
        commanded.append((result.action.sequence, result.action.index))
    return given, commanded


def test_in_lock_step_the_policy_thinks_before_every_nth_chunk():
    drive = make_drive(reasoning=ThoughtSettings(EVERY_N, 3))
    drive.start("go", 0.0)
    given, commanded = kept_in_lock_step(drive, 24)
    assert given == [None, "thought at 0", "thought at 0", None, "thought at 12", "thought at 12"]
    assert commanded == [(1 + i // 4, i % 4) for i in range(24)]


def test_in_lock_step_too_old_a_thought_is_made_anew_and_never_acted_on():
    """It is too old in the middle of the second chunk: the rest of that goes."""
    drive = make_drive(reasoning=ThoughtSettings(EVERY_N, 3, max_age_s=0.5))
    drive.start("go", 0.0)
    given, commanded = kept_in_lock_step(drive, 14)
    assert given == [None, "thought at 0", None, "thought at 6", None]
    assert commanded[:8] == [*((1, i) for i in range(4)), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert drive.state is State.RUNNING


def test_what_is_given_is_told_to_be_frozen():
    """In real time the image is older than the last step, and the answer takes its time."""
    world = World(latency_s=0.25, overtake_steps=8, transport_s=0.15)
    world.start()
    world.run(4.0)
    late = world.requests[-1][1]
    assert late.frozen == 4  # one step that the image does not show, and ceil(0.25 s / 0.1 s)
    assert len(late.remaining) >= late.frozen
    assert world.requests[0][1].frozen == 0


def test_lock_step_freezes_nothing():
    drive = make_drive(replan_after_steps=2)
    drive.start("go", 0.0)
    request = step(drive, 0).request
    drive.answer(request, prediction(), 0, 0.05, 0.0)
    for number in range(2):
        step(drive, number)
    request = step(drive, 2).request
    assert (request.frozen, len(request.remaining)) == (0, 2)


def test_thoughts_are_none_before_the_first():
    thoughts = Thoughts(ThoughtSettings(EVERY_N), lambda action: (), beside=True)
    assert thoughts.acted_on(0) is None
    assert thoughts.wanted(0)
    thoughts.take(Thought("x", 0, 0))
    assert thoughts.acted_on(10**9).text == "x"

"""What goes out at every tick, and when the model is asked."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_world import World, driving

from roboalign_policy.core.candidate import CandidateKind
from roboalign_policy.core.drive.types import State

ALIVE, MOTION, HOLD = CandidateKind.ALIVE, CandidateKind.MOTION, CandidateKind.HOLD


def test_steps_go_out_at_the_contracts_rate_and_signs_of_life_between():
    world = driving(latency_s=0.02)
    kinds = world.kinds(1.0)
    assert len(kinds) == 50
    assert set(kinds) == {MOTION, ALIVE}
    times, outputs = world.motions()
    np.testing.assert_allclose(np.diff(times[-8:]), 0.1, atol=1e-3)
    assert outputs[-1].data.shape == (1, 7)
    assert outputs[-1].step_s == 0.1
    assert outputs[-1].chunk in (world.drive.sequence - 1, world.drive.sequence)


def test_joint_positions_go_out_at_every_tick():
    world = driving(contract="so101", latency_s=0.02)
    kinds = world.kinds(1.0)
    assert (len(kinds), set(kinds)) == (100, {MOTION})
    assert world.motions()[1][-1].step_s == pytest.approx(0.01)


def test_before_the_first_chunk_there_are_signs_of_life_only():
    world = World(latency_s=1.0)
    world.start()
    assert set(world.kinds(0.9)) == {ALIVE}


@pytest.mark.parametrize("contract", ["sim_panda", "so101"])
def test_sync_holds_while_the_model_thinks(contract):
    world = driving(contract=contract, mode="sync", horizon=3, latency_s=0.3)
    kinds = world.kinds(1.6)
    assert {MOTION, HOLD} <= set(kinds)
    assert world.realtime.underruns == 0
    held = [output for _, output in world.sent if output.kind is HOLD]
    still = 0.0 if contract == "sim_panda" else np.float64(np.float32(0.1))
    assert all(output.data[0, 0] == still for output in held)
    # It thinks from the end of a chunk on, and about what it sees then.
    (asked_s, request), times = world.requests[-1], world.motions()[0]
    assert asked_s - times[times < asked_s].max() >= (0.08 if contract == "sim_panda" else 0.0)
    assert request.observation_ns == round(asked_s * 1e9)


def test_late_chunk_makes_the_arm_rest_and_the_status_says_so():
    world = World(horizon=4, latency_s=0.05, overtake_steps=4)
    world.start()
    world.run(0.3)
    world.latency_s = 1.0
    kinds = world.kinds(1.0)
    assert HOLD in kinds
    assert world.drive.reason.startswith("holding: no chunk, chunk 2 is used up (underrun 1)")
    assert world.drive.state is State.RUNNING
    world.latency_s = 0.05
    world.run(0.4)
    assert (world.drive.reason, world.drive.running) == ("", True)


def test_a_rest_that_the_settings_want_is_no_underrun():
    world = driving(horizon=8, latency_s=0.3, overtake_steps=1)
    kinds = world.kinds(3.0)
    assert {MOTION, HOLD} <= set(kinds)
    assert world.realtime.underruns == 0
    assert world.drive.running


def test_the_way_to_rest_is_motion_of_no_chunk():
    world = World(contract="so101", horizon=4, latency_s=0.05, acceleration=2.0)
    world.answer_with = lambda request: _rising(world)
    world.start()
    world.run(0.2)
    world.latency_s = 2.0
    _, outputs = world.motions(world.run(1.0))
    ramp = [output.data[0, 0] for output in outputs if output.chunk == 0]
    assert len(ramp) > 10
    assert np.all(np.diff(ramp) > 0)
    assert np.all(np.diff(ramp, 2) < 0)


def _rising(world):
    prediction = world.chunk()
    prediction.actions[:] = np.linspace(0, 0.3, len(prediction.actions))[:, None]
    return prediction


def test_fast_model_answers_each_image_at_once():
    """Camera stamp to command is the model's time: no wait for any tick."""
    world = driving(
        contract="so101", rate_hz=30.0, camera_hz=30.0, latency_s=0.003, mode="sync",
        replan_after_steps=1, horizon=2,
    )  # fmt: skip
    world.run(0.0203)  # so that image and tick do not fall together
    world.next_image_s = world.now_s + 0.011
    before = len(world.requests)
    times, outputs = world.motions(world.run(2.0))
    assert len(world.requests) - before == pytest.approx(60, abs=2)
    firsts = {output.chunk: at_s for at_s, output in zip(times[::-1], outputs[::-1], strict=True)}
    begins = [at_s for chunk, at_s in sorted(firsts.items()) if chunk][2:-1]
    images = np.array(world.asked_images_s)
    waits = [at_s - images[images <= at_s].max() for at_s in begins]
    assert np.max(waits) <= 0.003 + 2e-4
    assert np.min(np.diff(begins)) >= 0.8 / 30 - 1e-3


@pytest.mark.parametrize("mode", ["sync", "async_blend"])
@pytest.mark.parametrize("contract", ["sim_panda", "so101"])
@given(data=st.data())
@settings(max_examples=60)
def test_steps_never_come_faster_than_the_contract_allows(mode, contract, data):
    world = World(
        contract=contract,
        mode=mode,
        horizon=data.draw(st.integers(1, 6)),
        replan_after_steps=data.draw(st.integers(0, 3)),
        camera_hz=data.draw(st.floats(5.0, 60.0)),
        acceleration=data.draw(st.sampled_from([None, 3.0, 50.0])),
    )
    world.answer_with = lambda request: _late(world, data)
    world.start(patient=True)
    steps, take = [], world.drive.buffer.take

    def taken(now_ns):
        action = take(now_ns)
        steps.extend([world.now_s] if action is not None else [])
        return action

    world.drive.buffer.take = taken
    world.run(1.5)
    assert world.drive.running
    assert steps
    assert np.all(np.diff(steps) >= 0.8 * 0.1 - 1e-6)
    times, _ = world.motions()
    least_s = 0.8 * (0.1 if contract == "sim_panda" else 0.01)
    assert np.all(np.diff(times) >= least_s - 2e-4)
    # One message a tick, no more, no less; those off the beat count from themselves on.
    assert len(world.sent) == world.ticks


def _late(world, data):
    world.latency_s = data.draw(st.floats(0.001, 0.4))
    return world.chunk(data.draw(st.floats(-0.1, 0.2)))


def test_whole_chunks_go_out_once_each():
    world = World(contract="so101", send="chunk", horizon=4, latency_s=0.02)
    world.start()
    sent = world.run(2.0)
    times, outputs = world.motions(sent)
    assert [output.chunk for output in outputs] == list(range(1, len(outputs) + 1))
    assert {output.data.shape[0] for output in outputs} <= {2, 3, 4}
    assert {output.step_s for output in outputs} == {0.1}
    assert {o.kind for _, o in sent} == {ALIVE, MOTION}
    world = World(
        contract="so101", send="chunk", horizon=4, latency_s=0.3, mode="sync", replan_after_steps=2
    )
    world.start()
    sent = world.run(2.0)
    # The arm waits for the model after two steps, so no more than two may be on their way.
    assert {output.data.shape[0] for output in world.motions(sent)[1]} == {2}
    assert HOLD in {o.kind for _, o in sent}


def test_no_image_is_asked_about_twice_and_an_old_one_only_after_a_whole_step():
    world = driving(mode="sync", replan_after_steps=1, camera_hz=30.0, latency_s=0.01)
    world.next_image_s = world.now_s + 0.35  # the camera pauses
    before = len(world.requests)
    world.run(0.34)
    assert len(world.requests) - before <= 1
    world.run(1.0)
    asked_s, images_s = (np.array(v) for v in (world.times_asked(), world.asked_images_s))
    assert len(asked_s) > before + 5
    assert np.all(np.diff(images_s) > 0)
    # All but the first of the run and the one in the pause begin with an image.
    assert np.sum(asked_s[1:] - images_s[1:] > 1e-6) <= 1


def test_an_image_that_lies_there_is_not_taken_where_the_next_one_is_due():
    """Images every 70 ms, steps every 100 ms: waiting for an image beats an old one."""
    world = World(mode="sync", replan_after_steps=1, camera_hz=1 / 0.07, latency_s=0.01)
    world.start()
    world.run(3.0)
    asked_s, images_s = (np.array(v) for v in (world.times_asked(), world.asked_images_s))
    assert len(asked_s) > 20
    np.testing.assert_allclose(asked_s[1:], images_s[1:], atol=1e-6)


def test_new_run_begins_where_its_first_action_is():
    world = driving(contract="so101")
    world.stop()
    world.answer_with = lambda request: world.chunk(-0.1)
    world.start()
    _, outputs = world.motions(world.run(0.2))
    assert outputs[0].data[0, 0] == pytest.approx(-0.1)

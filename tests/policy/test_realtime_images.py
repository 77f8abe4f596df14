"""Steps and images of one rate: which step answers which image, and which step an image shows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from realtime_world import World

from roboalign_policy.core.drive.pacing import Due, Pace

CAMERA_S = 0.1


def taken_by_arm(world):
    """Motions between each exposure and the next, as an arm that samples commands sees them."""
    times, _ = world.motions()
    edges = [at_s for at_s in world.exposures_s if times[0] <= at_s <= times[-1]]
    return np.histogram(times, edges)[0]


@given(
    latency_s=st.floats(0.02, 0.25),
    transport_s=st.floats(0.005, 0.05),
    jitter=st.lists(st.floats(-0.004, 0.004), min_size=20, max_size=20),
)
@settings(max_examples=30, deadline=None)
def test_an_arm_that_samples_with_its_camera_takes_each_step_once(latency_s, transport_s, jitter):
    world = World(camera_hz=1 / CAMERA_S, latency_s=latency_s, transport_s=transport_s)
    world.start(patient=True)
    for late_s in jitter:
        world.transport_s = transport_s + late_s
        world.run(0.15)
    counts = taken_by_arm(world)
    assert len(counts) > 5
    assert counts.max() == 1  # twice: the one before is lost, and the next step comes late
    if latency_s < CAMERA_S:  # else the arm rests now and then, waiting for the model
        assert counts.min() == 1


def test_the_first_step_begins_with_the_next_image():
    world = World(camera_hz=10.0, latency_s=0.087, transport_s=0.015)
    world.start()
    world.run(0.5)
    times, _ = world.motions()
    np.testing.assert_allclose(times[0], 0.1 + 0.015, atol=1e-3)


def test_without_images_the_first_step_begins_a_period_later():
    world = World(camera_hz=10.0, latency_s=0.05, transport_s=0.015)
    world.start()
    world.run(0.03)
    world.next_image_s = 10.0
    world.run(0.5)
    assert world.motions()[0][0] == pytest.approx(0.015 + 0.05 + 0.1, abs=0.021)


def test_the_model_is_told_what_the_image_does_not_show_yet():
    """A step sent after the exposure is skipped in the chunk, and stands in ``remaining``."""
    world = World(camera_hz=10.0, latency_s=0.03, transport_s=0.01)
    world.answer_with = lambda request: counting(world)
    world.start(patient=True)
    world.run(0.6)
    world.transport_s = 0.13  # from now on an image shows the last step but one, not the last
    world.run(4.0)
    times, outputs = world.motions()
    values = np.array([output.data[0, 0] for output in outputs])
    asked_s, request = world.requests[-1]
    before = np.sum(times <= world.asked_images_s[-1])
    unseen = np.sum((times > world.asked_images_s[-1]) & (times < asked_s - 1e-6))
    assert unseen == 1
    assert request.place == before
    sent = values[before : before + unseen]
    np.testing.assert_allclose(request.remaining[:unseen, 0], sent, atol=1e-6)
    assert len(request.remaining) > unseen


@pytest.mark.parametrize("ahead_s", [-1.7e9, 1000.0])
def test_a_camera_with_a_clock_of_its_own_is_no_old_image(ahead_s):
    """Aligned by receipt, its stamps say nothing about what was commanded before."""
    world = World(camera_hz=10.0, latency_s=0.05, transport_s=0.015)
    world.camera_clock_ns = round(ahead_s * 1e9)
    world.start(patient=True)
    world.run(3.0)
    times, _ = world.motions()
    assert np.diff(times).max() < 0.13
    assert len(world.requests) >= 3


def counting(world):
    """A prediction whose values count from 0.01 on."""
    prediction = world.chunk()
    prediction.actions[:] = 0.01 * (1 + np.arange(len(prediction.actions)))[:, None]
    return prediction


STEP, LIFE = Due(True, True), Due(False, False)


def followed(images_s, until_s, control_ticks=1):
    """Times of steps of a timer whose images arrive at ``images_s``."""
    pace, steps, now_s, next_tick_s, images = Pace(0.1, control_ticks), [], 0.0, 0.0, [*images_s]
    while now_s < until_s:
        came = bool(images) and now_s >= images[0]
        begins = came and pace.observed(images.pop(0), may_begin=True)
        if begins or now_s >= next_tick_s - 1e-9:
            next_tick_s = now_s + 1.0 / pace.rate_hz
            if pace.tick(now_s).step:
                pace.stepped(now_s)
                steps.append(now_s)
        now_s += 0.0005
    return np.array(steps)


def test_steps_follow_images_that_come_a_little_late_or_early():
    images = 0.1 * np.arange(1, 31) + np.random.default_rng(0).uniform(-0.006, 0.006, 30)
    steps = followed(images, 3.0)[1:]
    lags = [at_s - images[images <= at_s + 1e-6].max() for at_s in steps[2:]]
    assert max(lags) < 0.002


@pytest.mark.parametrize("camera_hz", [9.0, 11.0, 12.0, 12.5, 15.0, 25.0, 30.0])
def test_on_average_steps_are_never_faster_than_the_contract(camera_hz):
    steps = followed(np.arange(0.0, 10.0, 1 / camera_hz), 10.0)
    assert len(steps) - 1 <= steps[-1] / 0.1 + 0.2 + 1e-6
    assert np.diff(steps).min() >= 0.08 - 1e-9
    assert np.diff(steps).max() <= 0.1215  # one tick later, for an image that was about to come


def test_a_lost_image_costs_one_tick():
    images = np.delete(np.arange(0.015, 2.0, 0.1), 10)
    gaps = np.diff(followed(images, 2.0))[2:]
    assert gaps.max() == pytest.approx(0.12, abs=2e-3)
    assert np.sum(gaps > 0.11) == 1


def test_interpolated_steps_keep_their_ticks():
    steps = followed(np.arange(0.015, 2.0, 0.1), 2.0, control_ticks=10)
    np.testing.assert_allclose(np.diff(steps), 0.1, atol=1e-3)

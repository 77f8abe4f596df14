"""Which image a frame's newest one is, and when it was received."""

from dataclasses import replace

import numpy as np

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.stages import ImageTimes, Stages

PANDA = load_contract("sim_panda")


def two_cameras(clock="header"):
    front = PANDA.observations[0]
    front = replace(front, align=replace(front.align, clock=clock))
    wrist = replace(front, key="image.wrist", topic="wrist")
    return replace(PANDA, observations=(front, wrist, *PANDA.observations[1:]))


def image(key, header_ns, receive_ns):
    return Sample(key, header_ns, receive_ns, np.zeros((1, 1, 3), np.uint8))


def test_the_newest_image_of_the_frame_counts():
    times = ImageTimes(two_cameras())
    for number in range(3):
        assert times.push(image("image.front", 1000 * number, 1000 * number + 50))
        assert times.push(image("image.wrist", 1000 * number + 400, 1000 * number + 700))
    assert not times.push(Sample("state.ee", 5, 5, np.zeros(7)))
    # The frame holds an older image of the wrist than the newest that has arrived.
    frame = Frame(2100, {}, {"image.front": 100e-9, "image.wrist": 700e-9, "state.ee": 0.0})
    assert times.of(frame) == Stages(observation_ns=2000, received_ns=2050)
    frame = Frame(2500, {}, {"image.front": 500e-9, "image.wrist": 100e-9, "state.ee": 0.0})
    assert times.of(frame) == Stages(observation_ns=2400, received_ns=2700)


def test_streams_by_time_of_receipt_still_tell_their_stamp():
    times = ImageTimes(two_cameras("receive"))
    for key in ("image.front", "image.wrist"):
        times.push(image(key, 1000, 1300))
    frame = Frame(1400, {}, {"image.front": 100e-9, "image.wrist": 100e-9})
    assert times.of(frame) == Stages(observation_ns=1000, received_ns=1300)


def test_without_a_frame_there_is_no_image():
    assert ImageTimes(PANDA).of(Missing(5, {"image.front": "stale"})) == Stages()


def test_memory_is_bounded():
    times = ImageTimes(PANDA)
    for number in range(5000):
        times.push(image("image.front", number, number))
    assert sum(map(len, times._seen.values())) <= 512

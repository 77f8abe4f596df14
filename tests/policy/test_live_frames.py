"""Live samples to frames: completeness, jumps of the clock, silence, unreadable messages."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from parameter_files import load_parameters

from roboalign_policy.core.contract.contract import load_contract
from roboalign_policy.core.drive.parameters import PolicyParameters
from roboalign_policy.core.frames.frames import Frame, Missing, Sample
from roboalign_policy.core.frames.live_frames import LiveFrames

CONFIG = Path(__file__).resolve().parents[2] / "roboalign_policy" / "config"
STEP_NS = 100_000_000
CONTRACT = load_contract("sim_panda")
KEYS = [stream.key for stream in CONTRACT.observations]


def push(live, key, stamp_ns, steady_s=0.0):
    stream = CONTRACT.stream(key)
    dtype = np.uint8 if stream.is_image else np.float32
    value = np.ones(stream.value_shape, dtype)
    return live.push(Sample(key, stamp_ns, stamp_ns, value), steady_s)


def push_all(live, stamp_ns, steady_s=0.0):
    return [push(live, key, stamp_ns, steady_s) for key in KEYS]


@pytest.fixture
def live():
    return LiveFrames(CONTRACT, silence_s=2.0)


def test_complete_when_the_last_stream_arrives_in_any_order(live):
    for order in (KEYS, KEYS[::-1]):
        stamp_ns = STEP_NS * (1 + (order is not KEYS))
        pushed = [push(live, key, stamp_ns) for key in order]
        assert [p.complete_ns for p in pushed] == [None] * (len(KEYS) - 1) + [stamp_ns]


def test_observation_sent_again_is_complete_once_more_and_only_once(live):
    push_all(live, STEP_NS)
    again = push_all(live, STEP_NS)
    assert [p.complete_ns for p in again[:-1]] == [None] * (len(KEYS) - 1)
    assert again[-1].complete_ns == STEP_NS


def test_streams_with_different_stamps_are_not_complete(live):
    for key in KEYS[:-1]:
        push(live, key, STEP_NS)
    assert push(live, KEYS[-1], 2 * STEP_NS).complete_ns is None


def test_frame_has_all_streams(live):
    push_all(live, STEP_NS)
    frame = live.frame(STEP_NS, None, 0.0)
    assert isinstance(frame, Frame)
    assert set(frame.values) == set(KEYS)


def test_clock_that_goes_back_forgets_what_came_before_once(live):
    push_all(live, 50 * STEP_NS)
    pushed = push_all(live, STEP_NS)
    assert [p.jumped for p in pushed] == [True] + [False] * (len(KEYS) - 1)
    assert pushed[-1].complete_ns == STEP_NS
    assert isinstance(live.frame(50 * STEP_NS, None, 0.0), Missing)


def test_silent_stream_is_missing_although_the_simulated_clock_stands_still(live):
    push_all(live, STEP_NS, steady_s=10.0)
    for key in KEYS[1:]:
        push(live, key, STEP_NS, steady_s=12.5)
    found = live.frame(STEP_NS, None, 12.5)
    assert found.reasons == {KEYS[0]: "silent: 2.50 s > 2 s"}


def test_unreadable_message_makes_frames_missing_until_one_can_be_read(live):
    push_all(live, STEP_NS)
    live.refuse("image.front", "image of shape (64, 64, 3)")
    found = live.frame(STEP_NS, None, 0.0)
    assert found.reasons == {"image.front": "unreadable: image of shape (64, 64, 3)"}
    push(live, "image.front", 2 * STEP_NS)
    assert isinstance(live.frame(2 * STEP_NS, None, 0.0), Frame)


def test_sample_without_the_stamp_that_the_contract_wants_is_refused(live):
    with pytest.raises(ValueError, match=r"state\.ee.*header"):
        live.push(Sample("state.ee", None, 0, np.zeros(7, np.float32)), 0.0)


def test_silence_can_be_switched_off_for_lock_step():
    live = LiveFrames(CONTRACT, silence_s=math.inf)
    push_all(live, STEP_NS)
    assert isinstance(live.frame(STEP_NS, None, 1e6), Frame)


def test_policy_yaml_repeats_the_defaults():
    path = CONFIG / "policy.yaml"
    assert load_parameters(path, PolicyParameters) == PolicyParameters()
    text = path.read_text(encoding="utf-8")
    names = [field.name for field in dataclasses.fields(PolicyParameters)]
    assert [name for name in names if f"\n    {name}: " not in text] == []

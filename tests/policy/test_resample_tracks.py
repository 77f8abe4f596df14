"""Recorded columns give the frames that the same samples give one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resample_streams import live

from roboalign_policy.core.contract.contract import contract_from_dict, load_contract
from roboalign_policy.core.frames.frames import Frame, ImageRef, Sample
from roboalign_policy.core.frames.recorded import Track, rising
from roboalign_policy.core.frames.resample import Resampler, commands_at, resample_tracks

SHAPE = (4, 6, 3)


def small_contract(method: str, clock: str):
    """The simulated arm with tiny images."""
    data = load_contract("sim_panda").to_dict()
    data["observations"][0]["shape"] = list(SHAPE)
    for stream in data["observations"]:
        stream["align"] |= {"method": method, "clock": clock}
    return contract_from_dict(data)


def make_track(stream, rng, kind: str) -> Track:
    """Samples of 2 s: in order, or with jitter, equal stamps, jumps back, times out of order."""
    count = int(rng.integers(1, 60))
    receive = np.sort(rng.integers(0, 2_000_000_000, count))
    header = receive - rng.integers(0, 5_000_000, count)
    if kind == "in order":
        header = np.unique(receive)
        receive, count = header.copy(), len(header)
    elif kind == "late":
        header = header - rng.choice([0, 0, 300_000_000, 900_000_000], count)
    elif kind == "equal":
        header = header // 50_000_000 * 50_000_000
    elif kind == "mixed":
        receive = rng.permutation(receive)
    if stream.is_image:
        return Track(stream.key, header, receive, np.arange(count), stream.shape)
    values = rng.normal(size=(count, len(stream.fields))).astype(np.float32)
    values[rng.random(count) < 0.05] = np.nan
    return Track(stream.key, header, receive, values)


def reasons(missing) -> dict[str, str]:
    """Why there is no frame, without the figures."""
    return {key: why.split(":")[0] for key, why in missing.reasons.items()}


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(
        st.sampled_from(["in order", "jitter", "late", "equal", "mixed"]), min_size=4, max_size=4
    ),
    st.sampled_from(["hold", "asof", "drop"]),
    st.sampled_from(["header", "receive"]),
)
def test_columns_give_the_frames_of_their_samples(seed, kinds, method, clock):
    contract, rng = small_contract(method, clock), np.random.default_rng(seed)
    tracks = [
        make_track(stream, rng, kind)
        for stream, kind in zip(contract.observations, kinds, strict=True)
    ]
    images = rng.integers(0, 256, (60, *SHAPE), np.uint8)
    samples = []
    for track in tracks:
        for number in range(len(track)):
            sample = track.sample(number)
            if isinstance(sample.value, ImageRef):
                sample = Sample(
                    track.key, sample.header_ns, sample.receive_ns, images[sample.value.index]
                )
            samples.append(sample)
    times = np.arange(0, 2_400_000_000, 100_000_000)
    expected = live(contract, samples, times)
    found = list(resample_tracks(contract, tracks, times))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other)
        assert one.stamp_ns == other.stamp_ns
        if not isinstance(other, Frame):
            assert reasons(one) == reasons(other)
            assert one.left_out == other.left_out
            continue
        assert one.ages_s == other.ages_s
        for key, value in other.values.items():
            shown = one.values[key]
            shown = images[shown.index] if isinstance(shown, ImageRef) else shown
            np.testing.assert_array_equal(shown, value)


def test_a_reference_has_to_have_the_stream_s_size():
    contract = small_contract("hold", "receive")
    resampler = Resampler(contract)
    resampler.push(Sample("image.front", None, 5, ImageRef(0, SHAPE)))
    with pytest.raises(ValueError, match=r"shape \(4, 5, 3\), expected \(4, 6, 3\)"):
        resampler.push(Sample("image.front", None, 6, ImageRef(1, (4, 5, 3))))
    with pytest.raises(ValueError, match=r"state\.ee"):
        resampler.push(Sample("state.ee", None, 6, ImageRef(1, SHAPE)))


def test_a_track_without_header_says_so():
    track = Track("state.ee", None, np.array([1, 2]), np.zeros((2, 3), np.float32))
    assert track.times_ns("receive").tolist() == [1, 2]
    with pytest.raises(ValueError, match="without header stamp"):
        track.times_ns("header")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(["hold", "asof"]))
def test_commands_as_columns(seed, sort, method):
    contract, rng = small_contract(method, "header"), np.random.default_rng(seed)
    align = contract.observations[0].align
    stamps = rng.integers(0, 20, 30) * 40_000_000
    stamps = np.sort(stamps) if sort else stamps
    values = rng.normal(size=(30, 2)).astype(np.float32)
    times = np.arange(0, 10**9, 50_000_000)
    actions, found = commands_at(stamps, values, times, align)
    in_order = sorted(zip(stamps, range(30), values, strict=True), key=lambda row: row[:2])
    for time_ns, action, there in zip(times, actions, found, strict=True):
        after = [row for row in in_order if 0 <= row[0] - time_ns <= align.tolerance_ns][:1]
        if not after and method == "hold":
            after = [row for row in in_order if row[0] < time_ns][-1:]
        assert there == bool(after)
        np.testing.assert_array_equal(action, after[0][2] if after else np.full(2, np.nan))


def test_rising_over_the_borders_of_blocks():
    numbers = np.arange((1 << 20) + 2)
    assert rising(numbers, strictly=True)
    numbers[1 << 20] = numbers[(1 << 20) - 1]
    assert rising(numbers)
    assert not rising(numbers, strictly=True)
    numbers[1 << 20] -= 1
    assert not rising(numbers)

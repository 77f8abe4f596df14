"""Streams and samples that the tests of the resampler are made of."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from roboalign_policy.core.contract.parts import Align, Field, Qos, Stream
from roboalign_policy.core.frames.frames import Missing, Sample
from roboalign_policy.core.frames.recorded import Track
from roboalign_policy.core.frames.resample import Resampler, resample_tracks

MS = 1_000_000
QOS = Qos("best_effort", "volatile", 5)
T = 1000 * MS


def stream(key="state.a", method="hold", clock="header", tolerance_s=0.05, max_age_s=0.3, dims=1):
    shape = (2, 2, 3) if key.startswith("image.") else None
    fields = () if shape else tuple(Field(f"f{i}", "data", "1") for i in range(dims))
    align = Align(method, clock, tolerance_s)
    return Stream(key, key, "a/msg/B", QOS, align, max_age_s, shape, fields)


def contract(*streams):
    return SimpleNamespace(observations=streams or (stream(),))


def sample(header_ms, value=None, receive_ms=None, key="state.a"):
    value = header_ms if value is None else value
    receive_ms = header_ms if receive_ms is None else receive_ms
    stamps = round(header_ms * MS), round(receive_ms * MS)
    return Sample(key, *stamps, np.atleast_1d(np.float64(value)))


def frame_of(streams, samples, t_ms, now_ms=None):
    resampler = Resampler(contract(*streams))
    for item in samples:
        resampler.push(item)
    return resampler.frame(int(t_ms * MS), None if now_ms is None else int(now_ms * MS))


def reason(result, key="state.a"):
    assert isinstance(result, Missing)
    return result.reasons[key]


def recorded(contract, samples, times):
    """The frames of samples that are kept as columns, in their order within each stream."""
    tracks = []
    for part in contract.observations:
        mine = [s for s in samples if s.key == part.key]
        header = np.array([s.header_ns for s in mine], np.int64)
        receive = np.array([s.receive_ns for s in mine], np.int64)
        values = np.array([s.value for s in mine], np.float32).reshape(-1, len(part.fields))
        tracks.append(Track(part.key, header, receive, values))
    return list(resample_tracks(contract, tracks, times))


def live(contract, samples, times):
    """The same by a live resampler, asked once all that was stamped by then has arrived."""
    resampler, frames = Resampler(contract), []
    waiting = {
        part.key: [s for s in samples if s.key == part.key] for part in contract.observations
    }
    clocks = {part.key: part.align.clock for part in contract.observations}
    for time_ns in np.asarray(times).tolist():
        for key, left in waiting.items():
            due = [n for n, s in enumerate(left, 1) if s.time_ns(clocks[key]) <= time_ns]
            for item in left[: due[-1] if due else 0]:
                resampler.push(item)
            waiting[key] = left[due[-1] if due else 0 :]
        frames.append(resampler.frame(time_ns))
    return frames

"""Which frames an episode has, decided from columns: images are places, none is decoded.

The rules are those of `framing.make_frames`, and the frames come out of the same `core.resample`.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from roboalign_policy.core.contract import Contract
from roboalign_policy.core.frames import Frame
from roboalign_policy.core.recorded import rising
from roboalign_policy.core.resample import commands_at, resample_tracks
from roboalign_training.data.columns import StreamColumns, completed
from roboalign_training.data.errors import EpisodeError
from roboalign_training.data.framing import JUMP_NS, Frames, episode_times, no_command
from roboalign_training.data.scan import Scan

_FIRST = 8  # images that are looked at at either end, so that many bad ones are soon found


@dataclass(frozen=True)
class FramePlan(Frames):
    """Frames of one episode; `values` holds states only, images are places.

    Attributes:
        pictures: Image stream key -> (N,) int64, which message of the stream each frame shows.
        doubtful: Image stream key -> (M,) int64, messages that no frame shows and that decide
            about frames all the same, should their pixels turn out to be damaged.
        frame_times: Frame times there were, of which N are kept.
        lost_inside, lost_outside: Frame times left out between and beside the kept ones.
    """

    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    doubtful: dict[str, np.ndarray] = field(default_factory=dict)
    frame_times: int = 0
    lost_inside: int = 0
    lost_outside: int = 0


def check_clocks(scan: Scan, contract: Contract, source: Path) -> None:
    """Refuses a recording in which a clock goes back, as when a simulator is reset.

    Raises:
        EpisodeError: Naming the place that was received first; also where the contract wants the
            header's time and the type has none.
    """
    faults = []
    for stream, columns in _streams(scan, contract):
        if not len(columns):
            continue
        stamps = columns.stamps(stream.align.clock)
        if stamps is None:
            what = stream.key if hasattr(stream, "key") else stream.topic
            cause = (
                f"stream {what}: a sample without header stamp, but the contract says "
                "align.clock: header (expected receive)"
            )
            faults.append((int(columns.receive_ns[0]), cause))
        elif not rising(stamps):
            back = np.flatnonzero(stamps[1:] < stamps[:-1] - JUMP_NS)
            if len(back):
                at = int(back[0])
                cause = (
                    f"{stream.topic}: the clock goes back by "
                    f"{(int(stamps[at]) - int(stamps[at + 1])) / 1e9:.3f} s after message "
                    f"{at + 1}, as when a simulator is reset: record one episode a bag"
                )
                faults.append((int(columns.receive_ns[at + 1]), cause))
    if faults:
        raise EpisodeError(source, min(faults)[1])


def plan_frames(scan: Scan, contract: Contract, source: Path) -> FramePlan:
    """Decides about the frames of an episode.

    Args:
        scan: Its messages.
        contract: The robot.
        source: What to name in errors.

    Returns:
        The frames; frame times with a stream or a command missing are left out and counted.

    Raises:
        EpisodeError: When a stream has no readable message, or its clock goes back.
    """
    states = {s.key: completed(scan.observed[s.key], s) for s in contract.states}
    scan = replace(scan, observed={**scan.observed, **states})
    check_clocks(scan, contract, source)
    empty = [key for key, found in scan.observed.items() if not found.readable.any()]
    if empty:
        why = "; ".join(found.fault for found in scan.observed.values() if found.fault)
        raise EpisodeError(source, f"no readable message of {', '.join(empty)}. {why}".strip())
    tracks = [scan.observed[s.key].track(s.key, s.shape) for s in contract.observations]
    stamps = [
        track.times_ns(s.align.clock)
        for track, s in zip(tracks, contract.observations, strict=True)
    ]
    start, end = max(int(s.min()) for s in stamps), max(int(s.max()) for s in stamps)
    times = episode_times(start, end, contract, source)
    actions, lost = _actions(scan, contract, times)
    for stream in contract.observations:
        unreadable = _unreadable_at(scan.observed[stream.key], stream.align.clock, times)
        if unreadable is not None:
            lost[f"{stream.key}: unreadable"] = np.flatnonzero(unreadable)
    kept = np.ones(len(times), bool)
    for indices in lost.values():
        kept[indices] = False
    states, pictures, missing = _resampled(contract, tracks, times, kept)
    for key, indices in missing.items():
        lost[key] = np.concatenate([lost.get(key, np.zeros(0, np.int64)), indices])
        kept[indices] = False
    plan = _collected(times, kept, states, pictures, actions, lost)
    sure_end = max(
        (int(s.max()) for s, track in zip(stamps, tracks, strict=True) if track.shape is None),
        default=0,
    )
    for stream in contract.images:
        columns, shown = scan.observed[stream.key], plan.pictures[stream.key]
        found = _doubtful(columns, stream.align.clock, (start, sure_end), plan.stamps_ns)
        plan.doubtful[stream.key] = np.setdiff1d(found, shown)
    return plan


def _streams(scan: Scan, contract: Contract) -> list[tuple]:
    """Streams and commands of the contract, with their columns."""
    observed = [(s, scan.observed[s.key]) for s in contract.observations]
    return [*observed, *zip(contract.action.commands, scan.commands, strict=True)]


def _actions(
    scan: Scan, contract: Contract, times: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Actions (N, A) float32 that answer the frame times; by reason, where there is none."""
    names = contract.action.names
    actions = np.full((len(times), len(names)), np.nan, np.float32)
    lost = {}
    for command, columns in zip(contract.action.commands, scan.commands, strict=True):
        found = np.zeros(len(times), bool)
        if columns.readable.any():
            stamps, values = columns.stamps(command.align.clock), columns.values
            if columns.unreadable:
                stamps, values = stamps[columns.readable], values[columns.readable]
            values, found = commands_at(stamps, values, times, command.align)
            actions[:, [names.index(dim) for dim in command.fields]] = values
        if not found.all():
            why = no_command(command, () if len(columns) else columns.others)
            lost[why] = np.flatnonzero(~found)
    return actions, lost


def _unreadable_at(columns: StreamColumns, clock: str, times: np.ndarray) -> np.ndarray | None:
    """(N,) bool, whether the newest message at or before each time is unreadable; None: never.

    The same rule as live: a stream whose newest message is unreadable is missing.
    """
    if not columns.unreadable:
        return None
    stamps, readable = columns.stamps(clock), columns.readable
    order = np.argsort(stamps, kind="stable")
    newest = np.searchsorted(stamps[order], times, side="right") - 1
    return (newest >= 0) & ~readable[order][newest]


def _doubtful(
    columns: StreamColumns, clock: str, span: tuple[int, int], kept_times: np.ndarray
) -> np.ndarray:
    """Places of images that decide where frames begin and end, or whether one is kept.

    Frames begin when every stream has something: the newest images up to then, and, where this is
    the stream that is waited for, a few of the next ones. They end with the last sample of any
    stream, which may be an image after the last frame. And of several images with one stamp, of
    which a frame shows the first, it is the one that counts as the newest.

    Args:
        columns: The stream.
        clock: By which it is aligned.
        span: ns; where frames begin, and up to where they go by the streams without images.
        kept_times: (N,) int64, ns, of the frames.
    """
    start, sure_end = span
    places = np.flatnonzero(columns.readable)
    stamps = columns.stamps(clock)[places]
    order = None
    if not rising(stamps, strictly=True):
        order = np.argsort(stamps, kind="stable")
        places, stamps = places[order], stamps[order]
    upto = int(np.searchsorted(stamps, start, side="right"))
    ahead = _FIRST if int(stamps[0]) == start else 0
    found = places[max(0, upto - _FIRST) : upto + ahead]
    if len(kept_times) and sure_end < kept_times[-1]:
        after = int(np.searchsorted(stamps, kept_times[-1]))
        found = np.concatenate([found, places[max(after, len(places) - _FIRST) :]])
    if order is not None:
        newest = np.searchsorted(stamps, kept_times, side="right") - 1
        found = np.concatenate([found, places[newest[newest >= 0]]])
    return found


def _resampled(
    contract: Contract, tracks: list, times: np.ndarray, wanted: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """States and places of images at all times, and by reason where there is no frame.

    Rows that are not `wanted`, (N,) bool, are asked for their reasons only.
    """
    states = {s.key: np.empty((len(times), len(s.fields)), np.float32) for s in contract.states}
    pictures = {s.key: np.zeros(len(times), np.int64) for s in contract.images}
    reasons: defaultdict[str, array] = defaultdict(lambda: array("q"))
    for index, frame in enumerate(resample_tracks(contract, tracks, times)):
        if isinstance(frame, Frame):
            if wanted[index]:
                for key, rows in states.items():
                    rows[index] = frame.values[key]
                for key, places in pictures.items():
                    places[index] = frame.values[key].index
        else:
            for key, why in frame.reasons.items():
                reasons[f"{key}: {why.split(':')[0]}"].append(index)
    missing = {why: np.frombuffer(found, np.int64) for why, found in reasons.items()}
    return states, pictures, missing


def _collected(
    times: np.ndarray,
    kept: np.ndarray,
    states: dict[str, np.ndarray],
    pictures: dict[str, np.ndarray],
    actions: np.ndarray,
    lost: dict[str, np.ndarray],
) -> FramePlan:
    """The kept frames, and counts of what was left out inside and at the ends."""
    indices = np.flatnonzero(kept)
    first, last = (indices[0], indices[-1]) if len(indices) else (0, -1)
    inside: dict[str, int] = {}
    outside: dict[str, int] = {}
    for why in sorted(lost):
        within = int(np.count_nonzero((lost[why] > first) & (lost[why] < last)))
        for counted, count in ((inside, within), (outside, len(lost[why]) - within)):
            if count:
                counted[why] = count
    lost_inside = int(last - first + 1) - len(indices) if len(indices) else 0
    return FramePlan(
        indices=indices.astype(np.int64),
        stamps_ns=times[indices],
        values={key: rows[indices] for key, rows in states.items()},
        actions=actions[indices],
        dropped=inside,
        trimmed=outside,
        pictures={key: places[indices] for key, places in pictures.items()},
        frame_times=len(times),
        lost_inside=lost_inside,
        lost_outside=len(times) - len(indices) - lost_inside,
    )

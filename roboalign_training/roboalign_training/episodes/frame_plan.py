"""Which frames an episode has, decided from columns: images are places, none is decoded.

`core.frames.resample` does the work, as it does live; what it could not make a frame of is counted
by reason. Times begin at the first moment at which every stream has a sample and are 1 / rate
apart, so in lock step, where all stamps lie on that grid, they are the stamps themselves.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.fitness.episode_fitness import MOST_FRAMES
from roboalign_policy.core.frames.frames import Frame, frame_times
from roboalign_policy.core.frames.joint_readings import joint_lists
from roboalign_policy.core.frames.recorded import rising
from roboalign_policy.core.frames.resample import commands_at, resample_tracks
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.clocks import OFF_CLOCK, age_notes, settled, stream_times
from roboalign_training.episodes.columns import StreamColumns, completed
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.motion import JUMP, jumping_frames
from roboalign_training.episodes.pauses import Pauses
from roboalign_training.episodes.scan import Scan

IN_PAUSE = "in a pause"
"""Cause of frame times that nobody wanted."""
_FIRST = 8  # images that are looked at at either end, so that many bad ones are soon found


@dataclass(frozen=True)
class FramePlan(Frames):
    """Frames of one episode; `values` holds states only, images are places.

    Attributes:
        doubtful: Image stream key -> (M,) int64, messages that no frame shows and that decide
            about frames all the same, should their pixels turn out to be damaged.
        frame_times: Frame times there were, of which N are kept.
        lost_inside, lost_outside: Frame times left out between and beside the kept ones.
        causes: Cause -> frame times left out for it, each counted once; those in a pause too.
        off_clock: Stream key or command topic -> messages with a stamp of another time.
    """

    doubtful: dict[str, np.ndarray] = field(default_factory=dict)
    frame_times: int = 0
    lost_inside: int = 0
    lost_outside: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    off_clock: dict[str, int] = field(default_factory=dict)


def settle_clocks(
    scan: Scan, contract: Contract, source: Path
) -> tuple[Scan, dict[str, np.ndarray], tuple[str, ...]]:
    """The same recording with the messages taken out whose stamp is of another time.

    Returns:
        The streams, by key or topic (N,) bool, which messages these are, where there are any, and
        what is worth a note.

    Raises:
        EpisodeError: As `clocks.settled`.
    """
    columns = [*(scan.observed[s.key] for s in contract.observations), *scan.commands]
    streams = stream_times(contract, [(c.header_ns, c.receive_ns) for c in columns])
    found = settled(streams, contract, source)
    off = {
        times.name: wrong for times, (wrong, _) in zip(streams, found, strict=True) if wrong.any()
    }
    notes = age_notes(streams, found)
    if not off:
        return scan, off, notes
    columns = [
        replace(c, header_ns=stamps, readable=c.readable & ~wrong) if wrong.any() else c
        for c, (wrong, stamps) in zip(columns, found, strict=True)
    ]
    keys = [s.key for s in contract.observations]
    observed = dict(zip(keys, columns[: len(keys)], strict=True))
    return replace(scan, observed=observed, commands=columns[len(keys) :]), off, notes


def plan_frames(scan: Scan, contract: Contract, source: Path, pauses: Pauses = ()) -> FramePlan:
    """Decides about the frames of an episode.

    Args:
        scan: Its messages.
        contract: The robot.
        source: What to name in errors.
        pauses: Of the episode, which are no loss.

    Returns:
        The frames; frame times with a stream or a command missing are left out and counted.

    Raises:
        EpisodeError: When a stream has no readable message, or a clock is of no use.
    """
    states = {s.key: completed(scan.observed[s.key], s) for s in contract.states}
    scan = replace(scan, observed={**scan.observed, **states})
    scan, off_clock, notes = settle_clocks(scan, contract, source)
    empty = {key: found for key, found in scan.observed.items() if not found.readable.any()}
    if empty:
        faults = [found.fault for found in empty.values() if found.fault]
        some = faults or any(map(len, empty.values()))
        said = "no readable message" if some else "no message"
        raise EpisodeError(source, f"{said} of {', '.join(empty)}. {'; '.join(faults)}".strip())
    tracks = [
        scan.observed[s.key].track(s.key, s.value_shape if s.is_image else None)
        for s in contract.observations
    ]
    stamps = [
        track.times_ns(s.align.clock)
        for track, s in zip(tracks, contract.observations, strict=True)
    ]
    start, end = max(int(s.min()) for s in stamps), max(int(s.max()) for s in stamps)
    times = _frame_times(start, end, contract, source)
    actions, lost = _actions(scan, contract, times)
    for stream in contract.observations:
        columns = scan.observed[stream.key]
        off = off_clock.get(stream.key, np.zeros(len(columns), bool))
        for why, bad in (("unreadable", ~columns.readable & ~off), (OFF_CLOCK, off)):
            if bad.any():
                newest = _newest_at(columns.stamps(stream.align.clock), bad, times)
                lost[f"{stream.key}: {why}"] = np.flatnonzero(newest)
    kept = np.ones(len(times), bool)
    for indices in lost.values():
        kept[indices] = False
    made = _resampled(contract, tracks, times, kept)
    for key, indices in made.missing.items():
        lost[key] = np.concatenate([lost.get(key, np.zeros(0, np.int64)), indices])
        kept[indices] = False
    plan = _collected(times, kept, made, actions, lost)
    jumps = jumping_frames(plan, contract)
    for key, rows in jumps.items():
        lost[f"{key}: {JUMP}"] = plan.indices[rows]
        kept[plan.indices[rows]] = False
    if jumps:
        plan = _collected(times, kept, made, actions, lost)
    plan.causes.update(_causes(times, kept, lost, pauses))
    plan.off_clock.update({name: int(np.count_nonzero(w)) for name, w in off_clock.items()})
    sure_end = max(
        (int(s.max()) for s, track in zip(stamps, tracks, strict=True) if track.shape is None),
        default=0,
    )
    for stream in contract.images:
        columns, shown = scan.observed[stream.key], plan.pictures[stream.key]
        found = _doubtful(columns, stream.align.clock, (start, sure_end), plan.stamps_ns)
        plan.doubtful[stream.key] = np.setdiff1d(found, shown)
    return replace(plan, notes=notes)


def _frame_times(start_ns: int, end_ns: int, contract: Contract, source: Path) -> np.ndarray:
    """The frame times of an episode, (N,) int64, ns.

    Raises:
        EpisodeError: When there would be more than any recording has: a stamp is of another age.
    """
    seconds = (end_ns - start_ns) / 1e9
    if seconds * contract.rate_hz > MOST_FRAMES:
        raise EpisodeError(
            source,
            f"its stamps reach over {seconds:.0f} s, {seconds * contract.rate_hz:.0f} frames, "
            f"expected at most {MOST_FRAMES}: is a stamp of another clock among them?",
        )
    return frame_times(start_ns, end_ns, contract.rate_hz)


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
            others = () if len(columns) else columns.others  # all that came, where none is one
            note = f" (messages of other joints came: {joint_lists(others)})" if others else ""
            lost[f"{command.topic}: no command{note}"] = np.flatnonzero(~found)
    return actions, lost


def _newest_at(stamps: np.ndarray, bad: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(N,) bool, whether the newest message at or before each time is a bad one, (M,) bool.

    The same rule as live: a stream whose newest message is unreadable is missing.
    """
    order = np.argsort(stamps, kind="stable")
    newest = np.searchsorted(stamps[order], times, side="right") - 1
    return (newest >= 0) & bad[order][newest]


def _causes(
    times: np.ndarray, kept: np.ndarray, lost: dict[str, np.ndarray], pauses: Pauses
) -> dict[str, int]:
    """Frame times that are left out by cause, each counted once; several reasons are one cause."""
    paused = np.zeros(len(times), bool)
    for begin, end in pauses:
        paused |= (times > begin) & (times < end)
    found: Counter[str] = Counter()
    why: defaultdict[int, list[str]] = defaultdict(list)
    for reason in sorted(lost):
        for index in np.unique(lost[reason]).tolist():
            why[index].append(reason)
    for index in np.flatnonzero(~kept).tolist():
        found[IN_PAUSE if paused[index] else " and ".join(why[index])] += 1
    return dict(sorted(found.items()))


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


class _Made(NamedTuple):
    """What the resampler made at all frame times."""

    states: dict[str, np.ndarray]
    ages_s: dict[str, np.ndarray]
    pictures: dict[str, np.ndarray]
    missing: dict[str, np.ndarray]


def _resampled(contract: Contract, tracks: list, times: np.ndarray, wanted: np.ndarray) -> _Made:
    """States, their ages and places of images at all times; by reason where there is no frame.

    Rows that are not `wanted`, (N,) bool, are asked for their reasons only.
    """
    states = {s.key: np.empty((len(times), len(s.fields)), np.float32) for s in contract.states}
    ages_s = {s.key: np.zeros(len(times)) for s in contract.states}
    pictures = {s.key: np.zeros(len(times), np.int64) for s in contract.images}
    reasons: defaultdict[str, array] = defaultdict(lambda: array("q"))
    for index, frame in enumerate(resample_tracks(contract, tracks, times)):
        if isinstance(frame, Frame):
            if wanted[index]:
                for key, rows in states.items():
                    rows[index] = frame.values[key]
                    ages_s[key][index] = frame.ages_s[key]
                for key, places in pictures.items():
                    places[index] = frame.values[key].index
        else:
            for key, why in frame.reasons.items():
                reasons[f"{key}: {why.split(':')[0]}"].append(index)
    missing = {why: np.frombuffer(found, np.int64) for why, found in reasons.items()}
    return _Made(states, ages_s, pictures, missing)


def _collected(
    times: np.ndarray,
    kept: np.ndarray,
    made: _Made,
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
        values={key: rows[indices] for key, rows in made.states.items()},
        actions=actions[indices],
        dropped=inside,
        trimmed=outside,
        ages_s={key: rows[indices] for key, rows in made.ages_s.items()},
        pictures={key: places[indices] for key, places in made.pictures.items()},
        frame_times=len(times),
        lost_inside=lost_inside,
        lost_outside=len(times) - len(indices) - lost_inside,
    )

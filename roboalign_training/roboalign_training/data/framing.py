"""Messages of one episode to frames and actions, by the resampler that the robot itself uses.

`core.resample` does the work, as it does live; here messages become its samples, and what it could
not make is counted by reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roboalign_policy.core.contract import Command, Contract, Stream
from roboalign_policy.core.frames import Frame, Sample, frame_times
from roboalign_policy.core.joint_readings import (
    StateReader,
    command_from_msg,
    joined,
    joint_lists,
)
from roboalign_policy.core.resample import actions_at, resample
from roboalign_policy.core.selectors import (
    SelectorError,
    image_from_msg,
    names_of,
    stamp_ns_from_msg,
)
from roboalign_training.data.bags import Message
from roboalign_training.data.errors import EpisodeError
from roboalign_training.data.topics import TopicMap

JUMP_NS = 500_000_000
"""Stamps may be this much out of order; further back is another time (a simulator's reset)."""
MOST_FRAMES = 20_000_000
"""Frames of an episode, 23 days at 10 Hz: more come from a wrong stamp, and fill the memory."""


@dataclass(frozen=True)
class Frames:
    """Frames of one episode that have every observation and an action.

    Attributes:
        indices: (N,) int64, position on the grid of frame times; a missing frame leaves a hole.
        stamps_ns: (N,) int64, frame times.
        values: Stream key -> (N, H, W, 3) uint8 RGB, or (N, D) float32 in the contract's units.
        actions: (N, A) float32, in the contract's units.
        dropped: Reason -> number of frame times left out between the first and the last frame.
        trimmed: The same before the first and after the last frame.
    """

    indices: np.ndarray
    stamps_ns: np.ndarray
    values: dict[str, np.ndarray]
    actions: np.ndarray
    dropped: dict[str, int] = field(default_factory=dict)
    trimmed: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.stamps_ns)


@dataclass
class _Track:
    """The messages of one stream in order of arrival, readable or not."""

    samples: list[Sample] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)
    readable: list[bool] = field(default_factory=list)
    fault: str = ""
    others: Counter[str] = field(default_factory=Counter)

    def unreadable_at(self, times: np.ndarray) -> np.ndarray:
        """(N,) bool: whether the newest message at or before each time could not be read.

        The same rule as live: a stream whose newest message is unreadable is missing.
        """
        if all(self.readable):
            return np.zeros(len(times), bool)
        order = np.argsort(self.stamps, kind="stable")
        newest = np.searchsorted(np.array(self.stamps)[order], times, side="right") - 1
        return (newest >= 0) & ~np.array(self.readable)[order][newest]


def make_frames(
    messages: Iterable[Message], contract: Contract, topics: TopicMap, source: Path
) -> Frames:
    """Makes the frames of an episode.

    Frame times begin at the first moment at which every stream has a sample and are 1 / rate
    apart, so in lock step, where all stamps lie on that grid, they are the stamps themselves.

    Args:
        messages: The episode's messages on the observation and command topics, as received.
        contract: The robot.
        topics: Where the contract's streams stand in the recording.
        source: What to name in errors.

    Returns:
        The frames; frame times with a stream or a command missing are left out and counted.

    Raises:
        EpisodeError: When a stream has no readable message, or its clock goes back.
    """
    observed, commands = _samples(messages, contract, topics, source)
    empty = [key for key, track in observed.items() if not track.samples]
    if empty:
        why = "; ".join(t.fault for t in observed.values() if t.fault)
        raise EpisodeError(source, f"no readable message of {', '.join(empty)}. {why}".strip())
    clocks = {s.key: s.align.clock for s in contract.observations}
    stamps = {k: [s.time_ns(clocks[k]) for s in t.samples] for k, t in observed.items()}
    start, end = max(min(s) for s in stamps.values()), max(max(s) for s in stamps.values())
    times = episode_times(start, end, contract, source)
    actions, reasons = _actions(contract, commands, times)
    for key, track in observed.items():
        for index in np.flatnonzero(track.unreadable_at(times)):
            reasons[int(index)].append(f"{key}: unreadable")
    samples = [s for track in observed.values() for s in track.samples]
    frames: dict[int, Frame] = {}
    for index, frame in enumerate(resample(contract, samples, times)):
        if isinstance(frame, Frame):
            frames[index] = frame
        else:
            reasons[index] += [f"{key}: {_kind(why)}" for key, why in frame.reasons.items()]
    kept = [index for index in frames if index not in reasons]
    return _collect(contract, kept, frames, actions, reasons)


def episode_times(start_ns: int, end_ns: int, contract: Contract, source: Path) -> np.ndarray:
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


def _samples(
    messages: Iterable[Message], contract: Contract, topics: TopicMap, source: Path
) -> tuple[dict[str, _Track], list[_Track]]:
    """Samples of the observation streams by key, and of the commands in the contract's order."""
    observed = {stream.key: _Track() for stream in contract.observations}
    readers = {stream.key: StateReader(stream) for stream in contract.states}
    commands = [_Track() for _ in contract.action.commands]
    for name, receive_ns, msg in messages:
        header_ns = stamp_ns_from_msg(msg)
        for key in topics.observations.get(name, ()):
            stream = contract.stream(key)
            empty = Sample(key, header_ns, receive_ns, np.empty(0))
            if stream.is_image:
                _take(
                    observed[key],
                    stream,
                    empty,
                    lambda e=empty, s=stream, m=msg: replace(e, value=image_from_msg(m, s.shape)),
                    source,
                )
            else:
                read = partial(readers[key].read, msg, receive_ns)
                _take(observed[key], stream, empty, read, source)
        if name in topics.commands:
            number = topics.commands[name]
            command, track = contract.action.commands[number], commands[number]
            empty = Sample(command.topic, header_ns, receive_ns, np.empty(0))
            _take(track, command, empty, partial(_command, track, empty, msg, command), source)
    for key, reader in readers.items():
        track, note = observed[key], reader.sets.note()
        if not track.samples and not track.fault and note:
            track.fault = f"{contract.stream(key).topic}: {note}"
    return observed, commands


def _command(track: _Track, empty: Sample, msg: Any, command: Command) -> Sample | None:
    """The numbers of a command; None of one for other joints."""
    found = command_from_msg(msg, command)
    if found is None:
        track.others[joined(names_of(msg))] += 1
        return None
    return replace(empty, value=np.array([found[dim] for dim in command.fields]))


def _take(
    track: _Track,
    stream: Stream | Command,
    empty: Sample,
    read: Callable[[], Sample | None],
    source: Path,
) -> None:
    """Adds one message to a track, if `read` gets a sample out of it."""
    try:
        stamp = empty.time_ns(stream.align.clock)
    except ValueError as error:
        raise EpisodeError(source, str(error)) from error
    sample, fault = None, ""
    try:
        sample = read()
        if sample is None:  # of other joints, or a part of a reading
            return
        stamp = sample.time_ns(stream.align.clock)
    except SelectorError as error:
        fault = f"{stream.topic}: {error}"
    if track.stamps and stamp < track.stamps[-1] - JUMP_NS:
        back = (track.stamps[-1] - stamp) / 1e9
        raise EpisodeError(
            source,
            f"{stream.topic}: the clock goes back by {back:.3f} s after message "
            f"{len(track.stamps)}, as when a simulator is reset: record one episode a bag",
        )
    track.stamps.append(stamp)
    track.readable.append(sample is not None)
    if sample is None:
        track.fault = fault
    else:
        track.samples.append(sample)


def _actions(
    contract: Contract, tracks: list[_Track], times: np.ndarray
) -> tuple[np.ndarray, defaultdict[int, list[str]]]:
    """Actions (N, A) float32 that answer the frame times; by index, why there is none."""
    names = contract.action.names
    actions = np.full((len(times), len(names)), np.nan, np.float32)
    reasons: defaultdict[int, list[str]] = defaultdict(list)
    for command, track in zip(contract.action.commands, tracks, strict=True):
        found = np.zeros(len(times), bool)
        if track.samples:
            values, found = actions_at(track.samples, times, command.align)
            actions[:, [names.index(dim) for dim in command.fields]] = values
        why = no_command(command, () if track.stamps else track.others)
        for index in np.flatnonzero(~found):
            reasons[int(index)].append(why)
    return actions, reasons


def no_command(command: Command, others: Iterable[str]) -> str:
    """Why a frame has no action; `others`: joints of all messages where not one is a command."""
    note = f" (messages of other joints came: {joint_lists(others)})" if others else ""
    return f"{command.topic}: no command{note}"


def _kind(reason: str) -> str:
    """A resampler's reason without its figures, so that like ones are counted together."""
    return reason.split(":")[0]


def _collect(
    contract: Contract,
    kept: list[int],
    frames: dict[int, Frame],
    actions: np.ndarray,
    reasons: dict[int, list[str]],
) -> Frames:
    """Stacks frames to arrays and counts what was left out, inside and at the ends."""
    inside: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    first, last = (kept[0], kept[-1]) if kept else (0, -1)
    for index, why in reasons.items():
        (inside if first < index < last else outside).update(why)
    values = {}
    for stream in contract.observations:
        dtype = np.uint8 if stream.is_image else np.float32
        stacked = np.empty((len(kept), *stream.value_shape), dtype)
        for row, index in enumerate(kept):
            stacked[row] = frames[index].values[stream.key]
        values[stream.key] = stacked
    return Frames(
        indices=np.array(kept, np.int64),
        stamps_ns=np.array([frames[index].stamp_ns for index in kept], np.int64),
        values=values,
        actions=actions[kept],
        dropped=dict(sorted(inside.items())),
        trimmed=dict(sorted(outside.items())),
    )

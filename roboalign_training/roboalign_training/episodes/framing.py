"""Messages of one episode to frames and actions, by the resampler that the robot itself uses.

`core.frames.resample` does the work, as it does live; here messages become its samples, and what
it could not make is counted by reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Command, Contract, Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.fitness.episode_fitness import MOST_FRAMES
from roboalign_policy.core.frames.frames import Frame, Sample, frame_times
from roboalign_policy.core.frames.joint_readings import (
    StateReader,
    command_from_msg,
    joined,
    joint_lists,
)
from roboalign_policy.core.frames.resample import actions_at, resample
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import names_of, stamp_ns_from_msg
from roboalign_training.bags.bags import Message
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.clocks import OFF_CLOCK, age_notes, settled, stream_times
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.motion import JUMP, jumping_frames
from roboalign_training.episodes.topics import TopicMap


@dataclass
class _Track:
    """The messages of one stream in order of arrival; `samples` has None for unreadable ones."""

    samples: list[Sample | None] = field(default_factory=list)
    header_ns: list[int | None] = field(default_factory=list)
    receive_ns: list[int] = field(default_factory=list)
    fault: str = ""
    off_clock: np.ndarray | None = None
    stamps: np.ndarray | None = None
    others: Counter[str] = field(default_factory=Counter)

    @property
    def columns(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Header stamps and times of receipt, (N,) int64, ns."""
        bare = any(stamp is None for stamp in self.header_ns)
        header = None if bare else np.array(self.header_ns, np.int64)
        return header, np.array(self.receive_ns, np.int64)

    @property
    def readable(self) -> list[Sample]:
        """The samples that frames may be made of."""
        return [s for s, off in zip(self.samples, self.off_clock, strict=True) if s and not off]

    def newest_at(self, times: np.ndarray, bad: np.ndarray) -> np.ndarray:
        """(N,) bool: whether the newest message at or before each time is a bad one, (M,) bool.

        The same rule as live: a stream whose newest message is unreadable is missing.
        """
        if not bad.any():
            return np.zeros(len(times), bool)
        order = np.argsort(self.stamps, kind="stable")
        newest = np.searchsorted(self.stamps[order], times, side="right") - 1
        return (newest >= 0) & bad[order][newest]


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
    observed, commands = _samples(messages, contract, topics)
    tracks = [*observed.values(), *commands]
    streams = stream_times(contract, [track.columns for track in tracks])
    times_found = settled(streams, contract, source)
    for track, found in zip(tracks, times_found, strict=True):
        track.off_clock, track.stamps = found
    samples = {key: track.readable for key, track in observed.items()}
    empty = [key for key, found in samples.items() if not found]
    if empty:
        why = "; ".join(t.fault for t in observed.values() if t.fault)
        raise EpisodeError(source, f"no readable message of {', '.join(empty)}. {why}".strip())
    clocks = {s.key: s.align.clock for s in contract.observations}
    stamps = {k: [s.time_ns(clocks[k]) for s in found] for k, found in samples.items()}
    start, end = max(min(s) for s in stamps.values()), max(max(s) for s in stamps.values())
    times = episode_times(start, end, contract, source)
    actions, reasons = _actions(contract, commands, times)
    for key, track in observed.items():
        unread = np.array([sample is None for sample in track.samples], bool)
        for why, bad in (
            ("unreadable", unread & ~track.off_clock),
            (OFF_CLOCK, track.off_clock),
        ):
            for index in np.flatnonzero(track.newest_at(times, bad)):
                reasons[int(index)].append(f"{key}: {why}")
    frames: dict[int, Frame] = {}
    every = [sample for found in samples.values() for sample in found]
    for index, frame in enumerate(resample(contract, every, times)):
        if isinstance(frame, Frame):
            frames[index] = frame
        else:
            reasons[index] += [f"{key}: {_kind(why)}" for key, why in frame.reasons.items()]
    kept = [index for index in frames if index not in reasons]
    found = _collect(contract, kept, frames, actions, reasons)
    jumps = jumping_frames(found, contract)
    for key, rows in jumps.items():
        for row in rows:
            reasons[kept[row]].append(f"{key}: {JUMP}")
    if jumps:
        kept = [index for index in kept if index not in reasons]
        found = _collect(contract, kept, frames, actions, reasons)
    return replace(found, notes=age_notes(streams, times_found))


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
    messages: Iterable[Message], contract: Contract, topics: TopicMap
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
                )
            else:
                read = partial(readers[key].read, msg, receive_ns)
                _take(observed[key], stream, empty, read)
        if name in topics.commands:
            number = topics.commands[name]
            command, track = contract.action.commands[number], commands[number]
            empty = Sample(command.topic, header_ns, receive_ns, np.empty(0))
            _take(track, command, empty, partial(_command, track, empty, msg, command))
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
    track: _Track, stream: Stream | Command, empty: Sample, read: Callable[[], Sample | None]
) -> None:
    """Adds one message to a track, unless `read` finds it of other joints or a part alone."""
    sample = None
    try:
        if (sample := read()) is None:
            return
    except SelectorError as error:
        track.fault = f"{stream.topic}: {error}"
    except ValueError:
        pass  # without a stamp where the contract goes by it: `settled` says so
    track.header_ns.append((sample or empty).header_ns)
    track.receive_ns.append((sample or empty).receive_ns)
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
        if samples := track.readable:
            values, found = actions_at(samples, times, command.align)
            actions[:, [names.index(dim) for dim in command.fields]] = values
        why = no_command(command, () if track.samples else track.others)
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
        ages_s={
            s.key: np.array([frames[index].ages_s[s.key] for index in kept])
            for s in contract.states
        },
    )

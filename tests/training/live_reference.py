"""The frames of a bag as the robot would make them: decoded message by message, read as live.

Slow and simple, to compare with: `StateReader` reads, `Resampler` is pushed what is due and asked
at every frame time, the command that answers is looked for among all. Clocks and jumps are judged
by the code under test, which has tests of its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.frames import Frame, Sample, frame_times
from roboalign_policy.core.frames.joint_readings import (
    StateReader,
    command_from_msg,
    joined,
    joint_lists,
)
from roboalign_policy.core.frames.resample import Resampler
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.core.messages.selectors import names_of, stamp_ns_from_msg
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.clocks import age_notes, settled, stream_times
from roboalign_training.episodes.framed import Frames
from roboalign_training.episodes.motion import jumping_frames
from roboalign_training.episodes.topics import map_topics


class _Heard:
    """The messages of one stream or command, readable or not."""

    def __init__(self):
        self.rows = []  # (sample with its stamp, whether it is readable)
        self.fault, self.others = "", Counter()

    def take(self, topic, empty, read):
        try:
            sample = read()
        except SelectorError as error:
            self.fault, sample = f"{topic}: {error}", empty
        except ValueError:
            sample = empty
        if sample is not None:
            self.rows.append((sample, sample is not empty))

    def columns(self):
        header = [s.header_ns for s, _ in self.rows]
        none = any(ns is None for ns in header)
        receive = np.array([s.receive_ns for s, _ in self.rows], np.int64)
        return (None if none else np.array(header, np.int64)), receive


def _read(bag, contract, topics):
    heard = {s.key: _Heard() for s in contract.observations}
    goals = [_Heard() for _ in contract.action.commands]
    readers = {s.key: StateReader(s) for s in contract.states}
    names = list(dict.fromkeys([*topics.observations, *topics.commands]))
    for name, receive_ns, msg in bag.messages(names):
        stamp = stamp_ns_from_msg(msg)
        for key in topics.observations.get(name, ()):
            stream, empty = contract.stream(key), Sample(key, stamp, receive_ns, np.empty(0))

            def read(s=stream, e=empty, m=msg, ns=receive_ns):
                if s.is_image:
                    return replace(e, value=stream_image(m, s))
                return readers[s.key].read(m, ns)

            heard[key].take(stream.topic, empty, read)
        if name in topics.commands:
            command = contract.action.commands[topics.commands[name]]
            goal = goals[topics.commands[name]]
            empty = Sample(command.topic, stamp, receive_ns, np.empty(0))

            def read(c=command, e=empty, m=msg, g=goal):
                if (found := command_from_msg(m, c)) is None:
                    g.others[joined(names_of(m))] += 1
                    return None
                return replace(e, value=np.array([found[dim] for dim in c.fields]))

            goal.take(command.topic, empty, read)
    for key, reader in readers.items():
        if not heard[key].rows and not heard[key].fault and (note := reader.sets.note()):
            heard[key].fault = f"{contract.stream(key).topic}: {note}"
    return heard, goals


def live_frames(bag, contract) -> Frames:
    """The frames of a whole bag.

    Raises:
        EpisodeError: When a stream has no readable message, or a clock is of no use.
    """
    topics = map_topics(bag, contract)
    heard, goals = _read(bag, contract, topics)
    all_heard = [*heard.values(), *goals]
    streams = stream_times(contract, [one.columns() for one in all_heard])
    found = settled(streams, contract, bag.path)
    good = []
    for one, (off, _) in zip(all_heard, found, strict=True):
        rows = zip(one.rows, off, strict=True)
        good.append([sample for (sample, read), wrong in rows if read and not wrong])
    samples = dict(zip(heard, good, strict=False))
    if empty := [key for key, there in samples.items() if not there]:
        why = "; ".join(heard[key].fault for key in empty if heard[key].fault)
        some = why or any(heard[key].rows for key in empty)
        said = "no readable message" if some else "no message"
        raise EpisodeError(bag.path, f"{said} of {', '.join(empty)}. {why}".strip())
    clocks = {s.key: s.align.clock for s in contract.observations}
    stamps = {k: [s.time_ns(clocks[k]) for s in there] for k, there in samples.items()}
    first, last = max(map(min, stamps.values())), max(map(max, stamps.values()))
    times = frame_times(first, last, contract.rate_hz).tolist()
    reasons = defaultdict(list)
    for (key, one), (off, at) in zip(heard.items(), found, strict=False):
        order = np.argsort(at, kind="stable")
        newest = np.searchsorted(at[order], times, side="right") - 1
        for number, place in enumerate(newest):
            if place >= 0 and off[order[place]]:
                reasons[number].append(f"{key}: stamp of another time")
            elif place >= 0 and not one.rows[order[place]][1]:
                reasons[number].append(f"{key}: unreadable")
    actions = _actions(contract, goals, good[len(heard) :], times, reasons)
    frames, resampler = {}, Resampler(contract)
    for number, time_ns in enumerate(times):
        for key, there in samples.items():
            # All that was stamped by then has arrived, and what came before it.
            due = [n for n, ns in enumerate(stamps[key]) if ns <= time_ns]
            for sample in there[: due[-1] + 1 if due else 0]:
                resampler.push(sample)
            upto = due[-1] + 1 if due else 0
            samples[key], stamps[key] = there[upto:], stamps[key][upto:]
        frame = resampler.frame(time_ns)
        if isinstance(frame, Frame):
            frames[number] = frame
        else:
            reasons[number] += [f"{k}: {w.split(':')[0]}" for k, w in frame.reasons.items()]
    made = _stacked(contract, frames, actions, reasons)
    for key, rows in jumping_frames(made, contract).items():
        for row in rows:
            reasons[int(made.indices[row])].append(f"{key}: jump")
    return replace(_stacked(contract, frames, actions, reasons), notes=age_notes(streams, found))


def _actions(contract, goals, good, times, reasons):
    names = contract.action.names
    actions = np.full((len(times), len(names)), np.nan, np.float32)
    for command, goal, samples in zip(contract.action.commands, goals, good, strict=True):
        align, others = command.align, () if goal.rows else goal.others
        note = f" (messages of other joints came: {joint_lists(others)})" if others else ""
        samples = sorted(samples, key=lambda s: s.time_ns(align.clock))
        for number, time_ns in enumerate(times):
            after = [s for s in samples if s.time_ns(align.clock) >= time_ns]
            if after and after[0].time_ns(align.clock) - time_ns > align.tolerance_ns:
                after = []
            if not after and align.method == "hold":
                after = [s for s in samples if s.time_ns(align.clock) < time_ns][-1:]
            with np.errstate(over="ignore"):
                values = after[0].value.astype(np.float32) if after else np.array([np.nan])
            if np.isfinite(values).all():
                actions[number, [names.index(dim) for dim in command.fields]] = values
            else:
                reasons[number].append(f"{command.topic}: no command{note}")
    return actions


def _stacked(contract, frames, actions, reasons):
    kept = [n for n in frames if n not in reasons]
    inside, outside = Counter(), Counter()
    for number, why in reasons.items():
        (inside if kept and kept[0] < number < kept[-1] else outside).update(why)
    return Frames(
        indices=np.array(kept, np.int64),
        stamps_ns=np.array([frames[n].stamp_ns for n in kept], np.int64),
        values={
            s.key: np.array(
                [frames[n].values[s.key] for n in kept], np.uint8 if s.is_image else np.float32
            ).reshape(-1, *s.value_shape)
            for s in contract.observations
        },
        actions=actions[kept],
        dropped=dict(sorted(inside.items())),
        trimmed=dict(sorted(outside.items())),
    )

"""The recorded messages that the frames of an episode were made of, ready to be sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message

from roboalign_policy.core.contract.contract import Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.joint_readings import StateReader
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.core.messages.selectors import names_of, stamp_ns_from_msg
from roboalign_policy.ros.definitions import message_class
from roboalign_training.episodes.pauses import unpaused
from roboalign_training.evaluate.replay import Recording


class ReplayError(RuntimeError):
    """The recording cannot be published, or policy_node does not answer."""


def selected_messages(recording: Recording, rows: Sequence[int]) -> list[dict[str, list[Any]]]:
    """Find the messages that frames were made of, as the plan of the frames names them.

    Args:
        recording: the episode.
        rows: frames wanted, rising.

    Returns:
        For each frame, by topic of the contract, its messages: one, or where the joints of a
        stream come in several, those of one reading. What is read from them is what the data
        pipeline has in that frame, to the bit.

    Raises:
        ReplayError: a message has no header, does not decode here, or is not the pipeline's.
    """
    contract, frames, where = recording.contract, recording.frames, recording.bag.path
    shown = {key: set(places[rows].tolist()) for key, places in frames.pictures.items()}
    # By stream, the messages and their value: of images by their place, of readings by their time.
    found: dict[str, dict[int, tuple[list[Any], np.ndarray]]] = {
        stream.key: {} for stream in contract.observations
    }
    readers = {stream.key: _Reader(stream) for stream in contract.states}
    for stream, place, receive_ns, read in _observations(recording):
        if not stream.is_image:
            try:
                sample, parts = readers[stream.key].read(read(), receive_ns)
            except SelectorError:
                continue  # the pipeline has left the frames out that would need it
            if sample is not None:
                # Of equal stamps the resampler keeps the first.
                time_ns = sample.time_ns(stream.align.clock)
                found[stream.key].setdefault(time_ns, (parts, sample.value))
        elif place in shown[stream.key]:
            msg = read()
            found[stream.key][place] = [msg], stream_image(msg, stream)
    picked = []
    for row in rows:
        parts_of: dict[str, list[Any]] = {}
        for stream in contract.observations:
            key = stream.key
            if stream.is_image:
                at = int(frames.pictures[key][row])
            else:
                at = int(frames.stamps_ns[row]) - round(frames.ages_s[key][row] * 1e9)
            parts, value = found[key].get(at, ([], None))
            if value is None or not np.array_equal(value, frames.values[key][row]):
                raise ReplayError(
                    f"{where}: frame {row} ({int(frames.stamps_ns[row])} ns): {key}: message and "
                    "data pipeline differ"
                )
            parts_of[stream.topic] = parts
        picked.append(parts_of)
    return picked


def _observations(recording: Recording) -> Iterator[tuple[Stream, int, int, Callable[[], Any]]]:
    """Stream, place in it, time of receipt in ns, and what decodes it, of each message."""
    span, topics = recording.span, recording.topics.observations
    whole, places = recording.bag.raw_messages(topics), Counter()
    for name, receive_ns, data in unpaused(whole, span.pauses):
        if span.start_ns <= receive_ns <= span.end_ns:
            for key in topics[name]:
                stream = recording.contract.stream(key)
                yield stream, places[key], receive_ns, partial(_decoded, recording, name, data)
                places[key] += 1


def _decoded(recording: Recording, name: str, data: bytes) -> Any:
    """A message, by its type as it is installed here."""
    where, kind = recording.bag.path, recording.bag.topics[name].type
    try:
        msg = deserialize_message(data, message_class(kind))
    except RuntimeError as error:  # the pipeline has decoded it by the definition in the bag
        raise ReplayError(
            f"{where}: {name}: not {kind} as it is installed here: {error}"
        ) from error
    if stamp_ns_from_msg(msg) is None:
        raise ReplayError(f"{where}: {name}: found {kind} without header, expected a stamp")
    return msg


class _Reader:
    """Reads a state stream, and keeps the messages that a reading is made of."""

    def __init__(self, stream: Stream) -> None:
        self._reader, self._parts = StateReader(stream), []

    def read(self, msg: Any, receive_ns: int) -> tuple[Sample | None, list[Any]]:
        """What `StateReader.read` gives, and the messages that it was read from, as they came."""
        others = self._reader.sets.others.total()
        sample = self._reader.read(msg, receive_ns)
        if self._reader.sets.others.total() == others:
            self._parts.append(msg)
        if sample is None:
            return None, []
        found, missing = [], set(self._reader.sets.joints)
        for part in reversed(self._parts) if missing else [msg]:
            # A later message of the same joints took an earlier one's place.
            if not found or missing & set(names_of(part)):
                found.append(part)
                missing -= set(names_of(part))
        self._parts = []
        return sample, found[::-1]

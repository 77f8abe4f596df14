"""The recorded messages that the frames of an episode were made of, ready to be sent again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message

from roboalign_policy.core.contract.contract import Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.frames import Frame, Sample
from roboalign_policy.core.frames.joint_readings import StateReader
from roboalign_policy.core.frames.resample import resample
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import names_of, stamp_ns_from_msg
from roboalign_policy.ros.definitions import message_class
from roboalign_training.episodes.pauses import unpaused
from roboalign_training.evaluate.replay import Recording


class ReplayError(RuntimeError):
    """The recording cannot be published, or policy_node does not answer."""


def selected_messages(recording: Recording, rows: Sequence[int]) -> Iterator[dict[str, list[Any]]]:
    """Find the messages that frames were made of, by the resampler that made them.

    Args:
        recording: the episode.
        rows: frames wanted, rising.

    Yields:
        By topic of the contract, the messages of each frame: one, or where the joints of a stream
        come in several, those of one reading. What is read from them is what the data pipeline has
        in that frame, to the bit.

    Raises:
        ReplayError: a message has no header, does not decode here, or is not the pipeline's.
    """
    contract, frames, where = recording.contract, recording.frames, recording.bag.path
    samples: list[Sample] = []
    sources: dict[tuple[str, int], tuple[list[Any], np.ndarray]] = {}
    readers = {stream.key: _Reader(stream) for stream in contract.states}
    messages = recording.bag.raw_messages(recording.topics.observations)
    for name, receive_ns, data in unpaused(messages, recording.span.pauses):
        if not recording.span.start_ns <= receive_ns <= recording.span.end_ns:
            continue
        kind = recording.bag.topics[name].type
        try:
            msg = deserialize_message(data, message_class(kind))
        except RuntimeError as error:  # the pipeline has decoded it by the definition in the bag
            raise ReplayError(
                f"{where}: {name}: not {kind} as it is installed here: {error}"
            ) from error
        if (header_ns := stamp_ns_from_msg(msg)) is None:
            raise ReplayError(f"{where}: {name}: found {kind} without header, expected a stamp")
        for key in recording.topics.observations[name]:
            stream = contract.stream(key)
            try:
                if stream.is_image:
                    value, parts = image_from_msg(msg, stream.shape), [msg]
                    sample = Sample(key, header_ns, receive_ns, value)
                else:
                    sample, parts = readers[key].read(msg, receive_ns)
            except SelectorError:
                continue  # the pipeline has left the frames out that would need it
            if sample is None:
                continue
            samples.append(sample)
            # Of equal stamps the resampler keeps the first.
            time_ns = sample.time_ns(stream.align.clock)
            sources.setdefault((key, time_ns), (parts, sample.value))
    times = frames.stamps_ns[list(rows)]
    for row, frame in zip(rows, resample(contract, samples, times), strict=True):
        at = f"{where}: frame {row} ({int(frames.stamps_ns[row])} ns)"
        if not isinstance(frame, Frame):
            raise ReplayError(f"{at}: {frame}, but the data pipeline has this frame")
        picked: dict[str, list[Any]] = {}
        for stream in contract.observations:
            stamp_ns = frame.stamp_ns - round(frame.ages_s[stream.key] * 1e9)
            parts, value = sources[stream.key, stamp_ns]
            if not np.array_equal(value, frames.values[stream.key][row]):
                raise ReplayError(f"{at}: {stream.key}: message and data pipeline differ")
            picked[stream.topic] = parts
        yield picked


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

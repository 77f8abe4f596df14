"""The recorded messages that the frames of an episode were made of, ready to be sent again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message

from roboalign_policy.core.frames import Frame, Sample
from roboalign_policy.core.resample import resample
from roboalign_policy.core.selectors import (
    SelectorError,
    image_from_msg,
    stamp_ns_from_msg,
    vector_from_msg,
)
from roboalign_policy.ros.definitions import message_class
from roboalign_training.data.pauses import unpaused
from roboalign_training.evaluate.replay import Recording


class ReplayError(RuntimeError):
    """The recording cannot be published, or policy_node does not answer."""


def selected_messages(recording: Recording, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Find the messages that frames were made of, by the resampler that made them.

    Args:
        recording: the episode.
        rows: frames wanted, rising.

    Yields:
        By topic of the contract, the message of each frame; what is read from it is what the data
        pipeline has in that frame, to the bit.

    Raises:
        ReplayError: a message has no header, does not decode here, or is not the pipeline's.
    """
    contract, frames, where = recording.contract, recording.frames, recording.bag.path
    samples: list[Sample] = []
    sources: dict[tuple[str, int], tuple[Any, np.ndarray]] = {}
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
                value = (
                    image_from_msg(msg, stream.shape)
                    if stream.is_image
                    else vector_from_msg(msg, stream.fields)
                )
            except SelectorError:
                continue  # the pipeline has left the frames out that would need it
            sample = Sample(key, header_ns, receive_ns, value)
            samples.append(sample)
            # Of equal stamps the resampler keeps the first.
            sources.setdefault((key, sample.time_ns(stream.align.clock)), (msg, value))
    times = frames.stamps_ns[list(rows)]
    for row, frame in zip(rows, resample(contract, samples, times), strict=True):
        at = f"{where}: frame {row} ({int(frames.stamps_ns[row])} ns)"
        if not isinstance(frame, Frame):
            raise ReplayError(f"{at}: {frame}, but the data pipeline has this frame")
        picked: dict[str, Any] = {}
        for stream in contract.observations:
            stamp_ns = frame.stamp_ns - round(frame.ages_s[stream.key] * 1e9)
            msg, value = sources[stream.key, stamp_ns]
            if not np.array_equal(value, frames.values[stream.key][row]):
                raise ReplayError(f"{at}: {stream.key}: message and data pipeline differ")
            picked[stream.topic] = msg
        yield picked

"""The frames of an episode without its pictures: what a verdict needs, with cameras passed by.

`framing` keeps every image of an episode, which is right for a data set and too much for a look at
a recording of any size. Here each image is checked, shown to the sinks, and replaced by a stand-in
of one pixel before `framing` sees it: frames, reasons and verdict are those of a conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Command, Contract, Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.joint_readings import StateReader, command_from_msg
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg
from roboalign_policy.core.recording.episodes import END, PAUSE, RESUME, START
from roboalign_training.bags.bags import Bag, Message
from roboalign_training.bags.errors import EpisodeError
from roboalign_training.episodes.channels import (
    HEADER,
    Moment,
    Sink,
    command_key,
    contract_channels,
)
from roboalign_training.episodes.episodes import EpisodeFrames, Span
from roboalign_training.episodes.framing import make_frames
from roboalign_training.episodes.pauses import unpaused
from roboalign_training.episodes.topics import TopicMap

_MARKERS = {START: "starts", END: "ends", PAUSE: "pauses", RESUME: "goes on"}


def light_frames(
    bag: Bag, contract: Contract, span: Span, topics: TopicMap, sinks: Sequence[Sink] = ()
) -> EpisodeFrames:
    """Makes the frames of one demonstration, every image in them a single black pixel.

    Args:
        bag: The recording.
        contract: The robot.
        span: Which demonstration.
        topics: From `map_topics`.
        sinks: Are given every sample and event of the demonstration, also of one that fails.

    Returns:
        As `frames_from_bag`, but for the images' values.

    Raises:
        EpisodeError, BagError: As `frames_from_bag`.
    """
    one_pixel = tuple(
        replace(stream, shape=(1, 1, 3)) if stream.is_image else stream
        for stream in contract.observations
    )
    feed = feed_messages(bag, contract, span, topics, sinks)
    try:
        frames = make_frames(feed, replace(contract, observations=one_pixel), topics, bag.path)
    except EpisodeError:
        for _ in feed:  # the sinks see the rest of it too
            pass
        raise
    return EpisodeFrames(
        **vars(frames),
        episode_id=span.episode_id,
        instruction=span.instruction,
        outcome=span.outcome,
        source=bag.path,
    )


def feed_messages(
    bag: Bag, contract: Contract, span: Span, topics: TopicMap, sinks: Sequence[Sink]
) -> Iterator[Message]:
    """Gives sinks the samples of a demonstration, and yields its messages with small images."""
    for sink in sinks:
        for channel in contract_channels(contract):
            sink.declare(channel)
    readers = {stream.key: StateReader(stream) for stream in contract.states}
    texts = [t for t in (topics.task, topics.episode) if t and sinks]
    wanted = dict.fromkeys([*topics.observations, *topics.commands, *texts])
    for message in unpaused(bag.messages(wanted), span.pauses):
        if not span.start_ns <= message.receive_ns <= span.end_ns:
            continue
        if message.topic in texts:
            _tell(message, topics, sinks)
            continue
        header_ns = stamp_ns_from_msg(message.message)
        for key in topics.observations.get(message.topic, ()):
            stream = contract.stream(key)
            when = _moment(stream, header_ns, message.receive_ns)
            if stream.is_image:
                message = _image(message, stream, when, sinks)
            else:
                read = partial(readers[key].read, message.message, message.receive_ns)
                _state(stream, when, read, sinks)
        if message.topic in topics.commands:
            command = contract.action.commands[topics.commands[message.topic]]
            when = _moment(command, header_ns, message.receive_ns)
            read = partial(_action, message.message, command)
            _vector(command_key(command.topic), lambda when=when: when, read, sinks)
        yield message


class _StandIn(SimpleNamespace):
    """An image message of one pixel; reading it fails as reading the real one did."""

    height = width = 1
    step = 3
    data = bytes(3)
    fault: SelectorError | None = None

    @property
    def encoding(self) -> str:
        """The encoding, where the real image could be read."""
        if self.fault is not None:
            raise self.fault
        return "rgb8"


def _image(message: Message, stream: Stream, when: Moment, sinks: Sequence[Sink]) -> Message:
    """Reads an image, gives it to the sinks, and returns its stand-in."""
    if isinstance(message.message, _StandIn):  # of another stream on the same topic
        return message
    header = {"header": message.message.header} if hasattr(message.message, "header") else {}
    try:
        pixels = image_from_msg(message.message, stream.shape)
    except SelectorError as error:
        for sink in sinks:
            sink.unreadable(stream.key, when, str(error))
        return message._replace(message=_StandIn(fault=error, **header))
    for sink in sinks:
        sink.image(stream.key, when, lambda: pixels)
    return message._replace(message=_StandIn(**header))


def _state(
    stream: Stream, when: Moment, read: Callable[[], Sample | None], sinks: Sequence[Sink]
) -> None:
    """Gives the sinks a state, when its last part came."""

    def values() -> np.ndarray | None:
        nonlocal when
        sample = read()
        if sample is not None:
            when = _moment(stream, sample.header_ns, sample.receive_ns)
        return None if sample is None else sample.value

    _vector(stream.key, lambda: when, values, sinks)


def _vector(
    key: str,
    when: Callable[[], Moment],
    read: Callable[[], np.ndarray | None],
    sinks: Sequence[Sink],
) -> None:
    """Gives the sinks a vector, or why there is none; nothing of a message of other joints."""
    if not sinks:
        return
    try:
        values = read()
    except ValueError as error:  # SelectorError, or no stamp where the contract wants one
        for sink in sinks:
            sink.unreadable(key, when(), str(error))
        return
    for sink in sinks if values is not None else ():
        sink.vector(key, when(), values)


def _action(msg: Any, command: Command) -> np.ndarray | None:
    """The numbers of a command, in the order of its fields; None of one for other joints."""
    found = command_from_msg(msg, command)
    return None if found is None else np.array(list(found.values()))


def _tell(message: Message, topics: TopicMap, sinks: Sequence[Sink]) -> None:
    """Gives the sinks a task's or a marker's text."""
    when = Moment(message.receive_ns, message.receive_ns)
    msg = message.message
    if message.topic == topics.task:
        kind, text = "task", str(msg.data)
    else:
        kind = f"episode {msg.episode_id} {_MARKERS.get(msg.event, f'event {msg.event}')}"
        text = ", ".join(filter(None, (str(msg.instruction), str(msg.outcome))))
    for sink in sinks:
        sink.event(when, kind, text)


def _moment(stream: Stream | Command, header_ns: int | None, receive_ns: int) -> Moment:
    """When a sample was; without the header that its clock asks for, when it was received."""
    by_header = stream.align.clock == HEADER and header_ns is not None
    return Moment(header_ns if by_header else receive_ns, receive_ns)

"""The samples and events of an episode as they were recorded, given to whoever shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from roboalign_policy.core.contract.contract import Contract
from roboalign_policy.core.contract.parts import Command, Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.frames.joint_readings import StateReader, command_from_msg
from roboalign_policy.core.messages.images import stream_image
from roboalign_policy.core.messages.selectors import stamp_ns_from_msg
from roboalign_policy.core.recording.episodes import END, PAUSE, RESUME, START
from roboalign_training.bags.bags import Bag, Message
from roboalign_training.episodes.channels import (
    HEADER,
    Moment,
    Sink,
    command_key,
    contract_channels,
)
from roboalign_training.episodes.episodes import Span
from roboalign_training.episodes.pauses import unpaused
from roboalign_training.episodes.scan import Bad
from roboalign_training.episodes.topics import TopicMap

_MARKERS = {START: "starts", END: "ends", PAUSE: "pauses", RESUME: "goes on"}


def show_samples(
    bag: Bag, contract: Contract, span: Span, topics: TopicMap, sinks: Sequence[Sink] = ()
) -> Bad:
    """Gives sinks every sample and event of one demonstration, in the order of the recording.

    Args:
        bag: The recording.
        contract: The robot.
        span: Which demonstration.
        topics: From `map_topics`.
        sinks: Who is given them.

    Returns:
        The images that cannot be read, each of which was decoded for it.

    Raises:
        BagError: When the bag is damaged.
    """
    for sink in sinks:
        for channel in contract_channels(contract):
            sink.declare(channel)
    readers = {stream.key: StateReader(stream) for stream in contract.states}
    places: Counter[str] = Counter()
    bad: Bad = {}
    texts = [t for t in (topics.task, topics.episode) if t and sinks]
    wanted = dict.fromkeys([*topics.observations, *topics.commands, *texts])
    for message in unpaused(bag.messages(wanted), span.pauses):
        name, receive_ns, msg = message
        if not span.start_ns <= receive_ns <= span.end_ns:
            continue
        if name in texts:
            _tell(message, topics, sinks)
            continue
        header_ns = stamp_ns_from_msg(msg)
        for key in topics.observations.get(name, ()):
            stream = contract.stream(key)
            when = _moment(stream, header_ns, receive_ns)
            if not stream.is_image:
                _state(stream, when, partial(readers[key].read, msg, receive_ns), sinks)
                continue
            if fault := _image(msg, stream, when, sinks):
                bad.setdefault(key, {})[places[key]] = f"{stream.topic}: {fault}"
            places[key] += 1
        if name in topics.commands:
            command = contract.action.commands[topics.commands[name]]
            when = _moment(command, header_ns, receive_ns)
            read = partial(_action, msg, command)
            _vector(command_key(command.topic), lambda when=when: when, read, sinks)
    return bad


def _image(msg: Any, stream: Stream, when: Moment, sinks: Sequence[Sink]) -> str:
    """Reads an image and gives it to the sinks; why it cannot be read, or ""."""
    try:
        pixels = stream_image(msg, stream)
    except SelectorError as error:
        for sink in sinks:
            sink.unreadable(stream.key, when, str(error))
        return str(error)
    for sink in sinks:
        sink.image(stream.key, when, lambda: pixels)
    return ""


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

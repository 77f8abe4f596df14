"""Looks into messages that no contract describes: images, and every number that stands in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.keys import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE
from roboalign_policy.core.messages.compressed import decode_compressed
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_training.bags.bags import Bag
from roboalign_training.bags.errors import BagError
from roboalign_training.episodes.channels import (
    AS_RECORDED,
    IMAGE,
    NUMBER,
    RECEIVE,
    Axis,
    Channel,
    Moment,
    Sink,
)

MOST_NUMBERS = 24
"""Numbers of one topic that are drawn: position, velocity and effort of eight joints."""

MOST_CURVES = 120
"""Of all topics together."""

_NAME_LISTS = ("name", "joint_names")
_TIMES = ("sec", "nanosec")


def feed_plain(bag: Bag, sinks: Sequence[Sink], tell: Callable[[str], None]) -> list[str]:
    """Gives sinks what a recording holds, by time of arrival.

    Args:
        bag: The recording.
        sinks: Are given images, and vectors of the numbers in other messages.
        tell: Is told of the progress, in words.

    Returns:
        What is not shown, one line each.

    Raises:
        BagError: When the bag is damaged.
    """
    notes = [
        f"{t.name} is not drawn: {t.fault}" for t in bag.topics.values() if t.fault and t.count
    ]
    numbers: dict[str, tuple[str, ...]] = {}
    full: set[str] = set()
    curves = 0
    topics = _readable(bag, notes)
    for name in topics:
        if _is_image(bag, name):
            for sink in sinks:
                sink.declare(Channel(name, name, IMAGE, (), RECEIVE))
    for number, (name, receive_ns, msg) in enumerate(bag.messages(topics)):
        if number % 1000 == 0:
            tell(f"reading messages: {number} of {bag.message_count}")
        when = Moment(receive_ns, receive_ns)
        if _is_image(bag, name):
            _image(name, when, msg, sinks)
            continue
        values = dict(numbers_of(msg)) if numbers.get(name) != () else {}
        if name not in numbers and bag.topics[name].count == 1:
            numbers[name] = ()  # a single dot is no curve
        elif name not in numbers:
            kept = tuple(values)[: min(MOST_NUMBERS, MOST_CURVES - curves)]
            numbers[name], curves = kept, curves + len(kept)
            if values and not kept:
                notes.append(f"{name} is not drawn: the page has {MOST_CURVES} curves already")
                full.add(name)
            elif len(kept) < len(values):
                notes.append(f"{name}: {len(kept)} of its {len(values)} numbers are drawn")
            axes = tuple(Axis(path, AS_RECORDED) for path in kept)
            if axes:
                for sink in sinks:
                    sink.declare(Channel(name, name, NUMBER, axes, RECEIVE))
        if numbers[name]:
            vector = np.array([values.get(path, np.nan) for path in numbers[name]], np.float64)
            for sink in sinks:
                sink.vector(name, when, vector)
    silent = sorted(name for name in topics if numbers.get(name) == () and name not in full)
    if silent:
        notes.append(f"without curves (one message, or no numbers): {', '.join(silent)}")
    return notes


def _readable(bag: Bag, notes: list[str]) -> list[str]:
    """Topics whose first message decodes; one of an older type must not hide the others."""
    readable = []
    for topic in bag.topics.values():
        if topic.fault or not topic.count:
            continue
        try:
            next(bag.messages([topic.name]))
        except BagError as error:
            notes.append(f"{topic.name} is not drawn: {error.cause}")
        else:
            readable.append(topic.name)
    return readable


def _is_image(bag: Bag, name: str) -> bool:
    return bag.topics[name].type in (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)


def _image(name: str, when: Moment, msg: Any, sinks: Sequence[Sink]) -> None:
    """Gives sinks an image of whatever size, or why it cannot be read."""
    try:
        if hasattr(msg, "encoding"):
            pixels = image_from_msg(msg, (int(msg.height), int(msg.width), 3))
        else:
            pixels = decode_compressed(bytes(msg.data), msg.format)
        if not pixels.size:
            raise SelectorError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels")
    except SelectorError as error:
        for sink in sinks:
            sink.unreadable(name, when, str(error))
        return
    for sink in sinks:
        sink.image(name, when, lambda: pixels)


def numbers_of(msg: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in a message with their paths; of joints, by name.

    Left out are headers, times, bytes, covariances, constants of the type, and arrays longer than
    `MOST_NUMBERS`, as of point clouds.
    """
    names = next(
        (list(getattr(msg, n)) for n in _NAME_LISTS if _is_list(getattr(msg, n, None))), []
    )
    for entry in fields(msg):
        value = getattr(msg, entry.name)
        here = f"{path}.{entry.name}" if path else entry.name
        if entry.name.isupper() or (entry.name in _TIMES and hasattr(msg, "nanosec")):
            continue
        if is_dataclass(value):
            if entry.name != "header":
                yield from numbers_of(value, here)
        elif isinstance(value, (bool, int, float, np.number, np.bool_)):
            yield here, float(value)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            if value.dtype == np.uint8 or value.size > MOST_NUMBERS or "covariance" in entry.name:
                continue
            named = len(names) == value.size == len(set(names))  # a name twice names neither
            labels = names if named else range(value.size)
            yield from (
                (f"{here}[{label}]", float(x)) for label, x in zip(labels, value.flat, strict=True)
            )


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)

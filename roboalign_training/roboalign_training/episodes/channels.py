"""What can be looked at in a recording: its channels, and the sinks that take their samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from roboalign_policy.core.contract.contract import Contract, Stream

IMAGE, STATE, ACTION, NUMBER = "image", "state", "action", "number"
HEADER, RECEIVE = "header", "receive"
AS_RECORDED = "as recorded"

MISSING_STEP = 1.5
"""Periods between two frames or commands from which one is missing."""


class Moment(NamedTuple):
    """When a sample was, in ns: on its channel's clock, and when it was received."""

    stamp_ns: int
    receive_ns: int


@dataclass(frozen=True)
class Axis:
    """One number of a channel: its name, its unit as text, the contract's limits or None."""

    name: str
    unit: str
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Channel:
    """Samples of one kind.

    Attributes:
        key: Unique in the recording.
        topic: Where it was recorded.
        kind: "image", "state", "action", or "number" where no contract says what it is.
        axes: Numbers of a sample, in order; none for images.
        clock: "header" or "receive", as in the contract.
        gap_s: s between two samples from which one is missing; infinite where nothing says so.
        held: Whether a value stays in force until the next one.
    """

    key: str
    topic: str
    kind: str
    axes: tuple[Axis, ...] = ()
    clock: str = HEADER
    gap_s: float = math.inf
    held: bool = False


class Sink(Protocol):
    """Takes what is found in one episode, in the order of the recording."""

    def declare(self, channel: Channel) -> None:
        """Says that a channel exists, before its first sample."""

    def image(self, key: str, when: Moment, pixels: Callable[[], np.ndarray]) -> None:
        """An image; `pixels` gives (H, W, 3) uint8 RGB to a sink that wants it."""

    def vector(self, key: str, when: Moment, values: np.ndarray) -> None:
        """A vector (D,), in the units of the channel's axes; may be not finite."""

    def unreadable(self, key: str, when: Moment, reason: str) -> None:
        """A message that does not hold what the contract says."""

    def event(self, when: Moment, kind: str, text: str) -> None:
        """Something with a text: a task, a marker."""


def command_key(topic: str) -> str:
    """Key of the channel of a command; a contract may have several."""
    return f"action {topic}"


def contract_channels(contract: Contract) -> list[Channel]:
    """The channels of a recording made with a contract, in the contract's order."""
    channels = [observation_channel(stream, contract) for stream in contract.observations]
    dims = {dim.name: Axis(dim.name, dim.unit, dim.limits) for dim in contract.action.dims}
    for command in contract.action.commands:
        axes = tuple(dims[name] for name in command.fields)
        key = command_key(command.topic)
        held = command.align.method == "hold"
        gap_s = math.inf if held else MISSING_STEP / contract.rate_hz
        channels.append(
            Channel(key, command.topic, ACTION, axes, command.align.clock, gap_s, held)
        )
    return channels


def observation_channel(stream: Stream, contract: Contract) -> Channel:
    """The channel of an observation; its limits are the fields', else those of the workspace."""
    space = contract.action.safety.workspace
    axes = []
    for field in stream.fields:
        limits = field.limits
        if limits is None and space and space.stream == stream.key and field.name in "xyz":
            limits = getattr(space, field.name)
        axes.append(Axis(field.name, field.unit, limits))
    kind = IMAGE if stream.is_image else STATE
    clock, gap_s = stream.align.clock, stream.max_age_s
    return Channel(stream.key, stream.topic, kind, tuple(axes), clock, gap_s)


def dataset_channels(contract: Contract) -> list[Channel]:
    """The channels of a data set, whose samples are all of frames; the action is one of them."""
    gap_s = MISSING_STEP / contract.rate_hz
    observed = [observation_channel(stream, contract) for stream in contract.observations]
    axes = tuple(Axis(dim.name, dim.unit, dim.limits) for dim in contract.action.dims)
    channels = [*observed, Channel(ACTION, "", ACTION, axes)]
    return [replace(channel, clock=HEADER, gap_s=gap_s) for channel in channels]

"""How the numbers of one stream are found in its messages while a recording is scanned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roboalign_policy.core.contract.parts import Command, Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.joint_readings import read_shared
from roboalign_policy.core.messages.images import check_stream_image
from roboalign_policy.core.messages.selectors import command_paths, number_at, read_path
from roboalign_training.bags.cdr_layout import Layout, Place
from roboalign_training.episodes.columns import StreamCollector


@dataclass(frozen=True)
class Plan:
    """How a reader takes the messages of a layout.

    Attributes:
        places: Where its numbers stand; None of joints that the messages do not name.
        fault: Why they cannot be read, or "".
        others: The joints that they name, where they are of others.
    """

    places: Sequence[Place | None] = ()
    fault: str = ""
    others: Sequence[str] = ()


def held(found: Sequence) -> list[bool] | None:
    """Which numbers a part of a reading holds; None of a whole one."""
    known = [value is not None for value in found]
    return None if all(known) else known


class ScanReader:
    """One stream or command: how to get its values out of a message."""

    def __init__(self, stream: Stream | Command) -> None:
        self.stream = stream
        self.is_image = isinstance(stream, Stream) and stream.is_image
        if isinstance(stream, Command):
            self.fields = list(stream.fields.values())
        else:
            self.fields = list(stream.fields)
        self.collector = StreamCollector(None if self.is_image else len(self.fields))

    def check_image(self, msg: Any) -> str:
        """Why an image cannot be read, as far as its head tells, or ""."""
        try:
            check_stream_image(msg, self.stream)
        except SelectorError as error:
            return self._fault(error)
        return ""

    def places(self, layout: Layout) -> Plan | None:
        """Where its numbers stand; None where something else stands there."""
        try:
            found, names = self._shared(layout.message, read_path)
        except SelectorError as error:
            return Plan(fault=self._fault(error))
        if found is None:
            return Plan(others=names)
        known = all(place is None or isinstance(place, Place) for place in found)
        return Plan(found) if known else None

    def take_decoded(self, receive_ns: int, header_ns: int | None, msg: Any) -> None:
        """Takes one decoded message."""
        header = None if header_ns is None else np.array([header_ns], np.int64)
        if self.is_image:
            self.collector.add([receive_ns], header, None, self.check_image(msg))
            return
        try:
            found, names = self._shared(msg, number_at)
        except SelectorError as error:
            self.collector.add([receive_ns], header, None, self._fault(error))
            return
        if found is None:
            self.collector.pass_over(names)
            return
        values = [
            np.nan if number is None else number * f.gain + f.offset
            for number, f in zip(found, self.fields, strict=True)
        ]
        with np.errstate(over="ignore"):
            self.collector.add([receive_ns], header, np.array([values]), held=held(found))

    def _shared(self, msg: Any, read: Callable) -> tuple[list | None, Sequence[str]]:
        """What `read` finds of it, by joint where they are named; see `read_shared`.

        Raises:
            SelectorError: Also of a command that names some of its joints and not all.
        """
        if not isinstance(self.stream, Command):
            return read_shared(msg, [f.path for f in self.fields], read)
        paths = command_paths(self.stream, msg)
        found, names = read_shared(msg, paths, read)
        if found is not None and None in found:
            read(msg, paths[found.index(None)])  # says which joint it lacks
        return found, names

    def _fault(self, error: SelectorError) -> str:
        return f"{self.stream.topic}: {error}"

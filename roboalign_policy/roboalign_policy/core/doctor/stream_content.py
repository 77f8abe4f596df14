"""What stood in the messages of one stream: sizes, encodings, joints, values out of range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from roboalign_policy.core.contract.parts import Stream
from roboalign_policy.core.contract.path import SelectorError
from roboalign_policy.core.frames.joint_readings import named_joint, read_shared
from roboalign_policy.core.messages.compressed import decode_compressed
from roboalign_policy.core.messages.images import image_from_msg
from roboalign_policy.core.messages.selectors import names_of, number_at


class StreamContent:
    """Reads messages of one stream as the policy would, and keeps what was wrong with them.

    Attributes:
        read: messages looked into, those of other joints left out.
        unreadable: how many could not be read, by reason; the size of images does not count here.
        sizes: (height, width) px of the images, how often.
        names: joint names seen in the messages, in order of appearance.
        non_finite: messages in which a field was NaN or infinite, by field.
        outside: by field, the value farthest outside of its limits, in the field's unit.
    """

    def __init__(self, stream: Stream) -> None:
        """Start empty."""
        self.stream = stream
        self.read = 0
        self.unreadable: Counter[str] = Counter()
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.names: dict[str, None] = {}
        self.non_finite: Counter[str] = Counter()
        self.outside: dict[str, float] = {}

    def take(self, msg: Any) -> None:
        """Look into a message, of rclpy or of any object with the same fields."""
        self.read += 1
        try:
            if self.stream.is_image:
                self._take_image(msg)
            else:
                self._take_state(msg)
        except (SelectorError, ImportError) as error:  # or a library is not installed
            self.unreadable[str(error)] += 1

    @property
    def lacking(self) -> tuple[str, ...]:
        """Joints of the stream that no message names, where messages name any."""
        joints = filter(None, (named_joint(field.path) for field in self.stream.fields))
        return tuple(j for j in joints if self.names and j not in self.names)

    def lacks(self, names: Sequence[str]) -> None:
        """Note a message without some of the joints, just after one that had them all."""
        joints = filter(None, (named_joint(field.path) for field in self.stream.fields))
        missing = ", ".join(joint for joint in joints if joint not in names)
        self.read += 1
        self.unreadable[f"it lacks {missing}, which other messages have"] += 1

    def _take_image(self, msg: Any) -> None:
        # A wrong encoding is a fault beside a wrong size, so the size is taken as it comes.
        value_range, key = self.stream.range, self.stream.key
        if hasattr(msg, "encoding"):
            height, width = int(msg.height), int(msg.width)
            if min(height, width) > 0:  # else it is no size to go by, and unreadable
                self.sizes[(height, width)] += 1
            image_from_msg(msg, (height, width, 3), value_range, key)
        else:
            data = bytes(msg.data)
            height, width, _ = decode_compressed(data, msg.format, value_range, key).shape
            self.sizes[(height, width)] += 1

    def _take_state(self, msg: Any) -> None:
        self.names.update(dict.fromkeys(names_of(msg)))
        found, _ = read_shared(msg, [field.path for field in self.stream.fields], number_at)
        if found is None:
            self.read -= 1
            return
        for field, raw in zip(self.stream.fields, found, strict=True):
            if raw is None:
                continue
            number = float(np.float32(raw * field.gain + field.offset))
            if not np.isfinite(number):
                self.non_finite[field.name] += 1
            elif field.limits is not None:
                self._bound(field.name, field.limits, number)

    def _bound(self, name: str, limits: tuple[float, float], number: float) -> None:
        def excess(value: float) -> float:
            return max(limits[0] - value, value - limits[1])

        if excess(number) > 0 and excess(number) > excess(self.outside.get(name, limits[0])):
            self.outside[name] = number

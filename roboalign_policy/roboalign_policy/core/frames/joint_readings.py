"""Readings of a stream whose topic belongs to many joints, such as `joint_states`.

Every driver with joints publishes on that topic: the arm's, the gripper's, the base's. A message
that names none of a stream's joints is not one of its messages: it is passed over, counted and
named. Where the joints of one stream come in several messages, a reading is complete once each of
them has come anew. A message that lacks a joint just after one that had them all is no part: a
driver has lost a joint, and it is unreadable. So is one that names no joint, and one that names a
joint of the stream twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from roboalign_policy.core.contract.path import MissingJointError, SelectorError, parse_path
from roboalign_policy.core.frames.frames import Sample
from roboalign_policy.core.messages.selectors import (
    command_paths,
    names_of,
    number_at,
    stamp_ns_from_msg,
    values_from_command,
    vector_from_msg,
)

if TYPE_CHECKING:
    from roboalign_policy.core.contract.parts import Command, Stream

_KEPT_NAMES = 16  # lists of joints that are told apart; the rest is counted together
_SHOWN_LISTS, _SHOWN_JOINTS = 3, 6
ELSE = "more"


class Share(IntEnum):
    """How a message relates to the joints of a stream.

    OTHERS: of other joints. PART: of a reading that is not complete yet. COMPLETE: a reading, or
    the last part of one. LACKING: it lacks a joint just after a message that had them all. TWICE:
    it names a joint twice, so that nothing tells which number is the joint's. Messages of the last
    two kinds are unreadable.
    """

    OTHERS = 0
    PART = 1
    COMPLETE = 2
    LACKING = 3
    TWICE = 4


class JointSets:
    """Finds the complete readings of a stream from the joints that its messages name.

    Attributes:
        joints: of the stream, each once; empty where no path goes by a joint's name.
        others: messages that were passed over, by the joints that they name.
        parts: messages that named some of the joints and not all.
        newest_ns: newest stamp in the last complete reading.
    """

    def __init__(self, joints: Iterable[str], apart_ns: int) -> None:
        """Start with nothing heard.

        Args:
            joints: of the stream.
            apart_ns: ns; parts whose stamps are further apart do not belong together.
        """
        self.joints = tuple(dict.fromkeys(joints))
        self.others: Counter[str] = Counter()
        self.parts = 0
        self.newest_ns = 0
        self._apart_ns = apart_ns
        self._pending: dict[str, int] = {}
        self._whole_ns: int | None = None

    def take(self, names: Sequence[str], time_ns: int) -> Share:
        """Take a message that names these joints.

        Args:
            names: all that it names.
            time_ns: ns; its time on the stream's clock.
        """
        present = [joint for joint in self.joints if joint in names]
        if any(names.count(joint) > 1 for joint in present):
            return Share.TWICE
        if len(present) == len(self.joints):
            self.whole(time_ns)
            return Share.COMPLETE
        if not present:
            self.pass_over(names)
            return Share.OTHERS
        return self.part(present, time_ns)

    def whole(self, time_ns: int) -> None:
        """Take a message that names all joints."""
        self._pending.clear()
        self.newest_ns = self._whole_ns = time_ns

    def pass_over(self, names: Sequence[str]) -> None:
        """Take a message of other joints."""
        text = joined(names)
        if text not in self.others and len(self.others) >= _KEPT_NAMES:
            text = ELSE
        self.others[text] += 1

    def part(self, present: Collection[str], time_ns: int) -> Share:
        """Take a message that names some of the joints; see `Share`."""
        if self._whole_ns is not None and abs(time_ns - self._whole_ns) <= self._apart_ns:
            return Share.LACKING
        self.parts += 1
        pending = {
            joint: stamp
            for joint, stamp in self._pending.items()
            if abs(stamp - time_ns) <= self._apart_ns
        }
        pending.update(dict.fromkeys(present, time_ns))
        complete = len(pending) == len(self.joints)
        self._pending = {} if complete else pending
        if not complete:
            return Share.PART
        self.newest_ns = max(pending.values())
        return Share.COMPLETE

    @property
    def lacking(self) -> tuple[str, ...]:
        """Joints that have not come since the last reading, where others of the stream have."""
        pending = self._pending
        return tuple(joint for joint in self.joints if joint not in pending) if pending else ()

    def note(self) -> str:
        """Say which messages came that are no reading; empty where there were none.

        It changes only when other joints come: no figure is in it.
        """
        found = []
        if self.others:
            found.append(f"messages of other joints came: {joint_lists(self.others)}")
        if self.lacking:
            found.append(self.lacking_text())
        return "; ".join(found)

    def lacking_text(self) -> str:
        """Say which joints are `lacking`."""
        return f"only a part of its joints came, not {', '.join(self.lacking)}"


class StateReader:
    """Reads the messages of one state stream.

    Attributes:
        sets: which messages were passed over, which were parts.
    """

    def __init__(self, stream: Stream) -> None:
        """Of a stream with fields."""
        self._stream = stream
        self._paths = [field.path for field in stream.fields]
        self._joints = [named_joint(path) for path in self._paths]
        self.sets = JointSets(filter(None, self._joints), stream.max_age_ns)
        self._values = np.full(len(self._paths), np.nan, np.float32)

    def read(self, msg: Any, receive_ns: int) -> Sample | None:
        """Read a message.

        Args:
            msg: of rclpy, of rosbags, or with the same attributes.
            receive_ns: ns; when it came.

        Returns:
            The sample, whose stamp is the newest of its parts; None where the message is passed
            over, or is a part of a reading that is not complete yet.

        Raises:
            SelectorError: the message cannot be read.
            ValueError: it has no stamp where the contract goes by stamps.
        """
        stream, header_ns = self._stream, stamp_ns_from_msg(msg)
        try:
            sample = Sample(stream.key, header_ns, receive_ns, vector_from_msg(msg, stream.fields))
        except SelectorError as error:
            return self._part(msg, header_ns, receive_ns, error)
        self.sets.whole(sample.time_ns(stream.align.clock))
        return sample

    def _part(
        self, msg: Any, header_ns: int | None, receive_ns: int, error: SelectorError
    ) -> Sample | None:
        """Take a message that does not name all joints."""
        stream, clock = self._stream, self._stream.align.clock
        found, names = read_shared(msg, self._paths, number_at)
        if found is None:
            self.sets.pass_over(names)
            return None
        time_ns = Sample(stream.key, header_ns, receive_ns, self._values).time_ns(clock)
        present = [j for j, number in zip(self._joints, found, strict=True) if number is not None]
        share = self.sets.part(present, time_ns)
        if share is Share.LACKING:
            raise error
        for index, (number, field) in enumerate(zip(found, stream.fields, strict=True)):
            if number is not None:
                self._values[index] = number * field.gain + field.offset
        if share is Share.PART:
            return None
        if clock == "header":
            header_ns = self.sets.newest_ns
        return Sample(stream.key, header_ns, receive_ns, self._values.copy())


def read_shared(
    msg: Any, paths: Sequence[str], read: Callable[[Any, str], Any]
) -> tuple[list[Any] | None, tuple[str, ...]]:
    """Read what stands at the paths of a message that may be of other joints.

    Args:
        msg: the message.
        paths: of the fields of a stream or command.
        read: reads one of them, as `read_path`.

    Returns:
        What was read, None for joints that the message does not name, or None in all where it
        names none of them; and what it names, empty where it names them all.

    Raises:
        SelectorError: it cannot be read; also where it names some of the joints, but other fields
            go by no joint's name, so that nothing tells whose they are.
    """
    joints, named = list(filter(None, map(named_joint, paths))), names_of(msg)
    if joints and named and not any(joint in named for joint in joints):
        return None, tuple(named)
    found: list[Any] = []
    missing: MissingJointError | None = None
    for path in paths:
        try:
            found.append(read(msg, path) if named_joint(path) else None)
        except MissingJointError as error:
            missing = missing or error
            found.append(None)
    if missing is not None:
        if not missing.names:
            raise missing  # it may well be of these joints
        if all(value is None for value in found):
            return None, missing.names
        if len(joints) < len(paths):
            raise missing
        return found, missing.names
    return [
        read(msg, path) if value is None else value
        for path, value in zip(paths, found, strict=True)
    ], ()


def command_from_msg(msg: Any, command: Command) -> dict[str, float] | None:
    """Read a command as `values_from_command`; None for a message of other joints."""
    try:
        return values_from_command(msg, command)
    except SelectorError:
        if read_shared(msg, command_paths(command, msg), number_at)[0] is None:
            return None
        raise


@lru_cache(maxsize=1024)
def named_joint(path: str) -> str:
    """Return the joint by whose name a path goes, as `a` of `position[a]`; empty without one."""
    return next((step[0] for step in parse_path(path) if isinstance(step, tuple)), "")


def joined(names: Sequence[str]) -> str:
    """Return the joints of a message as one text."""
    return ", ".join(names) or "none"


def joint_lists(others: Iterable[str]) -> str:
    """Return which joints the messages name that were passed over, in short."""
    lists = sorted(others)
    more = len(lists) - _SHOWN_LISTS
    shown = "; ".join(map(_short, lists[:_SHOWN_LISTS]))
    return shown if more <= 0 else f"{shown}; and {more} more"


def _short(text: str) -> str:
    names = text.split(", ")
    more = len(names) - _SHOWN_JOINTS
    return text if more <= 0 else f"{', '.join(names[:_SHOWN_JOINTS])} and {more} more"
